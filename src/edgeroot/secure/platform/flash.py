"""Flash memory in a file: erased it reads zero everywhere, only whole blocks are erased, only erased bytes are written.

(Some flash reads 0xff, some zero; of a file that reads zero, what was never written takes no place on the disk.)

What a file cannot promise: whoever can write to the disk can write to it. What is read from it has to be verified.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final
from weakref import finalize

BLOCK_BYTES: Final = 4096
_CHUNK_BYTES: Final = 1 << 20
_ERASED: Final = bytes(_CHUNK_BYTES)


class FlashError(Exception):
    """An access that flash memory does not allow, or that the disk refused."""


class FileFlash:
    """The flash in this file, which is made, erased, if it is missing. FlashError.

    ``read_only``: a missing file is an error, and so is one that is shorter.
    """

    def __init__(self, path: Path, *, size_bytes: int, read_only: bool = False) -> None:
        if size_bytes % BLOCK_BYTES:
            raise FlashError(f"a flash has whole blocks of {BLOCK_BYTES} bytes")
        self.size_bytes: Final = size_bytes
        # Another user may have put something else in its place: a pipe, say, which is not to be waited for.
        flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT)
        try:
            self._descriptor = os.open(path, flags, 0o600)
            found = os.fstat(self._descriptor)
            if not stat.S_ISREG(found.st_mode) or (read_only and found.st_size < size_bytes):
                os.close(self._descriptor)
                raise FlashError(f"{path} is no flash of {size_bytes} bytes")
            if found.st_size < size_bytes:
                os.ftruncate(self._descriptor, size_bytes)
                os.fsync(self._descriptor)
            self._close = finalize(self, os.close, self._descriptor)
        except OSError as error:
            raise FlashError(f"cannot use the flash {path}: {error.strerror}") from error

    def close(self) -> None:
        """Done by itself, too, when nobody uses the flash any more."""
        self._close()

    def read(self, offset: int, size_bytes: int) -> bytes:
        self._check(offset, size_bytes)
        try:
            return os.pread(self._descriptor, size_bytes, offset)
        except OSError as error:
            raise FlashError(f"the flash cannot be read: {error.strerror}") from error

    def erase(self, offset: int, size_bytes: int) -> None:
        """Whole blocks."""
        self._check(offset, size_bytes)
        if offset % BLOCK_BYTES or size_bytes % BLOCK_BYTES:
            raise FlashError("only whole blocks are erased")
        try:
            self._fill(offset, size_bytes)
        except OSError as error:
            raise FlashError(f"the flash cannot be erased: {error.strerror}") from error

    def write(self, offset: int, data: bytes) -> None:
        """Onto erased bytes."""
        if self.read(offset, len(data)) != bytes(len(data)):
            raise FlashError("only erased flash is written")
        try:
            if os.pwrite(self._descriptor, data, offset) != len(data):
                raise FlashError("the disk is full")
        except OSError as error:
            raise FlashError(f"the flash cannot be written: {error.strerror}") from error

    def sync(self) -> None:
        """Make everything so far durable before this returns."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise FlashError(f"the flash cannot be written: {error.strerror}") from error

    def _fill(self, offset: int, size_bytes: int) -> None:
        """Zeros wherever there is something else: so what was never written stays without a place on the disk."""
        for start in range(offset, offset + size_bytes, _CHUNK_BYTES):
            chunk = min(_CHUNK_BYTES, offset + size_bytes - start)
            is_erased = os.pread(self._descriptor, chunk, start) == _ERASED[:chunk]
            if not is_erased and os.pwrite(self._descriptor, _ERASED[:chunk], start) != chunk:
                raise FlashError("the disk is full")

    def _check(self, offset: int, size_bytes: int) -> None:
        if offset < 0 or size_bytes < 0 or offset + size_bytes > self.size_bytes:
            raise FlashError(f"{size_bytes} bytes at {offset} are not in this flash of {self.size_bytes}")
