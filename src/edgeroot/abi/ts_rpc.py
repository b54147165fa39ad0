"""Calls to a Trusted Services endpoint: TS RPC v1 in w3 to w7 of direct messages (``ts_rpc_abi.h``).

=====  =======================================  ============================================
word   request                                  response
=====  =======================================  ============================================
w3     control: interface id 23:16, opcode 15:0  the same
w4     memory handle, low half                  RPC status, signed
w5     memory handle, high half                 service status, signed
w6     request length in bytes                  response length in bytes
w7     client id                                0
=====  =======================================  ============================================

Interface 0xff is the endpoint's own: version, memory, and the interface ids of its services.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from edgeroot.abi.ffa import signed, uuid_from_words, uuid_words
from edgeroot.abi.rpc_status import RpcError, RpcStatus

Words: TypeAlias = tuple[int, int, int, int, int]
"""w3 to w7 of a direct message."""

PROTOCOL_VERSION: Final = 1
MANAGEMENT_INTERFACE: Final = 0xFF
NO_MEMORY: Final = 0xFFFFFFFF_FFFFFFFF
"""The handle of a call without shared memory. Zero is a handle like others."""
_U32: Final = 0xFFFFFFFF
_STATUSES: Final = {int(status): status for status in RpcStatus}


class ManagementOpcode(IntEnum):
    """Opcodes of :data:`MANAGEMENT_INTERFACE`."""

    VERSION_GET = 0
    MEMORY_RETRIEVE = 1
    MEMORY_RELINQUISH = 2
    SERVICE_INFO = 3


class Call(NamedTuple):
    """A request to a service."""

    interface: int
    opcode: int
    handle: int = NO_MEMORY
    request_bytes: int = 0
    client_id: int = 0


class Outcome(NamedTuple):
    """How a call ended whose RPC status is success."""

    service_status: int
    response_bytes: int


def control_word(interface: int, opcode: int) -> int:
    """w3: which interface of the endpoint, and what it is to do."""
    return interface << 16 | opcode


def interface_of(control: int) -> int:
    return control >> 16 & 0xFF


def opcode_of(control: int) -> int:
    return control & 0xFFFF


def status_of(word: int) -> RpcStatus:
    """The RPC status in a word; INTERNAL for a number that is none."""
    return _STATUSES.get(signed(word), RpcStatus.INTERNAL)


# The caller's side


def call_request(call: Call) -> Words:
    handle = call.handle
    return call.interface << 16 | call.opcode, handle & _U32, handle >> 32, call.request_bytes, call.client_id


def call_outcome(words: Sequence[int]) -> Outcome:
    """RpcError if the RPC status is another than success."""
    if words[1]:
        raise RpcError(status_of(words[1]))
    return Outcome(signed(words[2]), words[3])


def version_request() -> Words:
    return _manage(ManagementOpcode.VERSION_GET)


def version_in(words: Sequence[int]) -> int:
    """The endpoint's protocol version: this answer alone has no status."""
    return words[1]


def memory_retrieve_request(handle: int, tag: int = 0) -> Words:
    """The endpoint is to map memory that was shared with it. Answered by a status, see :func:`check`."""
    return _manage(ManagementOpcode.MEMORY_RETRIEVE, handle & _U32, handle >> 32, tag & _U32, tag >> 32)


def memory_relinquish_request(handle: int) -> Words:
    """The endpoint is to give the memory back. Answered by a status, see :func:`check`."""
    return _manage(ManagementOpcode.MEMORY_RELINQUISH, handle & _U32, handle >> 32)


def service_info_request(service: UUID) -> Words:
    return _manage(ManagementOpcode.SERVICE_INFO, *uuid_words(service))


def check(words: Sequence[int]) -> None:
    """RpcError if the RPC status is another than success."""
    if words[1]:
        raise RpcError(status_of(words[1]))


def interface_in(words: Sequence[int]) -> int:
    """The interface id that SERVICE_INFO gave; RpcError, NOT_FOUND if the endpoint does not have the service."""
    check(words)
    return words[2] & 0xFF


# The endpoint's side


def handle_in(words: Sequence[int]) -> int:
    """The memory handle of a request, to a service or of the management interface."""
    return words[2] << 32 | words[1]


def service_in(words: Sequence[int]) -> UUID:
    """Which service SERVICE_INFO asks for."""
    return uuid_from_words(words[1:5])


def decode_call(words: Sequence[int]) -> Call:
    control = words[0]
    return Call(control >> 16 & 0xFF, control & 0xFFFF, words[2] << 32 | words[1], words[3], words[4])


def call_response(control: int, service_status: int, response_bytes: int) -> Words:
    """The service was reached; what it says of its work is its own status."""
    return control, 0, service_status & _U32, response_bytes, 0


def failure_response(control: int, status: RpcStatus) -> Words:
    """No service saw the call, or none could read it."""
    return control, status & _U32, 0, 0, 0


def version_response(control: int) -> Words:
    return control, PROTOCOL_VERSION, 0, 0, 0


def status_response(control: int, status: RpcStatus) -> Words:
    """The answer to MEMORY_RETRIEVE and MEMORY_RELINQUISH."""
    return control, status & _U32, 0, 0, 0


def service_info_response(control: int, interface: int) -> Words:
    return control, 0, interface, 0, 0


def _manage(opcode: ManagementOpcode, w4: int = 0, w5: int = 0, w6: int = 0, w7: int = 0) -> Words:
    return MANAGEMENT_INTERFACE << 16 | opcode, w4, w5, w6, w7
