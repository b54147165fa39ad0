"""Monotonic counters, for noticing that stored data is older than it was.

:class:`FileCounter` keeps its value in a file; its name is the file's. It only grows as long as nobody puts an old copy
of the file back: whoever can roll back the whole disk rolls back the counter with it, and nothing notices.
:attr:`FileCounter.strength` says so, and so does the status of the secure world. A counter in hardware (RPMB, a TPM's)
is another :class:`Counter`.

A file can do what hardware counters cannot: keep a few bytes with the value, in the same write
(:class:`NotingCounter`). What is counted can then be noted there, and need not be made durable in its own place each
time.

File: 32 slots of 4096 bytes, written in turn and in place. Slot: the value (u64), the length of its note (u16), the
note, and the first 16 bytes of the SHA-256 of all that. Little-endian. One slot may be half written, by the change that
a loss of power interrupted; if more are, or the file has another length, the counter is damaged, which is an error and
not 0.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Final, Protocol, runtime_checkable

from edgeroot.secure.platform.files import replace_file

_SLOT: Final = Struct("<QH")
_CHECK_BYTES: Final = 16
_SLOT_BYTES: Final = 4096
_SLOTS: Final = 32


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


@runtime_checkable
class NotingCounter(Counter, Protocol):
    """A counter that keeps a note with each of its last values."""

    @property
    def notes_kept(self) -> int:
        """How many of the last values at least, the present one among them."""

    @property
    def note_bytes(self) -> int:
        """The longest note."""

    def notes(self) -> Mapping[int, bytes]:
        """By value; values without a note are missing."""

    def advance_with(self, value: int, note: bytes) -> None:
        """As ``advance_to``; value and note are there together or not at all."""


class FileCounter:
    """A counter in a file, which is made with 0 when ``create`` is true. CounterError if it is missing or damaged."""

    strength: Final = "a file: an old copy of the whole disk goes unnoticed"
    notes_kept: Final = _SLOTS
    note_bytes: Final = _SLOT_BYTES - _SLOT.size - _CHECK_BYTES

    def __init__(self, path: Path, *, create: bool) -> None:
        try:
            if create and not path.exists():
                replace_file(path, _slot(0, b"").ljust(_SLOT_BYTES, b"\0") * _SLOTS, mode=0o600)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise CounterError(f"cannot use the counter {path}: {error.strerror}") from error
        try:
            content = os.pread(self._descriptor, _SLOTS * _SLOT_BYTES + 1, 0)
        except OSError as error:
            self.close()
            raise CounterError(f"cannot read the counter {path}: {error.strerror}") from error
        slots = [_read_slot(content[start : start + _SLOT_BYTES]) for start in range(0, len(content), _SLOT_BYTES)]
        sound = [slot for slot in slots if slot is not None]
        if len(content) != _SLOTS * _SLOT_BYTES or len(sound) < _SLOTS - 1:
            self.close()
            raise CounterError(f"the counter {path} is damaged: restore it from a backup")
        self._value = max(value for value, _ in sound)
        self._notes = {value: note for value, note in sound if note}

    def read(self) -> int:
        return self._value

    def notes(self) -> Mapping[int, bytes]:
        """As they were when this was opened."""
        return {value: note for value, note in self._notes.items() if value > self._value - _SLOTS}

    def advance_to(self, value: int) -> None:
        if value != self._value:
            self.advance_with(value, b"")

    def advance_with(self, value: int, note: bytes) -> None:
        if value <= self._value:
            raise ValueError(f"a counter never goes back, nor on, from {self._value} to {value}")
        if len(note) > self.note_bytes:
            raise ValueError(f"a note of {len(note)} bytes is too long")
        slot = _slot(value, note)
        try:
            written = os.pwrite(self._descriptor, slot, value % _SLOTS * _SLOT_BYTES)
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise CounterError(f"cannot advance a counter: {error.strerror}") from error
        if written != len(slot):
            raise CounterError("cannot advance a counter: it was written in part")
        self._value = value

    def close(self) -> None:
        os.close(self._descriptor)


def _slot(value: int, note: bytes) -> bytes:
    encoded = _SLOT.pack(value, len(note)) + note
    return encoded + sha256(encoded).digest()[:_CHECK_BYTES]


def _read_slot(slot: bytes) -> tuple[int, bytes] | None:
    """Value and note, None if they are not as they were written."""
    if len(slot) < _SLOT.size:
        return None
    value, length = _SLOT.unpack_from(slot)
    note = slot[_SLOT.size : _SLOT.size + length]
    return (value, note) if slot.startswith(_slot(value, note)) and len(note) == length else None
