"""The device's fuses, where it has any."""

from __future__ import annotations

from pathlib import Path

from edgeroot.secure.boot.fuses import WORDS, Fuses
from edgeroot.secure.platform.one_time_memory import FileOneTimeMemory


def read_fuses(path: Path) -> Fuses | None:
    """The device's memory, if it has been written to."""
    return Fuses(FileOneTimeMemory(path, words=WORDS, create=False)) if path.exists() else None
