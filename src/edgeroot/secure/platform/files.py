"""Files that are either as they were or as they are to be, whatever interrupts the change."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Self


class LockedError(Exception):
    """Another process has the place."""


class FileLock:
    """A lock that ends with its holder."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path) -> Self:
        """Take the lock, or LockedError. The file stays."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise LockedError(f"{path.parent} is in use by another process") from None
        return cls(descriptor)

    def release(self) -> None:
        os.close(self._descriptor)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes, *, offset: int = 0) -> None:
    """Write all of it. OSError, with ENOSPC where the disk takes only a part."""
    if os.pwrite(descriptor, data, offset) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def replace_file(path: Path, data: bytes, *, mode: int) -> None:
    """Give a file this content in one step, durably. OSError, and then it is as it was."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)  # of a process that died on the way
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
