"""Internal trusted storage and protected storage: one protocol (``secure_storage_proto.h``), no TLV records.

Numbers are u64 except flags, which are u32. Data is the rest of the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from types import MappingProxyType
from typing import Any, Final

from edgeroot.abi.layout import Operation, raw_layout, tlv_layout


class StorageOpcode(IntEnum):
    """Service opcodes; unlike other services' they begin at their base."""

    SET = 0x100
    GET = 0x101
    GET_INFO = 0x102
    REMOVE = 0x103
    CREATE = 0x104
    SET_EXTENDED = 0x105
    GET_SUPPORT = 0x106


class CreateFlags(IntFlag):
    """``psa_storage_create_flags_t``."""

    NONE = 0
    WRITE_ONCE = 1
    NO_CONFIDENTIALITY = 2
    NO_REPLAY_PROTECTION = 4


class SupportFlags(IntFlag):
    """What GET_SUPPORT answers."""

    NONE = 0
    SET_EXTENDED = 1


SET_HEADER_BYTES: Final = 20
"""How much of the shared buffer SET needs beside the data."""
SET_EXTENDED_HEADER_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class SetRequest:
    uid: int
    create_flags: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GetRequest:
    uid: int
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class UidRequest:
    """Of GET_INFO and REMOVE."""

    uid: int


@dataclass(frozen=True, slots=True)
class CreateRequest:
    uid: int
    capacity_bytes: int
    create_flags: int


@dataclass(frozen=True, slots=True)
class SetExtendedRequest:
    uid: int
    offset: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GetSupportRequest:
    """No fields."""


@dataclass(frozen=True, slots=True)
class EmptyResponse:
    """No fields: the service's status says all."""


@dataclass(frozen=True, slots=True)
class GetResponse:
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class InfoResponse:
    """``psa_storage_info_t``."""

    capacity_bytes: int
    size_bytes: int
    create_flags: int


@dataclass(frozen=True, slots=True)
class SupportResponse:
    support: int


_nothing = tlv_layout(EmptyResponse, "", response=True)
_uid = tlv_layout(UidRequest, "Q")
_ROWS: Final[tuple[tuple[StorageOpcode, Any, Any], ...]] = (
    (StorageOpcode.SET, raw_layout(SetRequest, "QQI", length_at=1), _nothing),
    (StorageOpcode.GET, tlv_layout(GetRequest, "QQQ"), raw_layout(GetResponse, "", response=True)),
    (StorageOpcode.GET_INFO, _uid, tlv_layout(InfoResponse, "QQI", response=True)),
    (StorageOpcode.REMOVE, _uid, _nothing),
    (StorageOpcode.CREATE, tlv_layout(CreateRequest, "QQI"), _nothing),
    (StorageOpcode.SET_EXTENDED, raw_layout(SetExtendedRequest, "QQQ", length_at=2), _nothing),
    (StorageOpcode.GET_SUPPORT, tlv_layout(GetSupportRequest, ""), tlv_layout(SupportResponse, "I", response=True)),
)
OPERATIONS: Final[Mapping[int, Operation]] = MappingProxyType({int(row[0]): Operation(*row) for row in _ROWS})
"""By opcode."""
