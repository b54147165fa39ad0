"""A file that a log is kept in.

It is written at places that are already allocated, so that making a record durable is one fdatasync, with no change
of the file system's own data.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from edgeroot.secure.platform.files import FileLock, sync_folder, write_all

_STEP_BYTES: Final = 1 << 20


class ReplacementUncertainError(OSError):
    """The new content is in use, but after a loss of power the old one may be back."""


class LogFile:
    """The file ``log`` in a folder that no other process uses at the same time (LockedError). Methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "log"
        self._lock = FileLock.acquire(folder / "lock")
        self._descriptor = -1
        self._size_bytes = 0
        try:
            if self._path.exists():
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
                self._size_bytes = os.fstat(self._descriptor).st_size
        except OSError:
            self._lock.release()
            raise

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

    def reserve(self, size_bytes: int) -> None:
        """Have so many bytes allocated in all. OSError, and then it is as it was."""
        while size_bytes > self._size_bytes:
            self._grow()

    def write(self, offset: int, data: bytes) -> None:
        """Write to what is reserved; only ``sync`` makes it durable. OSError, and then perhaps some was written."""
        write_all(self._descriptor, data, offset=offset)

    def sync(self) -> None:
        """Make durable what was written. OSError, and then nobody can tell what of it is."""
        os.fdatasync(self._descriptor)

    def replace(self, data: bytes) -> None:
        """Have this content from now on, in one step. OSError, and then it is as it was; ReplacementUncertainError."""
        new = self._path.with_name(self._path.name + ".new")
        new.unlink(missing_ok=True)  # of a process that died on the way
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
            new.replace(self._path)
        except BaseException:
            os.close(descriptor)
            new.unlink(missing_ok=True)
            raise
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._size_bytes = descriptor, len(data)
        try:
            sync_folder(self._path.parent)
        except OSError as error:
            raise ReplacementUncertainError(
                error.errno, f"a new log cannot be made durable: {error.strerror}"
            ) from error

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._lock.release()

    def _grow(self) -> None:
        """Zeros, really written: extents that are only reserved would have to be converted at each record."""
        try:
            write_all(self._descriptor, bytes(_STEP_BYTES), offset=self._size_bytes)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self._size_bytes)
            raise
        self._size_bytes += _STEP_BYTES
