"""Who is still there: a file that a process keeps locked for as long as it lives.

Reservations and marks in the store name their holder by its lease. The kernel drops the lock when the last descriptor
of the file goes, however the process ends; so a holder is dead exactly when its file is gone or can be locked.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from edgeroot.keystore.records import KeyStoreError

_SUFFIX = ".lease"


def leases_directory_for(store_path: Path) -> Path:
    return store_path.with_name(store_path.name + ".leases")


class FileLock:
    """An exclusive lock (flock) on a file of mode 0600. A child forked later shares it and keeps it alive."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, path: Path) -> Self:
        """Raises KeyStoreError if another process has it."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KeyStoreError(f"{path} cannot be locked: {error}") from error
        if not _lock(descriptor, fcntl.LOCK_EX):
            os.close(descriptor)
            raise KeyStoreError(f"another process has {path} locked: two services cannot write one key store")
        return cls(path, descriptor)

    def release(self) -> None:
        os.close(self._descriptor)


class Lease:
    """This process's own. Acquire it after forking; ``holder`` is never given to anybody again."""

    def __init__(self, directory: Path, holder: str, descriptor: int) -> None:
        self.directory = directory
        self.holder = holder
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, directory: Path) -> Self:
        """Makes the directory (mode 0700) if need be. Raises KeyStoreError."""
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            while True:
                holder = secrets.token_hex(16)
                path = _path(directory, holder)
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                # Somebody who looks for dead holders may have met the file before it was locked, and removed it.
                if _lock(descriptor, fcntl.LOCK_EX) and path.exists():
                    return cls(directory, holder, descriptor)
                os.close(descriptor)
        except OSError as error:
            raise KeyStoreError(f"no lease can be had in {directory}: {error}") from error

    def release(self) -> None:
        """For an orderly end with nothing pending; a process that just ends does as well."""
        _path(self.directory, self.holder).unlink(missing_ok=True)
        os.close(self._descriptor)


def is_held(directory: Path, holder: str) -> bool:
    """Whether the holder's process lives."""
    try:
        descriptor = os.open(_path(directory, holder), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # A shared lock, so that two who ask do not take each other for the holder.
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def dead_holders(directory: Path, known: Iterable[str] = ()) -> list[str]:
    """Sorted: whoever has a lease file here, or is ``known`` (from the store), and no longer lives."""
    filed = {path.name.removesuffix(_SUFFIX) for path in directory.glob(f"*{_SUFFIX}")}
    return sorted(holder for holder in filed.union(known) if not is_held(directory, holder))


def discard(directory: Path, holder: str) -> None:
    """Removes a dead holder's file, once nothing in the store names it. A living holder's file stays."""
    path = _path(directory, holder)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if _lock(descriptor, fcntl.LOCK_EX):
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _path(directory: Path, holder: str) -> Path:
    return directory / f"{holder}{_SUFFIX}"


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
