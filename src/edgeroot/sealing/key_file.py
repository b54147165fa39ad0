"""A wrapping key in a file that only its owner may read.

File, version 1: the line ``edgeroot wrapping key v1``, then 32 secret bytes, nothing else.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from edgeroot.psa import Secret
from edgeroot.sealing.wrapping_key import SECRET_BYTES, SealingError, SoftwareWrappingKey, WrappingKey

_HEADER: Final = b"edgeroot wrapping key v1\n"
_FILE_BYTES: Final = len(_HEADER) + SECRET_BYTES
_MODE: Final = 0o600
_OTHERS: Final = 0o077


def key_file(path: Path, *, create: bool = True) -> WrappingKey:
    """The wrapping key in this file, which is made with fresh secret bytes if it is missing and ``create`` is true.

    An existing file is never written to, and of several processes that make it at once all get the same key. Raises
    SealingError if the file is missing, malformed, readable by others or another user's.
    """
    try:
        content = _read(path)
        if content is None:
            if not create:
                raise SealingError(
                    f"the wrapping key {path} is missing, and without it the stored keys cannot be read: "
                    "restore the file from a backup"
                )
            _make(path)
            content = _read(path)
    except OSError as error:
        raise SealingError(f"cannot use the wrapping key {path}: {error.strerror}") from error
    if content is None:
        raise SealingError(f"the wrapping key {path} vanished while it was being opened")
    if len(content) != _FILE_BYTES or not content.startswith(_HEADER):
        raise SealingError(f"{path} is no wrapping key of edgeroot, or it is damaged: restore it from a backup")
    return SoftwareWrappingKey(Secret(content[len(_HEADER) :]))


def _read(path: Path) -> bytes | None:
    """The file's content, None if there is none; SealingError if others could have read or replaced it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SealingError(f"the wrapping key {path} is not a regular file")
        if status.st_uid != os.geteuid():
            raise SealingError(
                f"the wrapping key {path} belongs to user {status.st_uid}, but this process runs as {os.geteuid()}: "
                f"run as that user, or give it the file with: chown {os.geteuid()} {path}"
            )
        if status.st_mode & _OTHERS:
            raise SealingError(
                f"the wrapping key {path} has mode {stat.S_IMODE(status.st_mode):04o}, which lets other users in: "
                f"make it private with: chmod 600 {path}"
            )
        return os.read(descriptor, _FILE_BYTES + 1)
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    """Put a fresh key there in one step: it is complete and on disk before it has its name.

    Whoever comes second finds the name taken and uses the first one's key.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with open(descriptor, "wb") as file:
            file.write(_HEADER + os.urandom(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
    finally:
        temporary.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
