"""Objects in a log, each change atomic and durable, and none of them ever undone by an old copy of the log.

Every change has a number, one more than the last one's. First its record is made durable, then the counter of the
platform is advanced to that number; so a log that ends at the counter's value, or one further, is the newest there is
(and in the second case the step is finished at start). A log that ends earlier is an old copy, or damaged: nothing of
it is served, and nothing is overwritten.

With a counter that keeps notes a short record is noted there, which makes both durable in one write; the log is made
durable when the notes are about to be overwritten, and at start what the log lacks is copied from them.

What is damaged inside the log concerns the objects whose records it hit. Only where so much is unreadable at one place
that later records do not mention it all can nobody tell which objects those were; then every object that has no later
record answers DATA_CORRUPT, and so does every name without one.
"""

from __future__ import annotations

import errno
from collections import deque
from dataclasses import replace
from struct import Struct
from typing import Final, NamedTuple, Protocol

from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.storage.record import (
    HEAD_BYTES,
    HEADER_BYTES,
    LOST,
    MENTIONS,
    REMOVE,
    SET,
    Head,
    LogHeader,
    Mention,
    Sealer,
)
from edgeroot.secure.partitions.storage.replay import Hole, Place, Replay
from edgeroot.secure.platform.counters import Counter, CounterError, NotingCounter
from edgeroot.secure.platform.entropy import Entropy, SystemEntropy
from edgeroot.secure.platform.log_file import ReplacementUncertainError

_COMPACT_BYTES: Final = 1 << 20  # below this a log is not worth being written anew
_NOTE: Final = Struct("<QQ")  # the last change that was durable in the log, and the record's place
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Log(Protocol):
    """See :class:`edgeroot.secure.platform.log_file.LogFile`."""

    @property
    def exists(self) -> bool: ...

    @property
    def size_bytes(self) -> int: ...

    def read(self, offset: int, size_bytes: int) -> bytes: ...

    def reserve(self, size_bytes: int) -> None: ...

    def write(self, offset: int, data: bytes) -> None: ...

    def sync(self) -> None: ...

    def replace(self, data: bytes) -> None: ...


class Owner(NamedTuple):
    """Whose object it is: which service's, and which source's."""

    service: int
    source_id: int


class Slot(NamedTuple):
    """An object's name."""

    owner: Owner
    uid: int


class RolledBackError(Exception):
    """The log is older than the counter, or so damaged that nobody can tell; the message says what was found."""


class ObjectLog:
    """The objects of a log, in memory their places only. Methods raise PsaError."""

    def __init__(self, log: Log, counter: Counter, secret: Secret, *, entropy: Entropy | None = None) -> None:
        self._log = log
        self._counter = counter
        self._noting = counter if isinstance(counter, NotingCounter) else None
        self._sealer = Sealer(secret, entropy or SystemEntropy())
        self._header = LogHeader(b"", 0, 0)
        self._sequence = 0
        self._durable = 0  # the last change that is durable in the log
        self._end = HEADER_BYTES
        self._places: dict[Slot, Place] = {}
        self._usage: dict[Owner, tuple[int, int]] = {}
        self._recent: deque[Mention] = deque(maxlen=MENTIONS)  # of the last records, the newest first
        self._uncertain_before = 0  # objects of earlier records may have been changed by one that cannot be read
        self._fault: RolledBackError | None = None
        self._live_bytes = 0
        try:
            self._open()
        except RolledBackError as error:
            self._fault = error
        except (CounterError, OSError) as error:
            self._fault = RolledBackError(f"nobody can tell whether the log is the newest: {error}")

    @property
    def fault(self) -> str | None:
        """Why nothing is served, None if all is well."""
        return None if self._fault is None else str(self._fault)

    def find(self, slot: Slot) -> Head | None:
        """What is known of an object; DATA_CORRUPT if its newest record cannot be told.

        Of an object whose record was damaged (kind LOST) nothing is known but its flags.
        """
        self._check()
        place = self._places.get(slot)
        if self._uncertain_before and (place is None or place.head.sequence < self._uncertain_before):
            raise PsaError(PsaStatus.DATA_CORRUPT, "a damaged record may have been this object's")
        return None if place is None else place.head

    def read(self, slot: Slot) -> Secret:
        """An object's content; DATA_CORRUPT if it was changed. The object must be there."""
        place = self._places[slot]
        content = None
        if place.head.kind == SET:
            try:
                content = self._sealer.read_body(place.head, self._body(place))
            except OSError as error:
                raise PsaError(PsaStatus.STORAGE_FAILURE, "the log cannot be read") from error
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
        head, body = self._sealer.seal(head, content)
        try:
            self._reserve(head.record_bytes)
            record = self._sealer.write_record(self._header.log_id, head, body, self._recent)
            is_noted = self._may_note(head)
            self._write(record, later=is_noted)
        except OSError as error:
            full = error.errno in _FULL
            status = PsaStatus.INSUFFICIENT_STORAGE if full else PsaStatus.STORAGE_FAILURE
            raise PsaError(status, "the log cannot be written") from error
        # From here on the change is in the log: if the counter cannot follow, the next start finishes the step.
        place = Place(self._end, head)
        note = _NOTE.pack(self._durable, self._end) + record if is_noted else b""
        self._sequence, self._end = head.sequence, place.end
        self._note(place)
        self._advance(note)
        if self._end > _COMPACT_BYTES and self._end > 4 * (self._live_bytes + HEADER_BYTES):
            self._compact()

    def _reserve(self, size_bytes: int) -> None:
        """Have room for a record, if need be where outdated ones were. Nothing of it is written yet."""
        try:
            self._log.reserve(self._end + size_bytes)
        except OSError:
            if self._end < 2 * (self._live_bytes + HEADER_BYTES) or not self._compact():
                raise
            self._log.reserve(self._end + size_bytes)

    def _may_note(self, head: Head) -> bool:
        """Whether the record can be noted: none that is not durable in the log is lost to its note."""
        return (
            self._noting is not None
            and _NOTE.size + head.record_bytes <= self._noting.note_bytes
            and head.sequence - self._durable < self._noting.notes_kept
        )

    def _write(self, record: bytes, *, later: bool) -> None:
        """Write a record behind the last one. ``later``: it need not be durable yet."""
        try:
            self._log.write(self._end, record)
            if not later:
                self._log.sync()
                self._durable = self._sequence + 1
        except OSError:
            # What was perhaps written must not come to life at the next start: a new log is without it, and neither
            # will a copy of it be taken for a part of that log.
            if not self._compact():
                self._erase(len(record))
            raise

    def _erase(self, size_bytes: int) -> None:
        try:
            if self._durable < self._sequence:
                raise OSError("earlier changes may not be durable")
            self._log.write(self._end, bytes(size_bytes))
            self._log.sync()
        except OSError:
            self._fault = RolledBackError("a record could be neither written nor taken back")

    def _advance(self, note: bytes) -> None:
        try:
            if self._noting is not None and note:
                self._noting.advance_with(self._sequence, note)
            else:
                self._counter.advance_to(self._sequence)
        except (CounterError, ValueError) as error:
            self._fault = RolledBackError(f"the counter does not follow: {error}")
            raise PsaError(PsaStatus.STORAGE_FAILURE, "the counter does not follow") from error

    def _note(self, place: Place) -> None:
        head = place.head
        self._recent.appendleft(head.mention)
        slot = Slot(Owner(head.service, head.source_id), head.uid)
        count, total_bytes = self.usage(slot.owner)
        before = self._places.pop(slot, None)
        if before is not None:
            self._live_bytes -= before.head.record_bytes
            count, total_bytes = count - 1, total_bytes - before.head.capacity_bytes
        if head.kind != REMOVE:
            self._places[slot] = place
            self._live_bytes += head.record_bytes
            count, total_bytes = count + 1, total_bytes + head.capacity_bytes
        self._usage[slot.owner] = count, total_bytes

    def _body(self, place: Place) -> bytes:
        return self._log.read(place.offset + HEAD_BYTES, place.head.size_bytes)

    def _compact(self) -> bool:
        """Write the live objects into a log of their own; the state is the same, and so is its number.

        Contents are moved as they lie there: one that was damaged stays so.
        """
        if self._uncertain_before or self._fault is not None:
            return False  # what is damaged stays as it is, for whoever may repair it
        header = self._sealer.new_header(base_sequence=self._sequence, count=len(self._places))
        parts = [self._sealer.write_header(header)]
        places: dict[Slot, Place] = {}
        recent: deque[Mention] = deque(maxlen=MENTIONS)
        end = HEADER_BYTES
        try:
            for number, (slot, place) in enumerate(self._places.items()):
                head = replace(place.head, sequence=header.first_sequence + number)
                body = self._body(place) if head.size_bytes else b""
                parts.append(self._sealer.write_record(header.log_id, head, body, recent))
                recent.appendleft(head.mention)
                places[slot] = Place(end, head)
                end += head.record_bytes
            self._log.replace(b"".join(parts))
        except ReplacementUncertainError as error:
            self._fault = RolledBackError(f"nobody can tell which log there will be: {error}")
            return False
        except OSError:
            return False  # there is no room for two logs: the one that is there goes on
        self._header, self._places, self._recent, self._end = header, places, recent, end
        self._live_bytes = end - HEADER_BYTES
        self._durable = self._sequence
        return True

    # Starting

    def _open(self) -> None:
        counter = self._counter.read()
        if not self._log.exists:
            if counter:
                raise RolledBackError(f"the log is missing, and {counter} changes were made to it")
            self._log.replace(self._sealer.write_header(self._sealer.new_header(base_sequence=0, count=0)))
        header = self._sealer.read_header(self._log.read(0, HEADER_BYTES))
        if header is None:
            raise RolledBackError("the beginning of the log is damaged, or belongs to another device")
        self._header = header
        noted = self._noted(counter)
        data = bytearray(self._log.read(0, self._log.size_bytes))
        for place, record in noted:
            data[place.offset : place.end] = record
        first_noted = min((place.head.sequence for place, _ in noted), default=counter + 1)
        replay = Replay(self._sealer, header, bytes(data), acknowledged=counter)
        for event in replay.events():
            if isinstance(event, Place):
                self._note(event)
            elif event.is_explained or event.end_sequence < first_noted:
                self._note_hole(event)
            else:
                raise RolledBackError(f"the log ends at change {event.first_sequence - 1}, and {counter} were made")
        self._sequence, self._end = replay.sequence, replay.end
        if self._sequence not in (counter, counter + 1) or self._sequence < header.base_sequence:
            raise RolledBackError(f"the log ends at change {self._sequence}, and {counter} were made")
        self._settle(noted, counter)
        if replay.leaves_something():
            self._compact()  # a record that does not count shall never be taken for one that does

    def _noted(self, counter: int) -> list[tuple[Place, bytes]]:
        """The records of this log that perhaps are in the counter's notes only."""
        notes = {} if self._noting is None else self._noting.notes()
        if len(notes.get(counter, b"")) < _NOTE.size:
            return []
        durable, _ = _NOTE.unpack_from(notes[counter])
        found = []
        for sequence in range(max(durable + 1, counter + 1 - len(notes)), counter + 1):
            note = notes.get(sequence, b"").ljust(_NOTE.size, b"\0")
            _, offset = _NOTE.unpack_from(note)
            record = note[_NOTE.size :]
            head = self._sealer.read_head(self._header.log_id, record)
            if head is None or head.sequence != sequence or head.record_bytes != len(record):
                continue
            if HEADER_BYTES <= offset <= self._log.size_bytes - len(record):
                found.append((Place(offset, head), record))
        return found

    def _settle(self, noted: list[tuple[Place, bytes]], counter: int) -> None:
        """Make log and counter agree, durably."""
        try:
            for place, record in noted:
                if self._log.read(place.offset, len(record)) != record:
                    self._log.write(place.offset, record)
            if noted or self._sequence > counter:
                self._log.sync()
            self._counter.advance_to(self._sequence)
        except (OSError, CounterError) as error:
            raise RolledBackError(f"log and counter cannot be brought together: {error}") from error
        self._durable = self._sequence

    def _note_hole(self, hole: Hole) -> None:
        for sequence, mention in hole.mentions:
            kind = REMOVE if mention.kind == REMOVE else LOST
            self._note(Place(0, _head(mention._replace(kind=kind), sequence)))
        if not hole.is_explained:
            self._uncertain_before = hole.end_sequence

    def _check(self) -> None:
        if self._fault is not None:
            raise PsaError(PsaStatus.CORRUPTION_DETECTED, str(self._fault)) from self._fault


def _head(mention: Mention, sequence: int) -> Head:
    """Of a record of which no more is known."""
    return Head(**mention._asdict(), sequence=sequence, capacity_bytes=0, size_bytes=0, nonce=bytes(12), tag=bytes(16))
