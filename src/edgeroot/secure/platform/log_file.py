"""A file that a log is kept in.

It is written at places that are already allocated, so that making a record durable is one fdatasync, with no change
of the file system's own data.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from edgeroot.secure.platform.files import FileLock, replace_file

_STEP_BYTES: Final = 1 << 20


class LogFile:
    """The file ``log`` in a folder that no other process uses at the same time (LockedError). Methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "log"
        self._lock = FileLock.acquire(folder / "lock")
        self._descriptor = -1
        self._size_bytes = 0
        if self._path.exists():
            self._open()

    @property
    def exists(self) -> bool:
        return self._descriptor >= 0

    @property
    def size_bytes(self) -> int:
        """What is allocated."""
        return self._size_bytes

    def read(self, offset: int, size_bytes: int) -> bytes:
        """As many bytes as there are."""
        return os.pread(self._descriptor, size_bytes, offset)

    def write(self, offset: int, data: bytes) -> None:
        """Write durably. OSError, and then perhaps some of it was written."""
        while offset + len(data) > self._size_bytes:
            self._grow()
        written = os.pwrite(self._descriptor, data, offset)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were written")
        os.fdatasync(self._descriptor)

    def replace(self, data: bytes) -> None:
        """Have this content from now on, in one step."""
        replace_file(self._path, data, mode=0o600)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._open()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._lock.release()

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._size_bytes = os.fstat(self._descriptor).st_size

    def _grow(self) -> None:
        """Zeros, really written: extents that are only reserved would have to be converted at each record."""
        written = os.pwrite(self._descriptor, bytes(_STEP_BYTES), self._size_bytes)
        if written != _STEP_BYTES:
            os.ftruncate(self._descriptor, self._size_bytes)
            raise OSError("the disk is full")
        os.fsync(self._descriptor)
        self._size_bytes += _STEP_BYTES
