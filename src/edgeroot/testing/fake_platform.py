"""A secure world's platform in memory: a disk whose power goes at a chosen write, with a log file and a counter on it.

For tests of what is kept there. It behaves as :class:`edgeroot.secure.platform.log_file.LogFile` and the counters of
:mod:`edgeroot.secure.platform.counters` do, and as badly as a disk may: of what was not made durable any pieces are
there after a loss of power, in no order.
"""

from __future__ import annotations

import errno
import random
from typing import Final, NoReturn

NOTES_KEPT: Final = 4
PIECE_BYTES: Final = 64
"""Smaller than any disk's, so that short records are torn as well."""


class PowerLoss(BaseException):
    """The power is gone."""


class FakeDisk:
    """A log and a counter in memory. ``crash_at``: the write at which the power goes.

    Then some of that write's pieces are on the disk and some are not, in no order.
    """

    def __init__(self, crash_at: int = -1, rng: random.Random | None = None) -> None:
        self.data: bytearray | None = None
        self.value = 0
        self.crash_at = crash_at
        self.rng = rng or random.Random(0)
        self.writes = 0
        self.room_bytes = 1 << 30
        self.failing = 0  # so many writes fail, having written some pieces
        self.failing_syncs = 0
        self.durable = bytearray()
        self.unsynced: list[tuple[int, bytes]] = []
        self.notes: dict[int, bytes] = {}

    # The log

    @property
    def exists(self) -> bool:
        return self.data is not None

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    @property
    def content(self) -> bytearray:
        assert self.data is not None
        return self.data

    def read(self, offset: int, size_bytes: int) -> bytes:
        return bytes(self.content[offset : offset + size_bytes])

    def reserve(self, size_bytes: int) -> None:
        if size_bytes > max(self.room_bytes, len(self.content)):
            raise OSError(errno.ENOSPC, "full")
        self.content.extend(bytes(max(0, size_bytes - len(self.content))))

    def write(self, offset: int, data: bytes) -> None:
        assert offset + len(data) <= len(self.content), "nothing is written that is not reserved"
        self.unsynced.append((offset, data))
        if self.failing:
            self.failing -= 1
            self._write_pieces(self.content, offset, data)
            raise OSError(errno.EIO, "broken")
        if self._is_the_end():
            self.lose_power()
        self.content[offset : offset + len(data)] = data

    def sync(self) -> None:
        if self.failing_syncs:
            self.failing_syncs -= 1
            self.unsynced.clear()  # the kernel gives up what it could not write, and keeps serving it
            raise OSError(errno.EIO, "broken")
        if self._is_the_end():
            self.lose_power()
        self.durable.extend(bytes(len(self.content) - len(self.durable)))
        for offset, data in self.unsynced:
            self.durable[offset : offset + len(data)] = data
        self.unsynced.clear()

    def lose_power(self) -> NoReturn:
        """What was written since the last sync is on the disk or not, piece by piece, as it happens."""
        self.data = self.durable + bytes(len(self.content) - len(self.durable))
        for offset, data in self.unsynced:
            self._write_pieces(self.data, offset, data)
        self.unsynced.clear()
        self.durable = bytearray(self.data)
        raise PowerLoss

    def _write_pieces(self, disk: bytearray, offset: int, data: bytes) -> None:
        likely = self.rng.choice((0.0, 0.6, 1.0))
        for start in range(0, len(data), PIECE_BYTES):
            if self.rng.random() < likely:
                piece = data[start : start + PIECE_BYTES]
                disk[offset + start : offset + start + len(piece)] = piece

    def replace(self, data: bytes) -> None:
        if len(data) > self.room_bytes:
            raise OSError(errno.ENOSPC, "full")
        is_the_end = self._is_the_end()
        if is_the_end and self.rng.random() < 0.5:
            self.lose_power()
        self.data, self.durable = bytearray(data), bytearray(data)
        self.unsynced.clear()
        if is_the_end:
            raise PowerLoss

    # The counter

    def advance(self, value: int, note: bytes) -> None:
        is_the_end = self._is_the_end()
        if not is_the_end or self.rng.random() < 0.5:
            assert value >= self.value
            self.value = value
            self.notes = {one: kept for one, kept in self.notes.items() if one > value - NOTES_KEPT}
            if note:
                self.notes[value] = note
        if is_the_end:
            self.lose_power()

    def _is_the_end(self) -> bool:
        self.writes += 1
        return self.writes == self.crash_at


class FakeCounter:
    """A disk's counter, as one in hardware is."""

    strength = "none"

    def __init__(self, disk: FakeDisk) -> None:
        self.disk = disk

    def read(self) -> int:
        return self.disk.value

    def advance_to(self, value: int) -> None:
        self.disk.advance(value, b"")


class FakeNotingCounter(FakeCounter):
    """One that keeps notes."""

    notes_kept = NOTES_KEPT
    note_bytes = 700

    def notes(self) -> dict[int, bytes]:
        return dict(self.disk.notes)

    def advance_with(self, value: int, note: bytes) -> None:
        assert len(note) <= self.note_bytes
        self.disk.advance(value, note)
