"""Reading a log from its beginning: its records, and what can be known of those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgeroot.secure.partitions.storage.record import (
    ALIGNMENT_BYTES,
    HEAD_BYTES,
    HEADER_BYTES,
    Head,
    LogHeader,
    Mention,
    Sealer,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object's record is."""

    offset: int
    head: Head

    @property
    def end(self) -> int:
        return self.offset + self.head.record_bytes


@dataclass(frozen=True, slots=True)
class Hole:
    """Records that cannot be read: their sequences, and what they were, as far as later records mention them."""

    first_sequence: int
    end_sequence: int
    mentions: tuple[tuple[int, Mention], ...]

    @property
    def is_explained(self) -> bool:
        return len(self.mentions) == self.end_sequence - self.first_sequence


class Replay:
    """Goes through a log once. ``data`` is all of it, ``acknowledged`` the sequence of the last change that counts.

    A record with the sequence behind that was being written when the power went. It counts if it is whole, and if not
    it never was: pages of a write reach a disk in any order, so that every part of it may be there or missing.
    """

    def __init__(self, sealer: Sealer, header: LogHeader, data: bytes, *, acknowledged: int) -> None:
        self._sealer: Final = sealer
        self._header: Final = header
        self._data: Final = data
        self._acknowledged: Final = acknowledged
        self.end = HEADER_BYTES
        self.sequence = header.first_sequence - 1
        """Of the last record."""

    def events(self) -> Iterator[Place | Hole]:
        """In order; ``end`` and ``sequence`` are the log's when there are no more."""
        while (place := self._next()) is not None:
            if place.head.sequence > self._acknowledged:
                record = self._data[place.offset : place.end]
                if not self._sealer.is_whole(self._header.log_id, place.head, record):
                    return
            if place.head.sequence > self.sequence + 1:
                yield self._hole(place)
            self.end, self.sequence = place.end, place.head.sequence
            yield place

    def leaves_something(self) -> bool:
        """Whether there is anything behind the last record, such as one that does not count."""
        return self._data.count(0, self.end) != len(self._data) - self.end

    def _next(self) -> Place | None:
        """The next record of which one end can be read."""
        expected = self.sequence + 1
        head = self._head_at(self.end)
        if head is not None and head.sequence == expected and self._fits(self.end, head):
            return Place(self.end, head)
        if not self.leaves_something():
            return None
        for offset in range(self.end, len(self._data), ALIGNMENT_BYTES):
            end = offset + ALIGNMENT_BYTES
            for start, head in ((offset, self._head_at(offset)), (None, self._head_at(end - HEAD_BYTES))):
                if head is None or head.sequence < expected:
                    continue
                begins = end - head.record_bytes if start is None else start
                if begins >= self.end and self._fits(begins, head):
                    return Place(begins, head)
        return None

    def _head_at(self, offset: int) -> Head | None:
        return self._sealer.read_head(self._header.log_id, self._data[offset : offset + HEAD_BYTES])

    def _fits(self, offset: int, head: Head) -> bool:
        return offset + head.record_bytes <= len(self._data)

    def _hole(self, place: Place) -> Hole:
        """What is missing before this record, which says it, or the next one if this one is damaged too."""
        first, end = self.sequence + 1, place.head.sequence
        newest = end - 1
        mentions = self._mentions_in(place)
        if mentions is None:
            newest = end
            head = self._head_at(place.end)
            mentions = None if head is None or head.sequence != end + 1 else self._mentions_in(Place(place.end, head))
        known = [(newest - back, mention) for back, mention in enumerate(mentions or ())]
        return Hole(first, end, tuple(sorted(one for one in known if first <= one[0] < end)))

    def _mentions_in(self, place: Place) -> list[Mention] | None:
        return self._sealer.read_mentions(self._header.log_id, place.head, self._data[place.offset : place.end])
