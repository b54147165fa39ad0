"""The keys of the ``[[provider]]`` table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeroot.element.settings import ElementSettings


@dataclass(frozen=True, slots=True)
class SecureElementSettings(ElementSettings):
    """Those of the element, and the file of keys that the service shares with it."""

    access_key_file_name: Path | None = None
