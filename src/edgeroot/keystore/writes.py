"""What the one writer can be asked for, what it answers, and how both travel between processes.

Where the reference is a blob that the store keeps, :class:`Insert` and :class:`Remove` are the whole life of a key.
Where the back end keeps the key, creation is :class:`Reserve`, back end, :class:`Commit` (or :class:`Release` if the
back end refused), and destruction is :class:`Mark`, back end, :class:`Finish` (or :class:`Unmark`).

Encoding: one byte says which write or result it is, then come the fields in their order; integers are little-endian,
text is UTF-8, and everything of variable length has a 32-bit length in front. A message has at most
``MAX_MESSAGE_BYTES``; decoding raises ValueError for anything that encoding would not have made.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from struct import Struct
from typing import Any, Final

from edgeroot.keystore.records import KeyIdentity, KeyRecord, KeyState, StoredKey, attributes_of
from edgeroot.psa import KeyAttributes

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
MAX_ORPHANS: Final = 64
"""How many records one :class:`ClaimOrphans` hands over at most; ask again until it hands over none."""


@dataclass(frozen=True, slots=True)
class Insert:
    """A new live key. ALREADY_EXISTS if the name is taken by a record in any state."""

    record: KeyRecord


@dataclass(frozen=True, slots=True)
class Remove:
    """The live key with this reference goes. DOES_NOT_EXIST if there is none, CONFLICT if it has another reference.

    Because of the reference, a removal that has to be sent again never meets a later key of the same name.
    """

    identity: KeyIdentity
    reference: bytes


@dataclass(frozen=True, slots=True)
class Reserve:
    """Takes the name, with the reference that the back end plans to use. ALREADY_EXISTS as for :class:`Insert`."""

    record: KeyRecord
    holder: str


@dataclass(frozen=True, slots=True)
class Commit:
    """The holder's reservation becomes a live key. CONFLICT if the reservation is no longer the holder's."""

    identity: KeyIdentity
    holder: str
    reference: bytes
    attributes: KeyAttributes


@dataclass(frozen=True, slots=True)
class Release:
    """The holder's reservation goes. CONFLICT if it is no longer the holder's."""

    identity: KeyIdentity
    holder: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A live key is no longer to be used. The outcome holds the record whose reference is now to be destroyed.

    DOES_NOT_EXIST if there is no live key; it may be that somebody else is destroying it.
    """

    identity: KeyIdentity
    holder: str


@dataclass(frozen=True, slots=True)
class Unmark:
    """The back end refused to destroy: the holder's marked key lives again. CONFLICT if it is not the holder's."""

    identity: KeyIdentity
    holder: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The holder's marked key goes. CONFLICT if it is no longer the holder's."""

    identity: KeyIdentity
    holder: str


@dataclass(frozen=True, slots=True)
class Replace:
    """The live key is from now on reached by another reference. CONFLICT if it no longer has the old one."""

    identity: KeyIdentity
    old_reference: bytes
    new_reference: bytes


@dataclass(frozen=True, slots=True)
class RemoveClient:
    """All live keys of an application in one provider go; ``Outcome.count`` says how many that were."""

    authenticator: int
    application: str
    provider: str


@dataclass(frozen=True, slots=True)
class SetProviderState:
    """The few bytes that a provider wants back at its next start."""

    provider: str
    state: bytes


@dataclass(frozen=True, slots=True)
class ClaimOrphans:
    """Reserved and marked records of dead holders pass to ``holder``; the outcome has up to ``MAX_ORPHANS`` of them."""

    holder: str
    dead_holders: tuple[str, ...]


Write = (
    Insert
    | Remove
    | Reserve
    | Commit
    | Release
    | Mark
    | Unmark
    | Finish
    | Replace
    | RemoveClient
    | SetProviderState
    | ClaimOrphans
)


class Result(IntEnum):
    DONE = 0
    ALREADY_EXISTS = 1
    DOES_NOT_EXIST = 2
    CONFLICT = 3
    """Somebody else changed the record in the meantime."""
    NO_SPACE = 4
    """The disk is full; nothing of the write is stored (PSA_ERROR_INSUFFICIENT_STORAGE)."""
    FAILED = 5
    """The store cannot be written; nothing of the write is stored (PSA_ERROR_STORAGE_FAILURE)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``detail`` is for logs. ``stored`` holds what :class:`Mark` marked or :class:`ClaimOrphans` handed over."""

    result: Result
    detail: str = ""
    count: int = 0
    stored: tuple[StoredKey, ...] = ()


def encode_write(write: Write) -> bytes:
    """Raises ValueError if the message would be longer than ``MAX_MESSAGE_BYTES``."""
    kind = type(write)
    parts = [_BYTE.pack(_NUMBERS[kind])]
    for name, type_name in _FIELDS[kind]:
        _PUT[type_name](parts, getattr(write, name))
    return _joined(parts)


def decode_write(message: bytes) -> Write:
    cursor = _Cursor(message)
    kind = _KINDS.get(cursor.number(_BYTE))
    if kind is None:
        raise ValueError("unknown kind of write")
    write: Write = kind(*[_TAKE[type_name](cursor) for _, type_name in _FIELDS[kind]])
    cursor.end()
    return write


def encode_outcome(outcome: Outcome) -> bytes:
    plain = _PLAIN_OUTCOMES.get(outcome.result)
    return plain[0] if plain is not None and outcome == plain[1] else _encode_outcome(outcome)


def decode_outcome(message: bytes) -> Outcome:
    return _PLAIN_MESSAGES.get(message) or _decode_outcome(message)


def _encode_outcome(outcome: Outcome) -> bytes:
    parts = [_BYTE.pack(outcome.result)]
    _put_text(parts, outcome.detail)
    parts.append(_COUNT.pack(outcome.count))
    parts.append(_LENGTH.pack(len(outcome.stored)))
    for stored in outcome.stored:
        _put_record(parts, stored.record)
        parts.append(_BYTE.pack(stored.state))
        parts.append(_BYTE.pack(stored.holder is not None))
        _put_text(parts, stored.holder or "")
    return _joined(parts)


def _decode_outcome(message: bytes) -> Outcome:
    cursor = _Cursor(message)
    result = Result(cursor.number(_BYTE))
    detail = cursor.text()
    count = cursor.number(_COUNT)
    stored = []
    for _ in range(cursor.number(_LENGTH)):
        record = cursor.record()
        state = KeyState(cursor.number(_BYTE))
        is_held = cursor.number(_BYTE)
        holder = cursor.text()
        stored.append(StoredKey(record, state, holder if is_held else None))
    cursor.end()
    return Outcome(result, detail, count, tuple(stored))


_BYTE: Final = Struct("<B")
_LENGTH: Final = Struct("<I")
_COUNT: Final = Struct("<Q")
_ATTRIBUTES_BYTES: Final = 14


def _joined(parts: list[bytes]) -> bytes:
    message = b"".join(parts)
    if len(message) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message to or from the writer has {len(message)} bytes, more than {MAX_MESSAGE_BYTES}")
    return message


def _put_number(parts: list[bytes], value: int) -> None:
    try:
        parts.append(_LENGTH.pack(value))
    except struct.error as error:
        raise ValueError(f"{value} does not fit into 32 bits") from error


def _put_bytes(parts: list[bytes], value: bytes) -> None:
    parts.append(_LENGTH.pack(len(value)))
    parts.append(value)


def _put_text(parts: list[bytes], value: str) -> None:
    _put_bytes(parts, value.encode())


def _put_texts(parts: list[bytes], values: tuple[str, ...]) -> None:
    parts.append(_LENGTH.pack(len(values)))
    for value in values:
        _put_text(parts, value)


def _put_identity(parts: list[bytes], identity: KeyIdentity) -> None:
    _put_number(parts, identity.authenticator)
    for text in identity[1:]:
        encoded = text.encode()
        parts += (_LENGTH.pack(len(encoded)), encoded)


def _put_attributes(parts: list[bytes], attributes: KeyAttributes) -> None:
    parts.append(bytes(attributes))


def _put_record(parts: list[bytes], record: KeyRecord) -> None:
    _put_identity(parts, record.identity)
    _put_bytes(parts, record.reference)
    _put_attributes(parts, record.attributes)


class _Cursor:
    """Reads a message from its beginning to its end; whatever does not fit is a ValueError."""

    def __init__(self, message: bytes) -> None:
        if len(message) > MAX_MESSAGE_BYTES:
            raise ValueError("a message to or from the writer is too long")
        self._message = message
        self._offset = 0

    def take(self, size_bytes: int) -> bytes:
        end = self._offset + size_bytes
        if end > len(self._message):
            raise ValueError("a message to or from the writer ends too early")
        part = self._message[self._offset : end]
        self._offset = end
        return part

    def number(self, layout: Struct = _LENGTH) -> int:
        number: int = layout.unpack(self.take(layout.size))[0]
        return number

    def bytes_(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return self.bytes_().decode()

    def texts(self) -> tuple[str, ...]:
        return tuple(self.text() for _ in range(self.number()))

    def identity(self) -> KeyIdentity:
        return KeyIdentity(self.number(), self.text(), self.text(), self.text())

    def attributes(self) -> KeyAttributes:
        return attributes_of(self.take(_ATTRIBUTES_BYTES))

    def record(self) -> KeyRecord:
        return KeyRecord(self.identity(), self.bytes_(), self.attributes())

    def end(self) -> None:
        if self._offset != len(self._message):
            raise ValueError("a message to or from the writer has bytes left over")


# The layout of a write is its fields: one row here for each type that a field may have.
_PUT: Final[Mapping[str, Callable[[list[bytes], Any], None]]] = {
    "int": _put_number,
    "bytes": _put_bytes,
    "str": _put_text,
    "tuple[str, ...]": _put_texts,
    "KeyIdentity": _put_identity,
    "KeyAttributes": _put_attributes,
    "KeyRecord": _put_record,
}
_TAKE: Final[Mapping[str, Callable[[_Cursor], Any]]] = {
    "int": _Cursor.number,
    "bytes": _Cursor.bytes_,
    "str": _Cursor.text,
    "tuple[str, ...]": _Cursor.texts,
    "KeyIdentity": _Cursor.identity,
    "KeyAttributes": _Cursor.attributes,
    "KeyRecord": _Cursor.record,
}
_KINDS: Final[Mapping[int, type[Write]]] = {
    1: Insert,
    2: Remove,
    3: Reserve,
    4: Commit,
    5: Release,
    6: Mark,
    7: Unmark,
    8: Finish,
    9: Replace,
    10: RemoveClient,
    11: SetProviderState,
    12: ClaimOrphans,
}
_NUMBERS: Final = {kind: number for number, kind in _KINDS.items()}
_FIELDS: Final = {kind: tuple((f.name, str(f.type)) for f in fields(kind)) for kind in _NUMBERS}
# Nearly every outcome is nothing but its result.
_PLAIN_OUTCOMES: Final = {result: (_encode_outcome(Outcome(result)), Outcome(result)) for result in Result}
_PLAIN_MESSAGES: Final = dict(_PLAIN_OUTCOMES.values())
