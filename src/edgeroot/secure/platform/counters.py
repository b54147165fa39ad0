"""Monotonic counters, for noticing that stored data is older than it was.

:class:`FileCounter` keeps its value in a file. It only grows as long as nobody puts an old copy of the file back:
whoever can roll back the whole disk rolls back the counter with it, and nothing notices. :attr:`FileCounter.strength`
says so, and so does the status of the secure world. A counter in hardware (RPMB, a TPM's) is another :class:`Counter`.

File: two slots of 16 bytes, each the value (u64, little-endian) and the first 8 bytes of its SHA-256. They are written
in turn, in place, so that one is always whole.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Final, Protocol

from edgeroot.secure.platform.files import replace_file

_VALUE: Final = Struct("<Q")
_CHECK_BYTES: Final = 8
_SLOT_BYTES: Final = _VALUE.size + _CHECK_BYTES


class CounterError(Exception):
    """The counter cannot be read or advanced; the message says why."""


class Counter(Protocol):
    """A number that only grows."""

    @property
    def strength(self) -> str:
        """What makes it monotonic, in a sentence for people."""

    def read(self) -> int: ...

    def advance_to(self, value: int) -> None:
        """Make it this value, durably, before this returns; ValueError for a smaller one."""


class FileCounter:
    """A counter in a file, which is made with 0 when ``create`` is true. CounterError if it is missing or damaged."""

    strength: Final = "a file: an old copy of the whole disk goes unnoticed"

    def __init__(self, path: Path, *, create: bool) -> None:
        try:
            if create and not path.exists():
                replace_file(path, _slot(0) + _slot(0), mode=0o600)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            content = os.pread(self._descriptor, 2 * _SLOT_BYTES + 1, 0)
        except OSError as error:
            raise CounterError(f"cannot use the counter {path}: {error.strerror}") from error
        slots = [content[:_SLOT_BYTES], content[_SLOT_BYTES:]]
        values = [_VALUE.unpack_from(slot)[0] if slot == _slot_of(slot) else None for slot in slots]
        sound = [value for value in values if value is not None]
        if not sound:
            raise CounterError(f"the counter {path} is damaged: restore it from a backup")
        self._value = max(sound)
        self._next_slot = 1 - values.index(self._value)

    def read(self) -> int:
        return int(self._value)

    def advance_to(self, value: int) -> None:
        if value <= self._value:
            if value == self._value:
                return
            raise ValueError(f"a counter never goes back from {self._value} to {value}")
        try:
            os.pwrite(self._descriptor, _slot(value), self._next_slot * _SLOT_BYTES)
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise CounterError(f"cannot advance a counter: {error.strerror}") from error
        self._value = value
        self._next_slot = 1 - self._next_slot

    def close(self) -> None:
        os.close(self._descriptor)


def _slot(value: int) -> bytes:
    encoded = _VALUE.pack(value)
    return encoded + sha256(encoded).digest()[:_CHECK_BYTES]


def _slot_of(slot: bytes) -> bytes | None:
    return _slot(_VALUE.unpack_from(slot)[0]) if len(slot) == _SLOT_BYTES else None
