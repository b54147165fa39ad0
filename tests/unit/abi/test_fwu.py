from __future__ import annotations

from struct import pack
from uuid import UUID

import pytest
from hypothesis import strategies as st

from edgeroot.abi import fwu
from edgeroot.abi.fwu import OPERATIONS, FwuFunction, FwuStatus
from edgeroot.abi.layout import AnyLayout
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from tests.unit.abi.layouts import U8, U64, check_fails_cut_short, check_refuses_only_by_status, check_round_trips, rows

F = FwuFunction
# Deliberately asymmetric: in UEFI's order the first three groups are reversed.
GUID = UUID("00112233-4455-6677-8899-aabbccddeeff")
OCTETS = bytes.fromhex("33221100 5544 7766 8899 aabbccddeeff")
NUMBERS: dict[str, st.SearchStrategy[object]] = {
    "partial_update": st.lists(st.uuids(), max_size=4).map(tuple),
    "functions": st.lists(U8, max_size=10).map(tuple),
    "op_type": U8,
    "service_status": st.integers(-(1 << 15), (1 << 15) - 1),
    "version_major": U8,
    "version_minor": U8,
    "max_payload_bytes": U64,
}


@pytest.mark.parametrize(
    ("function", "value", "encoded"),
    [
        (F.DISCOVER, fwu.EmptyRequest(), b""),
        (F.BEGIN_STAGING, fwu.BeginStagingRequest(5, (GUID,)), pack("<III", 0, 5, 1) + OCTETS),
        (F.BEGIN_STAGING, fwu.BeginStagingRequest(0), bytes(12)),
        (F.OPEN, fwu.OpenRequest(GUID, fwu.OpenType.WRITE), OCTETS + b"\1"),
        (F.WRITE_STREAM, fwu.WriteStreamRequest(7, b"data"), pack("<II", 7, 4) + b"data"),
        (F.READ_STREAM, fwu.ReadStreamRequest(7), pack("<I", 7)),
        (F.COMMIT, fwu.CommitRequest(7, 1, 2), pack("<III", 7, 1, 2)),
        (F.ACCEPT_IMAGE, fwu.AcceptImageRequest(GUID), bytes(4) + OCTETS),
    ],
)
def test_requests_are_packed(function: FwuFunction, value: object, encoded: bytes) -> None:
    layout = OPERATIONS[function].request
    assert layout.encode(value) == encoded
    assert layout.decode(encoded) == value
    check_fails_cut_short(layout, value)


@pytest.mark.parametrize(
    ("function", "value", "encoded"),
    [
        (F.OPEN, fwu.OpenResponse(9), pack("<I", 9)),
        (F.READ_STREAM, fwu.ReadStreamResponse(100, b"part"), pack("<II", 4, 100) + b"part"),
        (F.COMMIT, fwu.CommitResponse(1, 1), pack("<II", 1, 1)),
        (
            F.DISCOVER,
            fwu.DiscoverResponse(service_status=-8, functions=(0, 16, 17)),
            pack("<hBBHHQII", -8, 1, 0, 24, 3, 0, 0, 0) + bytes([0, 16, 17]),
        ),
    ],
)
def test_responses_are_packed(function: FwuFunction, value: object, encoded: bytes) -> None:
    layout = OPERATIONS[function].response
    assert layout.encode(value) == encoded
    assert layout.decode(encoded) == value
    check_fails_cut_short(layout, value)


def test_a_message_begins_with_the_function_or_the_status() -> None:
    assert fwu.encode_request(F.OPEN, b"rest") == b"\x13\0\0\0rest"
    assert fwu.decode_request(b"\x13\0\0\0rest") == (F.OPEN, b"rest")
    assert fwu.encode_response(FwuStatus.DENIED, b"rest") == b"\xfa\xff\xff\xffrest"
    assert fwu.decode_response(b"\xfa\xff\xff\xffrest") == (FwuStatus.DENIED, b"rest")


def test_a_message_without_them_is_malformed() -> None:
    with pytest.raises(RpcError) as refused:
        fwu.decode_request(b"\0\0\0")
    assert refused.value.status is RpcStatus.INVALID_REQUEST_BODY
    with pytest.raises(RpcError) as refused:
        fwu.decode_response(b"\0\0\0")
    assert refused.value.status is RpcStatus.INVALID_RESPONSE_BODY


def test_a_list_of_images_that_lies_is_malformed() -> None:
    layout = OPERATIONS[F.BEGIN_STAGING].request
    for count, octets in ((1, b""), (2, OCTETS), (5, 5 * OCTETS), (0xFFFFFFFF, OCTETS)):
        with pytest.raises(RpcError) as refused:
            layout.decode(pack("<III", 0, 0, count) + octets)
        assert refused.value.status is RpcStatus.INVALID_REQUEST_BODY
    with pytest.raises(ValueError, match="5 items"):
        layout.encode(fwu.BeginStagingRequest(0, (GUID,) * 5))


@pytest.mark.parametrize(("offset", "count"), [(23, 1), (24, 3), (24, 11), (0xFFFF, 1)])
def test_a_discovery_that_lies_is_malformed(offset: int, count: int) -> None:
    with pytest.raises(RpcError) as refused:
        OPERATIONS[F.DISCOVER].response.decode(pack("<hBBHHQII", 0, 1, 0, offset, count, 0, 0, 0) + bytes(2))
    assert refused.value.status is RpcStatus.INVALID_RESPONSE_BODY


def test_a_discovery_may_have_more_before_its_functions() -> None:
    data = pack("<hBBHHQII", 0, 1, 0, 28, 1, 0, 0, 0) + bytes(4) + b"\x10"
    assert OPERATIONS[F.DISCOVER].response.decode(data).functions == (16,)


def test_the_table_has_every_function() -> None:
    assert set(OPERATIONS) == set(FwuFunction) == {0, *range(16, 25)}


@pytest.mark.parametrize(("layout", "status"), rows(OPERATIONS))
def test_every_row_round_trips(layout: AnyLayout, status: RpcStatus) -> None:
    check_round_trips(layout, NUMBERS)


@pytest.mark.parametrize(("layout", "status"), rows(OPERATIONS))
def test_every_row_refuses_other_bytes_by_its_status(layout: AnyLayout, status: RpcStatus) -> None:
    check_refuses_only_by_status(layout, status, NUMBERS)
