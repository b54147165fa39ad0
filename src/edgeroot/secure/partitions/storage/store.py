"""Objects in a log, each change atomic and durable, and none of them ever undone by an old copy of the log.

Every change has a number, one more than the last one's. First its record is made durable, then the counter of the
platform is advanced to that number; so a log that ends at the counter's value, or one further, is the newest there is
(and in the second case the step is finished at start). A log that ends earlier is an old copy, or damaged: nothing of
it is served, and nothing is overwritten.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.storage.record import (
    ALIGNMENT_BYTES,
    HEAD_BYTES,
    HEADER_BYTES,
    REMOVE,
    SET,
    Head,
    LogHeader,
    Sealer,
    record_bytes,
)
from edgeroot.secure.platform.counters import Counter, CounterError

_COMPACT_BYTES: Final = 1 << 20  # below this a log is not worth being written anew
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Log(Protocol):
    """See :class:`edgeroot.secure.platform.log_file.LogFile`."""

    @property
    def exists(self) -> bool: ...

    @property
    def size_bytes(self) -> int: ...

    def read(self, offset: int, size_bytes: int) -> bytes: ...

    def write(self, offset: int, data: bytes) -> None: ...

    def replace(self, data: bytes) -> None: ...


class Owner(NamedTuple):
    """Whose object it is: which service's, and which source's."""

    service: int
    source_id: int


class Slot(NamedTuple):
    """An object's name."""

    owner: Owner
    uid: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object's record is."""

    offset: int
    head: Head


class RolledBackError(Exception):
    """The log is older than the counter, or so damaged that nobody can tell; the message says what was found."""


class ObjectLog:
    """The objects of a log, in memory their places only. Methods raise PsaError."""

    def __init__(self, log: Log, counter: Counter, secret: Secret) -> None:
        self._log = log
        self._counter = counter
        self._sealer = Sealer(secret)
        self._header = LogHeader(b"", 0, 0)
        self._sequence = 0
        self._end = HEADER_BYTES
        self._places: dict[Slot, Place] = {}
        self._usage: dict[Owner, tuple[int, int]] = {}
        self._uncertain_before = 0  # objects of earlier records may have been changed by one that cannot be read
        self._fault: RolledBackError | None = None
        self._live_bytes = 0
        try:
            self._open()
        except RolledBackError as error:
            self._fault = error

    @property
    def fault(self) -> str | None:
        """Why nothing is served, None if all is well."""
        return None if self._fault is None else str(self._fault)

    def find(self, slot: Slot) -> Head | None:
        """What is known of an object; DATA_CORRUPT if its newest record cannot be told."""
        self._check()
        place = self._places.get(slot)
        if place is None:
            if self._uncertain_before:
                raise PsaError(PsaStatus.DATA_CORRUPT, "a damaged record may have been this object's")
            return None
        if place.head.sequence < self._uncertain_before:
            raise PsaError(PsaStatus.DATA_CORRUPT, "a damaged record may have been this object's")
        return place.head

    def read(self, slot: Slot) -> Secret:
        """An object's content; DATA_CORRUPT if it was changed. The object must be there."""
        place = self._places[slot]
        try:
            body = self._log.read(place.offset + HEAD_BYTES, place.head.size_bytes)
        except OSError as error:
            raise PsaError(PsaStatus.STORAGE_FAILURE, "the log cannot be read") from error
        content = self._sealer.read_body(place.head, body)
        if content is None:
            raise PsaError(PsaStatus.DATA_CORRUPT, "the object was changed outside of this service")
        return content

    def set(self, slot: Slot, content: bytes, *, flags: int, capacity_bytes: int) -> None:
        """Make or replace an object. INSUFFICIENT_STORAGE, STORAGE_FAILURE; then it is as it was."""
        self._append(SET, slot, content, flags=flags, capacity_bytes=capacity_bytes)

    def remove(self, slot: Slot) -> None:
        """Remove an object that is there."""
        self._append(REMOVE, slot, b"", flags=0, capacity_bytes=0)

    def usage(self, owner: Owner) -> tuple[int, int]:
        """How many objects an owner has, and how many bytes they may have together."""
        return self._usage.get(owner, (0, 0))

    def count(self, source_id: int) -> int:
        """How many objects a source has, in all services."""
        return sum(count for owner, (count, _) in self._usage.items() if owner.source_id == source_id)

    # Writing

    def _append(self, kind: int, slot: Slot, content: bytes, *, flags: int, capacity_bytes: int) -> None:
        self._check()
        head = Head(
            kind=kind,
            service=slot.owner.service,
            flags=flags,
            source_id=slot.owner.source_id,
            uid=slot.uid,
            sequence=self._sequence + 1,
            capacity_bytes=capacity_bytes,
            size_bytes=len(content),
        )
        written, record = self._sealer.write_record(self._header.log_id, head, content)
        offset = self._end
        self._write(offset, record)
        # From here on the change is in the log: if the counter cannot follow, the next start finishes the step.
        self._sequence += 1
        self._end = offset + len(record)
        self._note(slot, Place(offset, written))
        self._advance()
        if self._end > _COMPACT_BYTES and self._end > 4 * (self._live_bytes + HEADER_BYTES):
            self._compact()

    def _write(self, offset: int, record: bytes) -> None:
        try:
            self._log.write(offset, record)
        except OSError as error:
            try:
                # What was perhaps written must not come to life at the next start.
                self._log.write(offset, bytes(len(record)))
            except OSError:
                self._fault = RolledBackError("a record could be neither written nor taken back")
            full = error.errno in _FULL or error.errno is None
            status = PsaStatus.INSUFFICIENT_STORAGE if full else PsaStatus.STORAGE_FAILURE
            raise PsaError(status, "the log cannot be written") from error

    def _advance(self) -> None:
        try:
            self._counter.advance_to(self._sequence)
        except (CounterError, ValueError) as error:
            self._fault = RolledBackError(f"the counter does not follow: {error}")
            raise PsaError(PsaStatus.STORAGE_FAILURE, "the counter does not follow") from error

    def _note(self, slot: Slot, place: Place) -> None:
        count, total_bytes = self.usage(slot.owner)
        before = self._places.pop(slot, None)
        if before is not None:
            self._live_bytes -= before.head.record_bytes
            count, total_bytes = count - 1, total_bytes - before.head.capacity_bytes
        if place.head.kind == SET:
            self._places[slot] = place
            self._live_bytes += place.head.record_bytes
            count, total_bytes = count + 1, total_bytes + place.head.capacity_bytes
        self._usage[slot.owner] = count, total_bytes

    def _compact(self) -> None:
        """Write the live objects into a log of their own; the state is the same, and so is its number."""
        if self._uncertain_before:
            return  # what is damaged stays as it is, for whoever may repair it
        header = LogHeader.fresh(base_sequence=self._sequence, count=len(self._places))
        parts = [self._sealer.write_header(header)]
        places: dict[Slot, Place] = {}
        end = HEADER_BYTES
        for slot, place in self._places.items():
            try:
                content = self.read(slot)
            except PsaError:
                return
            head, record = self._sealer.write_record(header.log_id, _moved(place.head, self._sequence), content)
            parts.append(record)
            places[slot] = Place(end, head)
            end += len(record)
        try:
            self._log.replace(b"".join(parts))
        except OSError:
            return  # there is no room for two logs: the one that is there goes on
        self._header, self._places, self._end = header, places, end

    # Starting

    def _open(self) -> None:
        counter = self._counter.read()
        if not self._log.exists:
            if counter:
                raise RolledBackError(f"the log is missing, and {counter} changes were made to it")
            self._log.replace(self._sealer.write_header(LogHeader.fresh(base_sequence=0, count=0)))
        header = self._sealer.read_header(self._log.read(0, HEADER_BYTES))
        if header is None:
            raise RolledBackError("the beginning of the log is damaged, or belongs to another device")
        self._header = header
        self._sequence = header.base_sequence
        self._end = HEADER_BYTES
        seen = 0
        for place in self._records():
            head = place.head
            seen += 1
            if seen <= header.count:
                if head.sequence != header.base_sequence:
                    raise RolledBackError("the log's first records do not belong together")
            else:
                self._sequence = head.sequence
            self._end = place.offset + head.record_bytes
            self._note(Slot(Owner(head.service, head.source_id), head.uid), place)
        if (seen < header.count and not self._uncertain_before) or self._sequence not in (counter, counter + 1):
            raise RolledBackError(f"the log ends at change {self._sequence}, and {counter} were made")
        try:
            self._counter.advance_to(self._sequence)
        except CounterError as error:
            raise RolledBackError(f"the counter does not follow: {error}") from error

    def _records(self) -> Iterator[Place]:
        """The records in order; what follows the last one is a torn one, or nothing."""
        data = self._log.read(0, self._log.size_bytes)
        offset = HEADER_BYTES
        number = 0
        while offset < len(data):
            expected = self._header.base_sequence + max(0, number + 1 - self._header.count)
            head = self._head_at(data, offset, expected)
            if head is None:
                found = self._resume(data, offset, expected if number >= self._header.count else expected - 1)
                if found is None:
                    return
                offset, head, lost = found
                number += lost
            yield Place(offset, head)
            offset += head.record_bytes
            number += 1

    def _head_at(self, data: bytes, offset: int, expected: int) -> Head | None:
        """The head of the record at this place, from whichever end it can be read."""
        head = self._sealer.read_head(self._header.log_id, data[offset : offset + HEAD_BYTES])
        if head is None:
            end = offset + record_bytes(0)
            while end <= len(data):
                head = self._sealer.read_head(self._header.log_id, data[end - HEAD_BYTES : end])
                if head is not None:
                    head = head if head.record_bytes == end - offset else None
                    break
                end += ALIGNMENT_BYTES
        if head is None or head.sequence != expected or offset + head.record_bytes > len(data):
            return None
        if self._sealer.read_head(self._header.log_id, data[: offset + head.record_bytes][-HEAD_BYTES:]) is None:
            front = self._sealer.read_head(self._header.log_id, data[offset : offset + HEAD_BYTES])
            if front is None or not self._is_followed(data, offset + head.record_bytes, expected):
                return None  # torn: the last record, of which the end is missing
        return head

    def _is_followed(self, data: bytes, offset: int, expected: int) -> bool:
        """Whether a later record begins here, so that this one cannot be a torn one."""
        head = self._sealer.read_head(self._header.log_id, data[offset : offset + HEAD_BYTES])
        return (head is not None and head.sequence >= expected) or self._counter.read() >= expected

    def _resume(self, data: bytes, offset: int, expected: int) -> tuple[int, Head, int] | None:
        """Behind a record of which neither end can be read: the next later one, and how many are lost."""
        for start in range(offset + ALIGNMENT_BYTES, len(data), ALIGNMENT_BYTES):
            head = self._sealer.read_head(self._header.log_id, data[start : start + HEAD_BYTES])
            if head is not None and head.sequence > expected:
                self._uncertain_before = head.sequence
                return start, head, head.sequence - expected
        return None

    def _check(self) -> None:
        if self._fault is not None:
            raise PsaError(PsaStatus.CORRUPTION_DETECTED, str(self._fault)) from self._fault


def _moved(head: Head, sequence: int) -> Head:
    return Head(
        kind=head.kind,
        service=head.service,
        flags=head.flags,
        source_id=head.source_id,
        uid=head.uid,
        sequence=sequence,
        capacity_bytes=head.capacity_bytes,
        size_bytes=head.size_bytes,
    )
