from __future__ import annotations

from struct import pack

import pytest

from edgeroot.abi import storage as s
from edgeroot.abi.layout import AnyLayout
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.storage import OPERATIONS, StorageOpcode
from tests.unit.abi.layouts import U64, check_fails_cut_short, check_refuses_only_by_status, check_round_trips, rows

NUMBERS = dict.fromkeys(("uid", "offset", "size_bytes", "capacity_bytes"), U64)
Op = StorageOpcode
UID = 0x0102030405060708


@pytest.mark.parametrize(
    ("opcode", "value", "encoded"),
    [
        (0x100, s.SetRequest(UID, 1, b"data"), pack("<QQI", UID, 4, 1) + b"data"),
        (0x101, s.GetRequest(UID, 2, 3), pack("<QQQ", UID, 2, 3)),
        (0x102, s.UidRequest(UID), pack("<Q", UID)),
        (0x103, s.UidRequest(UID), pack("<Q", UID)),
        (0x104, s.CreateRequest(UID, 100, 4), pack("<QQI", UID, 100, 4)),
        (0x105, s.SetExtendedRequest(UID, 9, b"more"), pack("<QQQ", UID, 9, 4) + b"more"),
        (0x106, s.GetSupportRequest(), b""),
    ],
)
def test_requests_are_packed(opcode: int, value: object, encoded: bytes) -> None:
    layout = OPERATIONS[opcode].request
    assert layout.encode(value) == encoded
    assert layout.decode(encoded) == value
    check_fails_cut_short(layout, value)


def test_responses_are_packed() -> None:
    info = s.InfoResponse(100, 50, 1)
    assert OPERATIONS[Op.GET_INFO].response.encode(info) == pack("<QQI", 100, 50, 1)
    assert OPERATIONS[Op.GET].response.decode(b"all of it") == s.GetResponse(b"all of it")
    assert OPERATIONS[Op.GET_SUPPORT].response.decode(b"\1\0\0\0") == s.SupportResponse(s.SupportFlags.SET_EXTENDED)


def test_the_headers_have_the_sizes_that_are_told() -> None:
    assert len(OPERATIONS[Op.SET].request.encode(s.SetRequest(1, 0, b""))) == s.SET_HEADER_BYTES
    extended = OPERATIONS[Op.SET_EXTENDED].request.encode(s.SetExtendedRequest(1, 0, b""))
    assert len(extended) == s.SET_EXTENDED_HEADER_BYTES


@pytest.mark.parametrize("length", [5, 1 << 32, (1 << 64) - 1])
def test_a_length_beyond_the_data_is_malformed(length: int) -> None:
    with pytest.raises(RpcError) as refused:
        OPERATIONS[Op.SET].request.decode(pack("<QQI", 1, length, 0) + b"data")
    assert refused.value.status is RpcStatus.INVALID_REQUEST_BODY


def test_data_is_as_long_as_its_length_says() -> None:
    assert OPERATIONS[Op.SET].request.decode(pack("<QQI", 1, 2, 0) + b"data") == s.SetRequest(1, 0, b"da")


def test_the_table_has_every_opcode() -> None:
    assert set(OPERATIONS) == set(StorageOpcode) == set(range(0x100, 0x107))


@pytest.mark.parametrize(("layout", "status"), rows(OPERATIONS))
def test_every_row_round_trips(layout: AnyLayout, status: RpcStatus) -> None:
    check_round_trips(layout, NUMBERS)


@pytest.mark.parametrize(("layout", "status"), rows(OPERATIONS))
def test_every_row_refuses_other_bytes_by_its_status(layout: AnyLayout, status: RpcStatus) -> None:
    check_refuses_only_by_status(layout, status, NUMBERS)


def test_contents_do_not_show() -> None:
    assert "hidden" not in repr(s.SetRequest(1, 0, b"hidden"))
    assert "hidden" not in repr(s.GetResponse(b"hidden"))
