"""Versions of components: MAJOR.MINOR.REVISION, and +BUILD if there is one, as firmware images have them."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_VERSION: Final = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,10}))?(?:\.([0-9]{1,10}))?(?:\+([0-9]{1,10}))?", re.ASCII)


class Version(NamedTuple):
    """Compares as numbers, part by part: 1.10.0 is newer than 1.9.0."""

    major: int
    minor: int = 0
    revision: int = 0
    build: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}" + (f"+{self.build}" if self.build else "")


def version_of(text: str) -> Version | None:
    """None for what is no such version. Parts that are left out are zero."""
    found = _VERSION.fullmatch(text)
    return None if found is None else Version(*(int(part or 0) for part in found.groups()))
