"""One-time-programmable memory: words that are written once and then stay, such as the hash of a root key.

:class:`FileOneTimeMemory` keeps them in a file. It never changes a word, but whoever can write to the disk can: putting
an old copy of the file back makes words blank again, and nothing notices. What is damaged is noticed. Fuses in hardware
are another :class:`OneTimeMemory`.

File: 16 bytes, ``ERFUSES1`` and how many words there are (u64, little-endian), then a slot of 16 bytes for each word:
zeros if it is blank, else a mark of 4 bytes, the word (4 bytes) and the first 8 bytes of the SHA-256 of the word's
number (u64, little-endian), the mark and the word. In a file of fewer words, as an earlier version has made it, the
further ones are blank; it is made longer when the first of these is written.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Final, Protocol
from weakref import finalize

from edgeroot.secure.platform.files import replace_file, write_all

WORD_BYTES: Final = 4
_HEADER: Final = Struct("<8sQ")
_MAGIC: Final = b"ERFUSES1"
_MARK: Final = b"SET\0"
_SLOT_BYTES: Final = 16
_BLANK: Final = bytes(_SLOT_BYTES)
_NUMBER: Final = Struct("<Q")


class OneTimeMemoryError(Exception):
    """The memory cannot be used, or a word was written before; the message says which."""


class OneTimeMemory(Protocol):
    """Words of 4 bytes, numbered from 0. OneTimeMemoryError; IndexError for a word that there is not."""

    def read(self, word: int) -> bytes | None:
        """None for one that is blank."""

    def write(self, word: int, value: bytes) -> None:
        """Durably. Writing what is there already is no change and allowed."""


class FileOneTimeMemory:
    """The memory in a file, which is made blank when ``create`` is true; otherwise a missing one is an error.

    ``older`` is how many words it had in an earlier version.
    """

    def __init__(self, path: Path, *, words: int, create: bool, older: int | None = None) -> None:
        self._path = path
        self._words = words
        try:
            if create and not path.exists():
                replace_file(path, _header(words).ljust(_size_bytes(words), b"\0"), mode=0o600)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            header = os.pread(self._descriptor, _HEADER.size, 0)
            self._there = next((one for one in (words, older) if one is not None and header == _header(one)), 0)
            # One that is being made longer has its new size before it says so.
            sizes_bytes = {_size_bytes(self._there), _size_bytes(words)}
            if not self._there or os.fstat(self._descriptor).st_size not in sizes_bytes:
                os.close(self._descriptor)
                raise OneTimeMemoryError(f"{path} is damaged, or is not a memory of {words} words")
            self._close = finalize(self, os.close, self._descriptor)
        except OSError as error:
            raise OneTimeMemoryError(f"cannot use the memory {path}: {error.strerror}") from error

    def read(self, word: int) -> bytes | None:
        offset = self._offset(word)
        if word >= self._there:
            return None
        try:
            slot = os.pread(self._descriptor, _SLOT_BYTES, offset)
        except OSError as error:
            raise OneTimeMemoryError(f"word {word} cannot be read: {error.strerror}") from error
        if slot == _BLANK:
            return None
        value = slot[len(_MARK) : len(_MARK) + WORD_BYTES]
        if slot != _slot(word, value):
            raise OneTimeMemoryError(f"word {word} of {self._path} is damaged: restore it from a backup")
        return value

    def write(self, word: int, value: bytes) -> None:
        if len(value) != WORD_BYTES:
            raise ValueError(f"a word has {WORD_BYTES} bytes")
        before = self.read(word)
        if before is not None and before != value:
            raise OneTimeMemoryError(f"word {word} was written before, and keeps its value")
        try:
            if word >= self._there:
                self._lengthen()
            if before is None:
                write_all(self._descriptor, _slot(word, value), offset=self._offset(word))
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise OneTimeMemoryError(f"word {word} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Done by itself, too, when nobody uses the memory any more."""
        self._close()

    def _lengthen(self) -> None:
        """Each step durably before the next: what is cut off leaves the same words."""
        os.ftruncate(self._descriptor, _size_bytes(self._words))
        os.fsync(self._descriptor)
        write_all(self._descriptor, _header(self._words))
        os.fdatasync(self._descriptor)
        self._there = self._words

    def _offset(self, word: int) -> int:
        if not 0 <= word < self._words:
            raise IndexError(f"there is no word {word}")
        return _HEADER.size + word * _SLOT_BYTES


def _header(words: int) -> bytes:
    return _HEADER.pack(_MAGIC, words)


def _size_bytes(words: int) -> int:
    return _HEADER.size + words * _SLOT_BYTES


def _slot(word: int, value: bytes) -> bytes:
    return _MARK + value + sha256(_NUMBER.pack(word) + _MARK + value).digest()[: _SLOT_BYTES - len(_MARK) - WORD_BYTES]
