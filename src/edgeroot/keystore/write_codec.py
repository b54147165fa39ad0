"""Writes and their outcomes as bytes, for the way between the processes of a service.

A message is a number that says which write or result it is (u8), the number of its parts (u16), their lengths (u32
each) and the parts. Integers are little-endian, text is UTF-8. A message has at most ``MAX_MESSAGE_BYTES``; decoding
raises ValueError for anything that encoding would not have made.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

from edgeroot.keystore.records import KeyIdentity, KeyRecord, KeyState, StoredKey, attributes_of
from edgeroot.keystore.writes import (
    Claim,
    Commit,
    Finish,
    Insert,
    Mark,
    Outcome,
    Release,
    Remove,
    RemoveClient,
    Replace,
    Reserve,
    Result,
    SetProviderState,
    Unmark,
    Write,
)

MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
_HEAD: Final = Struct("<BH")
_NUMBER: Final = Struct("<I")
_COUNT: Final = Struct("<Q")
_STORED_PARTS: Final = 8
_NO_HOLDER: Final = b"-"
_HELD_BY: Final = b"+"


def encode_write(write: Write) -> bytes:
    """Raises ValueError for what does not fit: a number above 32 bits, a lone surrogate, too long a message."""
    kind = _KIND_OF[type(write)]
    return _message(kind.number, kind.parts(write))


def decode_write(message: bytes) -> Write:
    number, parts = _parts(message)
    if number not in _KINDS:
        raise ValueError("unknown kind of write")
    write: Write = _KINDS[number].of(parts)
    return write


def encode_outcome(outcome: Outcome) -> bytes:
    plain = _PLAIN_OUTCOMES[outcome.result]
    return plain[0] if outcome == plain[1] else _encode_outcome(outcome)


def decode_outcome(message: bytes) -> Outcome:
    return _PLAIN_MESSAGES.get(message) or _decode_outcome(message)


def _message(number: int, parts: Sequence[bytes]) -> bytes:
    try:
        head = _HEAD.pack(number, len(parts)) + _lengths(len(parts)).pack(*map(len, parts))
    except struct.error as error:
        raise ValueError("too much for a message to or from the writer") from error
    message = b"".join((head, *parts))
    if len(message) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message to or from the writer has {len(message)} bytes, more than {MAX_MESSAGE_BYTES}")
    return message


def _parts(message: bytes) -> tuple[int, list[bytes]]:
    if len(message) > MAX_MESSAGE_BYTES:
        raise ValueError("a message to or from the writer is too long")
    try:
        number, count = _HEAD.unpack_from(message)
        lengths = _lengths(count).unpack_from(message, _HEAD.size)
    except struct.error as error:
        raise ValueError("a message to or from the writer ends too early") from error
    at = _HEAD.size + _NUMBER.size * count
    if at + sum(lengths) != len(message):
        raise ValueError("a message to or from the writer has another length than its parts")
    parts = []
    for length in lengths:
        parts.append(message[at : at + length])
        at += length
    return number, parts


@lru_cache(maxsize=64)
def _lengths(count: int) -> Struct:
    return Struct(f"<{count}I")


def _number(value: int) -> bytes:
    try:
        return _NUMBER.pack(value)
    except struct.error as error:
        raise ValueError(f"{value} does not fit into 32 bits") from error


def _number_of(part: bytes, layout: Struct = _NUMBER) -> int:
    if len(part) != layout.size:
        raise ValueError(f"a number has {len(part)} bytes instead of {layout.size}")
    number: int = layout.unpack(part)[0]
    return number


def _identity(identity: KeyIdentity) -> tuple[bytes, ...]:
    authenticator, application, provider, key_name = identity
    return _number(authenticator), application.encode(), provider.encode(), key_name.encode()


def _identity_of(parts: Sequence[bytes]) -> KeyIdentity:
    authenticator, application, provider, key_name = parts
    return KeyIdentity(_number_of(authenticator), application.decode(), provider.decode(), key_name.decode())


def _record(record: KeyRecord) -> tuple[bytes, ...]:
    return *_identity(record.identity), record.reference, bytes(record.attributes)


def _record_of(parts: Sequence[bytes]) -> KeyRecord:
    *identity, reference, attributes = parts
    return KeyRecord(_identity_of(identity), reference, attributes_of(attributes))


def _held(write: Release | Mark | Unmark | Finish) -> tuple[bytes, ...]:
    return *_identity(write.identity), write.holder.encode()


def _held_of(parts: Sequence[bytes]) -> tuple[KeyIdentity, str]:
    *identity, holder = parts
    return _identity_of(identity), holder.decode()


def _remove_of(parts: Sequence[bytes]) -> Remove:
    *identity, reference = parts
    return Remove(_identity_of(identity), reference)


def _insert_of(parts: Sequence[bytes]) -> Insert:
    *record, max_keys = parts
    return Insert(_record_of(record), _number_of(max_keys))


def _reserve_of(parts: Sequence[bytes]) -> Reserve:
    *record, holder, max_keys = parts
    return Reserve(_record_of(record), holder.decode(), _number_of(max_keys))


def _commit_of(parts: Sequence[bytes]) -> Commit:
    *identity, holder, reference, attributes = parts
    return Commit(_identity_of(identity), holder.decode(), reference, attributes_of(attributes))


def _replace_of(parts: Sequence[bytes]) -> Replace:
    *identity, old_reference, new_reference = parts
    return Replace(_identity_of(identity), old_reference, new_reference)


def _remove_client_of(parts: Sequence[bytes]) -> RemoveClient:
    authenticator, application, provider = parts
    return RemoveClient(_number_of(authenticator), application.decode(), provider.decode())


def _set_provider_state_of(parts: Sequence[bytes]) -> SetProviderState:
    provider, state = parts
    return SetProviderState(provider.decode(), state)


def _claim_of(parts: Sequence[bytes]) -> Claim:
    *identity, holder, next_holder = parts
    return Claim(_identity_of(identity), holder.decode(), next_holder.decode())


class _Kind(NamedTuple):
    number: int
    type: type[Write]
    parts: Callable[[Any], Sequence[bytes]]
    of: Callable[[Sequence[bytes]], Any]


_KINDS: Final = {
    kind.number: kind
    for kind in (
        _Kind(1, Insert, lambda write: (*_record(write.record), _number(write.max_keys)), _insert_of),
        _Kind(2, Remove, lambda write: (*_identity(write.identity), write.reference), _remove_of),
        _Kind(
            3,
            Reserve,
            lambda write: (*_record(write.record), write.holder.encode(), _number(write.max_keys)),
            _reserve_of,
        ),
        _Kind(
            4,
            Commit,
            lambda write: (
                *_identity(write.identity),
                write.holder.encode(),
                write.reference,
                bytes(write.attributes),
            ),
            _commit_of,
        ),
        _Kind(5, Release, _held, lambda parts: Release(*_held_of(parts))),
        _Kind(6, Mark, _held, lambda parts: Mark(*_held_of(parts))),
        _Kind(7, Unmark, _held, lambda parts: Unmark(*_held_of(parts))),
        _Kind(8, Finish, _held, lambda parts: Finish(*_held_of(parts))),
        _Kind(
            9,
            Replace,
            lambda write: (*_identity(write.identity), write.old_reference, write.new_reference),
            _replace_of,
        ),
        _Kind(
            10,
            RemoveClient,
            lambda write: (_number(write.authenticator), write.application.encode(), write.provider.encode()),
            _remove_client_of,
        ),
        _Kind(11, SetProviderState, lambda write: (write.provider.encode(), write.state), _set_provider_state_of),
        _Kind(
            12,
            Claim,
            lambda write: (*_identity(write.identity), write.holder.encode(), write.next_holder.encode()),
            _claim_of,
        ),
    )
}
_KIND_OF: Final = {kind.type: kind for kind in _KINDS.values()}


def _encode_outcome(outcome: Outcome) -> bytes:
    parts = [outcome.detail.encode(), _COUNT.pack(outcome.count)]
    for stored in outcome.stored:
        holder = _NO_HOLDER if stored.holder is None else _HELD_BY + stored.holder.encode()
        parts += (*_record(stored.record), bytes((stored.state,)), holder)
    return _message(outcome.result, parts)


def _decode_outcome(message: bytes) -> Outcome:
    number, (detail, count, *rest) = _parts(message)
    if len(rest) % _STORED_PARTS:
        raise ValueError("an outcome of the writer has half a record")
    stored = tuple(_stored_of(rest[at : at + _STORED_PARTS]) for at in range(0, len(rest), _STORED_PARTS))
    return Outcome(Result(number), detail.decode(), _number_of(count, _COUNT), stored)


def _stored_of(parts: Sequence[bytes]) -> StoredKey:
    *record, state, holder = parts
    if (holder != _NO_HOLDER and not holder.startswith(_HELD_BY)) or len(state) != 1:
        raise ValueError("an outcome of the writer has an invalid record")
    return StoredKey(_record_of(record), KeyState(state[0]), None if holder == _NO_HOLDER else holder[1:].decode())


# Nearly every outcome is nothing but its result.
_PLAIN_OUTCOMES: Final = {result: (_encode_outcome(Outcome(result)), Outcome(result)) for result in Result}
_PLAIN_MESSAGES: Final = dict(_PLAIN_OUTCOMES.values())
