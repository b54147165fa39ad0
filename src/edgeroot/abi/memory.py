"""Memory management descriptors of FF-A (DEN0077A, clause 5.12 of 1.0 and 1.1): what is shared, by whom, with whom.

A transaction descriptor is a header (48 bytes in 1.1, 32 in 1.0), one access descriptor for each receiver (16 bytes),
and a composite region that all of them point to: pages in total, and address ranges that add up to them. A page has
4096 bytes in every count. Whether memory is shared, lent or donated is said by the function id, and by the flags only
when memory is retrieved.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from edgeroot.abi.ffa import VERSION_1_1

PAGE_BYTES: Final = 4096
NORMAL_WRITE_BACK_INNER_SHAREABLE: Final = 0x2F
"""Attributes of ordinary memory. Zero, "not specified", is what lending and donating want."""
DATA_READ_WRITE: Final = 0b10
FLAG_ZERO_MEMORY: Final = 1 << 0
FLAG_TIME_SLICE: Final = 1 << 1
_TYPE_SHIFT: Final = 3

_HEADER_1_0: Final = Struct("<HBxIQQ4xI")
_HEADER_1_1: Final = Struct("<HHIQQIII12x")
_ACCESS: Final = Struct("<HBBI8x")
_COMPOSITE: Final = Struct("<II8x")
_RANGE: Final = Struct("<QI4x")
_RELINQUISH: Final = Struct("<QII")
_ENDPOINT: Final = Struct("<H")


class DescriptorError(ValueError):
    """A descriptor contradicts itself or the bytes that it came in."""


class TransactionType(IntEnum):
    """Bits 4:3 of the flags of a retrieval."""

    NOT_SPECIFIED = 0
    SHARE = 1
    LEND = 2
    DONATE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAccess:
    """One receiver and what it may do: data access in bits 1:0 (1 read only, 2 read and write), execution in 3:2."""

    receiver: int
    permissions: int = DATA_READ_WRITE
    flags: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRange:
    """Pages that follow one another."""

    address: int
    page_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """Memory that is shared, lent or donated, or the answer to its retrieval. At least one access and one range."""

    sender: int
    accesses: tuple[MemoryAccess, ...]
    ranges: tuple[MemoryRange, ...]
    attributes: int = NORMAL_WRITE_BACK_INNER_SHAREABLE
    flags: int = 0
    handle: int = 0
    tag: int = 0

    @classmethod
    def share(cls, *, sender: int, receiver: int, page_count: int, handle: int = 0, address: int = 0) -> Transaction:
        """One range, read and written by one receiver."""
        return cls(
            sender=sender,
            accesses=(MemoryAccess(receiver=receiver),),
            ranges=(MemoryRange(address=address, page_count=page_count),),
            handle=handle,
        )

    @property
    def receivers(self) -> tuple[int, ...]:
        return tuple(access.receiver for access in self.accesses)

    @property
    def page_count(self) -> int:
        return sum(one.page_count for one in self.ranges)

    @property
    def transaction_type(self) -> TransactionType:
        """As the flags say it."""
        return TransactionType(self.flags >> _TYPE_SHIFT & 0b11)

    def encode(self, version: int = VERSION_1_1) -> bytes:
        """struct.error for a number that its field does not hold."""
        head = _Head(self.sender, self.attributes, self.flags, self.handle, self.tag)
        ranges = b"".join(_RANGE.pack(one.address, one.page_count) for one in self.ranges)
        composite = _COMPOSITE.pack(self.page_count, len(self.ranges)) + ranges
        return _encode(head, self.accesses, composite, version)

    @classmethod
    def decode(cls, data: bytes, version: int = VERSION_1_1) -> Transaction:
        """DescriptorError if the descriptor is not complete and consistent."""
        head, accesses, offset = _decode(data, version)
        if not offset:
            raise DescriptorError("the descriptor has no composite region")
        return cls(
            sender=head.sender,
            accesses=accesses,
            ranges=_decode_composite(data, offset),
            attributes=head.attributes,
            flags=head.flags,
            handle=head.handle,
            tag=head.tag,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveRequest:
    """What a receiver asks for. It names no addresses: where the memory goes is the partition manager's choice."""

    sender: int
    receiver: int
    handle: int
    tag: int = 0
    transaction_type: TransactionType = TransactionType.SHARE
    permissions: int = DATA_READ_WRITE

    def encode(self, version: int = VERSION_1_1) -> bytes:
        """struct.error for a number that its field does not hold."""
        attributes = NORMAL_WRITE_BACK_INNER_SHAREABLE if self.transaction_type is TransactionType.SHARE else 0
        head = _Head(self.sender, attributes, self.transaction_type << _TYPE_SHIFT, self.handle, self.tag)
        return _encode(head, (MemoryAccess(receiver=self.receiver, permissions=self.permissions),), b"", version)

    @classmethod
    def decode(cls, data: bytes, version: int = VERSION_1_1) -> RetrieveRequest:
        """DescriptorError if the descriptor is not complete, or has several receivers or addresses."""
        head, accesses, offset = _decode(data, version)
        if len(accesses) != 1:
            raise DescriptorError(f"memory is retrieved for {len(accesses)} receivers at once")
        if offset:
            raise DescriptorError("a retrieval names addresses")
        return cls(
            sender=head.sender,
            receiver=accesses[0].receiver,
            handle=head.handle,
            tag=head.tag,
            transaction_type=TransactionType(head.flags >> _TYPE_SHIFT & 0b11),
            permissions=accesses[0].permissions,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRelinquish:
    """What FFA_MEM_RELINQUISH points to: these endpoints give the memory back."""

    handle: int
    endpoints: tuple[int, ...]
    flags: int = 0

    def encode(self) -> bytes:
        """struct.error for a number that its field does not hold."""
        endpoints = b"".join(map(_ENDPOINT.pack, self.endpoints))
        return _RELINQUISH.pack(self.handle, self.flags, len(self.endpoints)) + endpoints

    @classmethod
    def decode(cls, data: bytes) -> MemoryRelinquish:
        """DescriptorError if the descriptor is not complete or names no endpoint."""
        if len(data) < _RELINQUISH.size:
            raise DescriptorError(f"a relinquish descriptor of {len(data)} bytes is cut off")
        handle, flags, count = _RELINQUISH.unpack_from(data)
        end = _RELINQUISH.size + count * _ENDPOINT.size
        if not count or end > len(data):
            raise DescriptorError(f"a relinquish descriptor of {len(data)} bytes says {count} endpoints")
        endpoints = tuple(endpoint for (endpoint,) in _ENDPOINT.iter_unpack(data[_RELINQUISH.size : end]))
        return cls(handle=handle, endpoints=endpoints, flags=flags)


@dataclass(frozen=True, slots=True)
class _Head:
    sender: int
    attributes: int
    flags: int
    handle: int
    tag: int


def _encode(head: _Head, accesses: tuple[MemoryAccess, ...], composite: bytes, version: int) -> bytes:
    fields = (head.sender, head.attributes, head.flags, head.handle, head.tag)
    if version < VERSION_1_1:
        header = _HEADER_1_0.pack(*fields, len(accesses))
    else:
        header = _HEADER_1_1.pack(*fields, _ACCESS.size, len(accesses), _HEADER_1_1.size)
    offset = len(header) + len(accesses) * _ACCESS.size if composite else 0
    receivers = b"".join(_ACCESS.pack(one.receiver, one.permissions, one.flags, offset) for one in accesses)
    return header + receivers + composite


def _decode(data: bytes, version: int) -> tuple[_Head, tuple[MemoryAccess, ...], int]:
    """The header, who gets access, and where the composite region begins: 0 if there is none."""
    layout = _HEADER_1_0 if version < VERSION_1_1 else _HEADER_1_1
    if len(data) < layout.size:
        raise DescriptorError(f"a transaction descriptor of {len(data)} bytes is cut off")
    if version < VERSION_1_1:
        *head, count = layout.unpack_from(data)
        begin = layout.size
    else:
        *head, access_bytes, count, begin = layout.unpack_from(data)
        if access_bytes != _ACCESS.size:
            raise DescriptorError(f"access descriptors of {access_bytes} bytes are not those of FF-A 1.1")
        if begin < layout.size or begin % 16:
            raise DescriptorError(f"access descriptors cannot begin at {begin}")
    end = begin + count * _ACCESS.size
    if not count or end > len(data):
        raise DescriptorError(f"a descriptor of {len(data)} bytes says {count} receivers")
    rows = list(_ACCESS.iter_unpack(data[begin:end]))
    if len({row[0] for row in rows}) != count:
        raise DescriptorError("a receiver is named twice")
    offsets = {row[3] for row in rows}
    if len(offsets) != 1:
        raise DescriptorError("receivers are given different regions")
    offset = offsets.pop()
    if offset and offset < end:
        raise DescriptorError(f"a composite region cannot begin at {offset}")
    accesses = tuple(MemoryAccess(receiver=row[0], permissions=row[1], flags=row[2]) for row in rows)
    return _Head(*head), accesses, offset


def _decode_composite(data: bytes, offset: int) -> tuple[MemoryRange, ...]:
    begin = offset + _COMPOSITE.size
    if begin > len(data):
        raise DescriptorError(f"a composite region at {offset} lies outside the {len(data)} bytes")
    page_count, count = _COMPOSITE.unpack_from(data, offset)
    end = begin + count * _RANGE.size
    if not count or end > len(data):
        raise DescriptorError(f"a composite region says {count} ranges in {len(data) - begin} bytes")
    ranges = tuple(
        MemoryRange(address=address, page_count=pages) for address, pages in _RANGE.iter_unpack(data[begin:end])
    )
    if any(not one.page_count or one.address % PAGE_BYTES for one in ranges):
        raise DescriptorError("a range is empty or does not begin at a page")
    if sum(one.page_count for one in ranges) != page_count:
        raise DescriptorError(f"the ranges do not add up to {page_count} pages")
    return ranges
