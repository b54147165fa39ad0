from __future__ import annotations

import pytest
from hypothesis import given

from edgeroot.abi import ts_rpc
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.services import CRYPTO
from edgeroot.abi.ts_rpc import Call, Outcome
from tests.unit.abi.layouts import U8, U16, U32, U64

HANDLE = 1 << 45 | 3


def test_a_call_is_five_words() -> None:
    words = ts_rpc.call_request(Call(1, 0x0108, HANDLE, 40))
    assert words == (0x00010108, 3, 0x2000, 40, 0)
    assert ts_rpc.decode_call(words) == Call(1, 0x0108, HANDLE, 40, 0)
    assert ts_rpc.handle_in(words) == HANDLE


def test_a_call_without_memory_has_all_ones_for_its_handle() -> None:
    words = ts_rpc.call_request(Call(0, 5))
    assert words == (5, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0)
    assert ts_rpc.decode_call(words).handle == ts_rpc.NO_MEMORY


@given(U8, U16, U64, U32, U32)
def test_calls_round_trip(interface: int, opcode: int, handle: int, request_bytes: int, client_id: int) -> None:
    call = Call(interface, opcode, handle, request_bytes, client_id)
    words = ts_rpc.call_request(call)
    assert ts_rpc.decode_call(words) == call
    assert (ts_rpc.interface_of(words[0]), ts_rpc.opcode_of(words[0])) == (interface, opcode)
    assert words[0] == ts_rpc.control_word(interface, opcode)


def test_reserved_bits_of_the_control_word_are_no_interface() -> None:
    call = ts_rpc.decode_call((0xFF01_0002, 0, 0, 0, 0))
    assert (call.interface, call.opcode) == (1, 2)


def test_a_response_has_both_statuses() -> None:
    words = ts_rpc.call_response(0x108, -137, 12)
    assert words == (0x108, 0, 0xFFFFFF77, 12, 0)
    assert ts_rpc.call_outcome(words) == Outcome(-137, 12)


@pytest.mark.parametrize("status", [one for one in RpcStatus if one])
def test_a_failure_is_raised_with_its_status(status: RpcStatus) -> None:
    words = ts_rpc.failure_response(0x108, status)
    assert words == (0x108, status + (1 << 32), 0, 0, 0)
    with pytest.raises(RpcError) as raised:
        ts_rpc.call_outcome(words)
    assert raised.value.status is status


def test_a_status_that_is_none_is_an_internal_error() -> None:
    assert ts_rpc.status_of(5) is RpcStatus.INTERNAL
    assert ts_rpc.status_of(-100 & 0xFFFFFFFF) is RpcStatus.INTERNAL
    assert ts_rpc.status_of(0) is RpcStatus.SUCCESS


def test_the_version_has_no_status() -> None:
    assert ts_rpc.version_request() == (0xFF0000, 0, 0, 0, 0)
    assert ts_rpc.version_response(0xFF0000) == (0xFF0000, 1, 0, 0, 0)
    assert ts_rpc.version_in(ts_rpc.version_response(0xFF0000)) == ts_rpc.PROTOCOL_VERSION


def test_memory_is_retrieved_and_relinquished_by_handle() -> None:
    assert ts_rpc.memory_retrieve_request(HANDLE) == (0xFF0001, 3, 0x2000, 0, 0)
    assert ts_rpc.memory_retrieve_request(HANDLE, tag=5 << 32 | 4) == (0xFF0001, 3, 0x2000, 4, 5)
    assert ts_rpc.memory_relinquish_request(HANDLE) == (0xFF0002, 3, 0x2000, 0, 0)
    assert ts_rpc.handle_in(ts_rpc.memory_retrieve_request(HANDLE)) == HANDLE
    ts_rpc.check(ts_rpc.status_response(0xFF0001, RpcStatus.SUCCESS))
    with pytest.raises(RpcError) as raised:
        ts_rpc.check(ts_rpc.status_response(0xFF0001, RpcStatus.NOT_FOUND))
    assert raised.value.status is RpcStatus.NOT_FOUND


def test_a_service_is_asked_for_by_the_octets_of_its_uuid() -> None:
    words = ts_rpc.service_info_request(CRYPTO)
    assert words == (0xFF0003, 0xD552DFD9, 0xB24BA216, 0x6DD2A49A, 0xC0E8843B)
    assert ts_rpc.service_in(words) == CRYPTO
    answer = ts_rpc.service_info_response(0xFF0003, 1)
    assert answer == (0xFF0003, 0, 1, 0, 0)
    assert ts_rpc.interface_in(answer) == 1
    with pytest.raises(RpcError):
        ts_rpc.interface_in(ts_rpc.failure_response(0xFF0003, RpcStatus.NOT_FOUND))
