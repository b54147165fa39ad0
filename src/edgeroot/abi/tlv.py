"""Tag, length, value: how packed-c carries fields of variable length.

A record is a tag and a length, both u16 and big-endian, and up to 65535 bytes. Records come in the order of their tags.
A reader skips tags that it does not know and stops at one that is larger than what it looks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Final

HEADER: Final = Struct(">HH")
VALUE_MAX_BYTES: Final = 0xFFFF


class TlvError(ValueError):
    """Records that cannot be read or written; the message never holds a value."""


def encode_record(tag: int, value: bytes) -> bytes:
    """TlvError if the value is too long."""
    if len(value) > VALUE_MAX_BYTES:
        raise TlvError(f"record {tag} of {len(value)} bytes is longer than {VALUE_MAX_BYTES}")
    return HEADER.pack(tag, len(value)) + value


def encode_records(records: Iterable[tuple[int, bytes]]) -> bytes:
    """TlvError if tags do not ascend, or for a value that is too long."""
    parts = []
    last = -1
    for tag, value in records:
        if tag <= last:
            raise TlvError(f"record {tag} after record {last}")
        parts.append(encode_record(tag, value))
        last = tag
    return b"".join(parts)


def find_records(data: bytes, offset: int, tags: Sequence[int]) -> list[bytes | None]:
    """The values of ``tags``, which ascend, in the records from ``offset`` on; None for each that is not there.

    TlvError if a record is cut off, unless everything has been found before it. The first of equal tags counts.
    """
    found: list[bytes | None] = []
    end = len(data)
    for tag in tags:
        value = None
        while offset < end:
            if end - offset < HEADER.size:
                raise TlvError("a record's header is cut off")
            this, length = HEADER.unpack_from(data, offset)
            if this > tag:
                break
            start = offset + HEADER.size
            offset = start + length
            if offset > end:
                raise TlvError(f"record {this} says {length} bytes and has {end - start}")
            if this == tag:
                value = data[start:offset]
                break
        found.append(value)
    return found
