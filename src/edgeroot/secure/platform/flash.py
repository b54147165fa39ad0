"""Flash memory in a file: erased it reads 0xff everywhere, only whole blocks are erased, only erased bytes are written.

What a file cannot promise: whoever can write to the disk can write to it. What is read from it has to be verified.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

BLOCK_BYTES: Final = 4096
_ERASED: Final = b"\xff"


class FlashError(Exception):
    """An access that flash memory does not allow, or that the disk refused."""


class FileFlash:
    """The flash in this file, which is made, erased, if it is missing. FlashError."""

    def __init__(self, path: Path, *, size_bytes: int) -> None:
        if size_bytes % BLOCK_BYTES:
            raise FlashError(f"a flash has whole blocks of {BLOCK_BYTES} bytes")
        self.size_bytes: Final = size_bytes
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._descriptor = os.open(path, flags, 0o600)
            missing = size_bytes - os.fstat(self._descriptor).st_size
            if missing > 0:
                self._fill(size_bytes - missing, missing)
                os.fsync(self._descriptor)
        except OSError as error:
            raise FlashError(f"cannot use the flash {path}: {error.strerror}") from error

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
        if self.read(offset, len(data)).strip(_ERASED):
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
        for start in range(offset, offset + size_bytes, 256 * BLOCK_BYTES):
            chunk = min(256 * BLOCK_BYTES, offset + size_bytes - start)
            if os.pwrite(self._descriptor, _ERASED * chunk, start) != chunk:
                raise FlashError("the disk is full")

    def _check(self, offset: int, size_bytes: int) -> None:
        if offset < 0 or size_bytes < 0 or offset + size_bytes > self.size_bytes:
            raise FlashError(f"{size_bytes} bytes at {offset} are not in this flash of {self.size_bytes}")
