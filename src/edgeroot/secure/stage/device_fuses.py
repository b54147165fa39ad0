"""The device's fuses, where it has any."""

from __future__ import annotations

from pathlib import Path

from edgeroot.secure.boot.fuses import OLDER_WORDS, WORDS, Fuses
from edgeroot.secure.platform.one_time_memory import FileOneTimeMemory


def read_fuses(path: Path) -> Fuses | None:
    """The device's memory, if it has been written to. OneTimeMemoryError."""
    return open_fuses(path, create=False) if path.exists() else None


def open_fuses(path: Path, *, create: bool) -> Fuses:
    """OneTimeMemoryError if there is none and none is to be made, or it cannot be used."""
    return Fuses(FileOneTimeMemory(path, words=WORDS, older=OLDER_WORDS, create=create))
