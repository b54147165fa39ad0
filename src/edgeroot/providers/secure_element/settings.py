"""The keys of the ``[[provider]]`` table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgeroot.element.settings import ElementSettings


@dataclass(frozen=True, slots=True)
class SecureElementSettings(ElementSettings):
    """Those of the element, and of what the service shares with it."""

    access_key_file_name: Path | None = field(
        default=None, metadata={"meaning": "A file with keys that the service shares with the element, see below."}
    )
