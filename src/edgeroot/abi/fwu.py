"""Firmware update as Trusted Services 1.2 carries it (DEN0118; ``protocols/service/fwu``).

Every call has service opcode 0. A request begins with the function's id, a response with the status, both u32; the
layouts here are of what follows. The status is also the service status of the call. GUIDs are in UEFI's octet order.

The reference says 4 bytes for the length of its response to discover and has the rest in the buffer all the same: give
:func:`decode_response` the buffer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from operator import attrgetter
from struct import Struct
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from edgeroot.abi.layout import Converter, Items, Layout, Operation, items_layout, raw_layout, tlv_layout
from edgeroot.abi.rpc_status import RpcError, RpcStatus

SERVICE_OPCODE: Final = 0
IMAGE_DIRECTORY: Final = UUID("deee58d9-5147-4ad3-a290-77666e2341a5")
"""What to open to read the image directory."""
FWU_METADATA: Final = UUID("8a7a84a0-8387-40f6-ab41-a8b9a5a60d23")
"""What to open to read the firmware update metadata."""
PARTIAL_UPDATE_MAX: Final = 4
_FUNCTIONS_MAX: Final = 10


class FwuFunction(IntEnum):
    """Function ids."""

    DISCOVER = 0
    BEGIN_STAGING = 16
    END_STAGING = 17
    CANCEL_STAGING = 18
    OPEN = 19
    WRITE_STREAM = 20
    READ_STREAM = 21
    COMMIT = 22
    ACCEPT_IMAGE = 23
    SELECT_PREVIOUS = 24


class FwuStatus(IntEnum):
    """Status of a function."""

    SUCCESS = 0
    UNKNOWN = -1
    BUSY = -2
    OUT_OF_BOUNDS = -3
    AUTH_FAIL = -4
    NO_PERMISSION = -5
    DENIED = -6
    RESUME = -7
    NOT_AVAILABLE = -8


class OpenType(IntEnum):
    """What a stream is opened for."""

    READ = 0
    WRITE = 1


@dataclass(frozen=True, slots=True)
class EmptyRequest:
    """Of discover, end staging, cancel staging, select previous."""


@dataclass(frozen=True, slots=True)
class BeginStagingRequest:
    """``partial_update``: the types of the images that are to change; all if there are none."""

    vendor_flags: int
    partial_update: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """``op_type`` is a number of :class:`OpenType`."""

    image_type: UUID
    op_type: int


@dataclass(frozen=True, slots=True)
class WriteStreamRequest:
    handle: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReadStreamRequest:
    handle: int


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """``acceptance_req`` 0: the image is accepted already; other numbers: it is to be accepted after a trial."""

    handle: int
    acceptance_req: int
    max_atomic_len: int


@dataclass(frozen=True, slots=True)
class AcceptImageRequest:
    image_type: UUID


@dataclass(frozen=True, slots=True)
class EmptyResponse:
    """No fields: the status says all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverResponse:
    """``functions`` are the ids of the functions that there are."""

    service_status: int = 0
    version_major: int = 1
    version_minor: int = 0
    max_payload_bytes: int = 0
    flags: int = 0
    vendor_flags: int = 0
    functions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OpenResponse:
    handle: int


@dataclass(frozen=True, slots=True)
class ReadStreamResponse:
    """``total_bytes`` is the size of all that is to be read."""

    total_bytes: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CommitResponse:
    progress: int
    total_work: int


_GUID: Final = Converter(attrgetter("bytes_le"), lambda octets: UUID(bytes_le=octets))
_IMAGE_TYPE: Final = {"image_type": _GUID}
_DISCOVER: Final = Struct("<hBBHHQII")


def _encode_discover(response: DiscoverResponse) -> bytes:
    functions = response.functions
    header = _DISCOVER.pack(
        response.service_status,
        response.version_major,
        response.version_minor,
        _DISCOVER.size,
        len(functions),
        response.max_payload_bytes,
        response.flags,
        response.vendor_flags,
    )
    return header + bytes(functions)


def _decode_discover(data: bytes) -> DiscoverResponse:
    if len(data) < _DISCOVER.size:
        raise RpcError(RpcStatus.INVALID_RESPONSE_BODY, f"a discover response of {len(data)} bytes")
    status, major, minor, offset, count, max_payload_bytes, flags, vendor_flags = _DISCOVER.unpack_from(data)
    if offset < _DISCOVER.size or count > _FUNCTIONS_MAX or offset + count > len(data):
        raise RpcError(RpcStatus.INVALID_RESPONSE_BODY, f"{count} functions at {offset} of {len(data)} bytes")
    return DiscoverResponse(
        service_status=status,
        version_major=major,
        version_minor=minor,
        max_payload_bytes=max_payload_bytes,
        flags=flags,
        vendor_flags=vendor_flags,
        functions=tuple(data[offset : offset + count]),
    )


_no_request = tlv_layout(EmptyRequest, "")
_nothing = tlv_layout(EmptyResponse, "", response=True)
_ROWS: Final[tuple[tuple[FwuFunction, Any, Any], ...]] = (
    (FwuFunction.DISCOVER, _no_request, Layout(DiscoverResponse, _encode_discover, _decode_discover)),
    (
        FwuFunction.BEGIN_STAGING,
        items_layout(BeginStagingRequest, "4xII", count_at=1, items=Items(16, PARTIAL_UPDATE_MAX, _GUID)),
        _nothing,
    ),
    (FwuFunction.END_STAGING, _no_request, _nothing),
    (FwuFunction.CANCEL_STAGING, _no_request, _nothing),
    (
        FwuFunction.OPEN,
        tlv_layout(OpenRequest, "16sB", converters=_IMAGE_TYPE),
        tlv_layout(OpenResponse, "I", response=True),
    ),
    (FwuFunction.WRITE_STREAM, raw_layout(WriteStreamRequest, "II", length_at=1), _nothing),
    (
        FwuFunction.READ_STREAM,
        tlv_layout(ReadStreamRequest, "I"),
        raw_layout(ReadStreamResponse, "II", length_at=0, response=True),
    ),
    (FwuFunction.COMMIT, tlv_layout(CommitRequest, "III"), tlv_layout(CommitResponse, "II", response=True)),
    (FwuFunction.ACCEPT_IMAGE, tlv_layout(AcceptImageRequest, "4x16s", converters=_IMAGE_TYPE), _nothing),
    (FwuFunction.SELECT_PREVIOUS, _no_request, _nothing),
)
OPERATIONS: Final[Mapping[int, Operation]] = MappingProxyType({int(row[0]): Operation(*row) for row in _ROWS})
"""By function id."""

_FUNCTION_ID: Final = Struct("<I")
_STATUS: Final = Struct("<i")


def encode_request(function: int, payload: bytes = b"") -> bytes:
    return _FUNCTION_ID.pack(function) + payload


def decode_request(data: bytes) -> tuple[int, bytes]:
    """The function's id and the payload; RpcError INVALID_REQUEST_BODY if there is no id."""
    if len(data) < _FUNCTION_ID.size:
        raise RpcError(RpcStatus.INVALID_REQUEST_BODY, f"a request of {len(data)} bytes has no function id")
    return _FUNCTION_ID.unpack_from(data)[0], data[_FUNCTION_ID.size :]


def encode_response(status: int, payload: bytes = b"") -> bytes:
    return _STATUS.pack(status) + payload


def decode_response(data: bytes) -> tuple[int, bytes]:
    """The status and the payload; RpcError INVALID_RESPONSE_BODY if there is no status."""
    if len(data) < _STATUS.size:
        raise RpcError(RpcStatus.INVALID_RESPONSE_BODY, f"a response of {len(data)} bytes has no status")
    return _STATUS.unpack_from(data)[0], data[_STATUS.size :]
