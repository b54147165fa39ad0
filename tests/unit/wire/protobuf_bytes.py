"""Protobuf written by hand, so that the tests' bytes do not come from the code under test."""

from __future__ import annotations


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def num(field: int, number: int) -> bytes:
    """An integer, a boolean or an enumeration."""
    return varint(field << 3) + varint(number)


def sub(field: int, *parts: bytes | str) -> bytes:
    """A string, bytes or a message made of parts."""
    content = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return varint(field << 3 | 2) + varint(len(content)) + content
