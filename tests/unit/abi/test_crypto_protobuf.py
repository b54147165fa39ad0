from __future__ import annotations

import pytest

from edgeroot.abi import crypto, crypto_protobuf
from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.abi.crypto_protobuf import OPERATIONS
from edgeroot.abi.key_attributes import AbiKeyAttributes
from edgeroot.abi.layout import AnyLayout
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from tests.unit.abi.layouts import U64, check_refuses_only_by_status, check_round_trips, rows
from tests.unit.wire.protobuf_bytes import num, sub

P256 = AbiKeyAttributes(key_type=0x7112, key_bits=256, lifetime=1, key_id=0x90, usage=0x3000, algorithm=0x06000609)


def test_generate_key_is_what_the_genuine_service_took() -> None:
    golden = bytes.fromhex("0a16 08 92e201 10 8002 18 01 20 9001 2a08 08 8060 10 898c8030")
    row = OPERATIONS[Op.GENERATE_KEY]
    assert row.request.encode(m.GenerateKeyRequest(P256)) == golden
    assert row.request.decode(golden) == m.GenerateKeyRequest(P256)
    assert row.response.encode(m.KeyIdResponse(0x90)) == bytes.fromhex("08 9001")


@pytest.mark.parametrize(
    ("opcode", "value", "encoded"),
    [
        (Op.DESTROY_KEY, m.KeyIdRequest(5), num(1, 5)),
        (Op.EXPORT_PUBLIC_KEY, m.KeyIdRequest(0), b""),
        (Op.SIGN_HASH, m.SignRequest(1, 2, b"h"), num(1, 1) + num(2, 2) + sub(3, b"h")),
        (Op.VERIFY_MESSAGE, m.VerifyRequest(1, 2, b"h", b"s"), num(1, 1) + num(2, 2) + sub(3, b"h") + sub(4, b"s")),
        (
            Op.ASYMMETRIC_DECRYPT,
            m.AsymmetricDecryptRequest(1, 2, b"c", b"s"),
            num(1, 1) + num(2, 2) + sub(3, b"c") + sub(4, b"s"),
        ),
        (Op.ASYMMETRIC_ENCRYPT, m.AsymmetricEncryptRequest(1, 2, b"p"), num(1, 1) + num(2, 2) + sub(3, b"p")),
        (Op.GENERATE_RANDOM, m.GenerateRandomRequest(1 << 40), num(1, 1 << 40)),
    ],
)
def test_requests_have_their_fields(opcode: Op, value: object, encoded: bytes) -> None:
    assert OPERATIONS[opcode].request.encode(value) == encoded
    assert OPERATIONS[opcode].request.decode(encoded) == value


def test_the_data_of_an_import_is_field_3() -> None:
    attributes = num(1, 0x1001) + sub(5, b"")
    encoded = sub(1, attributes) + sub(3, b"key")
    request = m.ImportKeyRequest(AbiKeyAttributes(key_type=0x1001), b"key")
    assert OPERATIONS[Op.IMPORT_KEY].request.encode(request) == encoded
    assert OPERATIONS[Op.IMPORT_KEY].request.decode(encoded) == request
    assert OPERATIONS[Op.IMPORT_KEY].request.decode(sub(1, attributes) + sub(2, b"key")).data == b""


def test_it_has_the_operations_of_the_genuine_interface_with_the_messages_of_packed_c() -> None:
    assert set(OPERATIONS) == {0x101, 0x102, *range(0x105, 0x10D), 0x110, 0x111}
    for opcode, row in OPERATIONS.items():
        packed = crypto.OPERATIONS[opcode]
        assert row.opcode == opcode
        assert (row.request.value_type, row.response.value_type) == (
            packed.request.value_type,
            packed.response.value_type,
        )


@pytest.mark.parametrize(("layout", "status"), rows(crypto_protobuf.OPERATIONS))
def test_every_row_round_trips(layout: AnyLayout, status: RpcStatus) -> None:
    check_round_trips(layout, {"size_bytes": U64})


@pytest.mark.parametrize(("layout", "status"), rows(crypto_protobuf.OPERATIONS))
def test_every_row_refuses_other_bytes_by_its_status(layout: AnyLayout, status: RpcStatus) -> None:
    check_refuses_only_by_status(layout, status, {"size_bytes": U64})


def test_what_is_not_protobuf_is_malformed() -> None:
    with pytest.raises(RpcError) as refused:
        OPERATIONS[Op.SIGN_HASH].request.decode(b"\x1a\x7f")
    assert refused.value.status is RpcStatus.INVALID_REQUEST_BODY
    with pytest.raises(RpcError) as refused:
        OPERATIONS[Op.SIGN_HASH].response.decode(b"\x0a\x7f")
    assert refused.value.status is RpcStatus.INVALID_RESPONSE_BODY


def test_numbers_beyond_the_contract_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="out of range"):
        OPERATIONS[Op.DESTROY_KEY].request.encode(m.KeyIdRequest(1 << 32))
