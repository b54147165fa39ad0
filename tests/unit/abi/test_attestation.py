from __future__ import annotations

import pytest
from hypothesis import strategies as st

from edgeroot.abi import attestation as a
from edgeroot.abi.attestation import OPERATIONS, AttestationOpcode
from edgeroot.abi.layout import AnyLayout
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from tests.unit.abi.layouts import check_refuses_only_by_status, check_round_trips, rows

Op = AttestationOpcode
NUMBERS = {"challenge": st.binary(max_size=64)}


def test_requests_are_what_the_genuine_service_took() -> None:
    challenge = bytes(range(32))
    token = OPERATIONS[Op.GET_TOKEN].request
    assert token.encode(a.GetTokenRequest(challenge)) == bytes.fromhex("00010020") + challenge
    assert token.decode(bytes.fromhex("00010020") + challenge) == a.GetTokenRequest(challenge)
    assert OPERATIONS[Op.GET_TOKEN_SIZE].request.encode(a.GetTokenSizeRequest(32)) == bytes.fromhex("20000000")
    key = bytes(32)
    assert OPERATIONS[Op.IMPORT_IAK].request.encode(a.ImportIakRequest(key)) == bytes.fromhex("00010020") + key
    assert OPERATIONS[Op.EXPORT_IAK_PUBLIC_KEY].request.encode(a.ExportIakRequest()) == b""


def test_responses_are_what_the_genuine_service_gave() -> None:
    size = OPERATIONS[Op.GET_TOKEN_SIZE].response
    assert size.decode(bytes.fromhex("75020000")) == a.TokenSizeResponse(629)
    assert len(OPERATIONS[Op.GET_TOKEN].response.encode(a.TokenResponse(bytes(629)))) == 633
    point = b"\4" + bytes(64)
    assert OPERATIONS[Op.EXPORT_IAK_PUBLIC_KEY].response.decode(b"\0\1\0\x41" + point).public_key == point


def test_only_a_challenge_of_more_than_64_bytes_is_malformed() -> None:
    layout = OPERATIONS[Op.GET_TOKEN].request
    for length in (0, 1, 33, 64):
        assert len(layout.decode(layout.encode(a.GetTokenRequest(bytes(length)))).challenge) == length
    with pytest.raises(RpcError) as refused:
        layout.decode(layout.encode(a.GetTokenRequest(bytes(65))))
    assert refused.value.status is RpcStatus.INVALID_REQUEST_BODY


def test_the_table_has_every_opcode() -> None:
    assert set(OPERATIONS) == set(AttestationOpcode) == set(range(0x101, 0x106))


@pytest.mark.parametrize(("layout", "status"), rows(OPERATIONS))
def test_every_row_round_trips(layout: AnyLayout, status: RpcStatus) -> None:
    check_round_trips(layout, NUMBERS)


@pytest.mark.parametrize(("layout", "status"), rows(OPERATIONS))
def test_every_row_refuses_other_bytes_by_its_status(layout: AnyLayout, status: RpcStatus) -> None:
    check_refuses_only_by_status(layout, status, NUMBERS)


def test_the_private_key_does_not_show() -> None:
    assert "secret" not in repr(a.ImportIakRequest(b"secret"))
