from __future__ import annotations

from typing import Any

import pytest

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import OPERATIONS, CryptoOpcode
from edgeroot.abi.key_attributes import LOCATION_PRIMARY_SECURE_ELEMENT, AbiKeyAttributes, persistent_at
from edgeroot.abi.layout import AnyLayout
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, UsageFlags
from tests.unit.abi.layouts import check_fails_cut_short, check_refuses_only_by_status, check_round_trips, rows

Op = CryptoOpcode
HMAC_ATTRIBUTES = AbiKeyAttributes(
    key_type=KeyType.HMAC,
    key_bits=256,
    lifetime=1,
    key_id=0x79,
    usage=UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_MESSAGE | UsageFlags.SIGN_HASH | UsageFlags.VERIFY_HASH,
    algorithm=Algorithm.hmac(Hash.SHA_256),
)
HMAC_BYTES = "00110000 00010000 01000000 79000000 003c0000 09008003"
ABC_DIGEST = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

# What the genuine service took and gave, and for the operations beyond those, the layouts of its headers.
REQUESTS: list[tuple[CryptoOpcode, Any, str]] = [
    (Op.HASH_SETUP, m.AlgorithmRequest(Hash.SHA_256), "09000002"),
    (Op.HASH_UPDATE, m.HandleDataRequest(1, b"abc"), "01000000 0001 0003 616263"),
    (Op.HASH_FINISH, m.HandleRequest(1), "01000000"),
    (Op.AEAD_ENCRYPT_SETUP, m.KeyAlgorithmRequest(0x78, 0x05500200), "78000000 00025005"),
    (Op.AEAD_SET_NONCE, m.HandleDataRequest(1, bytes(12)), "01000000 0001000c 000000000000000000000000"),
    (Op.AEAD_UPDATE_AD, m.HandleDataRequest(1, b"ad"), "01000000 00010002 6164"),
    (Op.AEAD_UPDATE, m.HandleDataRequest(1, b"hello"), "01000000 00010005 68656c6c6f"),
    (Op.IMPORT_KEY, m.ImportKeyRequest(HMAC_ATTRIBUTES, b"\x0b" * 32), f"{HMAC_BYTES} 0001 0020 {'0b' * 32}"),
    (Op.COPY_KEY, m.CopyKeyRequest(7, HMAC_ATTRIBUTES), f"07000000 {HMAC_BYTES}"),
    (Op.VERIFY_HASH, m.VerifyRequest(2, 3, b"h", b"s"), "02000000 03000000 00010001 68 00020001 73"),
    (Op.ASYMMETRIC_DECRYPT, m.AsymmetricDecryptRequest(2, 3, b"c"), "02000000 03000000 00010001 63"),
    (Op.ASYMMETRIC_DECRYPT, m.AsymmetricDecryptRequest(2, 3, b"c", b"s"), "0200000003000000 0001000163 0002000173"),
    (Op.VERIFY_PKCS7_SIGNATURE, m.VerifyPkcs7Request(b"p", b"h", b""), "0001000170 0002000168 00030000"),
    (Op.KEY_DERIVATION_INPUT_BYTES, m.InputBytesRequest(1, 0x0202, b"salt"), "01000000 02020000 0001000473616c74"),
    (Op.KEY_DERIVATION_INPUT_KEY, m.InputKeyRequest(1, 0x0101, 9), "01000000 01010000 09000000"),
    (Op.KEY_DERIVATION_OUTPUT_KEY, m.OutputKeyRequest(1, HMAC_ATTRIBUTES), f"01000000 {HMAC_BYTES}"),
    (Op.KEY_DERIVATION_KEY_AGREEMENT, m.KeyAgreementRequest(1, 2, 3, b"p"), "010000000200000003000000 0001000170"),
    (Op.RAW_KEY_AGREEMENT, m.RawKeyAgreementRequest(0x09020000, 3, b"p"), "00000209 03000000 0001000170"),
    (Op.AEAD_SET_LENGTHS, m.SetLengthsRequest(1, 2, 5), "01000000 02000000 05000000"),
]
RESPONSES: list[tuple[CryptoOpcode, Any, str]] = [
    (Op.HASH_SETUP, m.HandleResponse(1), "01000000"),
    (Op.HASH_UPDATE, m.EmptyResponse(), ""),
    (Op.HASH_FINISH, m.DataResponse(bytes.fromhex(ABC_DIGEST)), f"0001 0020 {ABC_DIGEST}"),
    (Op.CIPHER_FINISH, m.DataResponse(b""), "00010000"),
    (Op.AEAD_UPDATE, m.DataResponse(bytes.fromhex("21b3eb3ff6")), "00010005 21b3eb3ff6"),
    (
        Op.AEAD_FINISH,
        m.AeadFinishResponse(b"", bytes.fromhex("1f4a7e24ebfc54d4e8fb0b8b35a14f46")),
        "00010000 00020010 1f4a7e24ebfc54d4e8fb0b8b35a14f46",
    ),
    (Op.KEY_DERIVATION_GET_CAPACITY, m.CapacityResponse(8160), "e01f0000"),
    (Op.GET_KEY_ATTRIBUTES, m.KeyAttributesResponse(HMAC_ATTRIBUTES), HMAC_BYTES),
    (Op.IMPORT_KEY, m.KeyIdResponse(0x79), "79000000"),
]


@pytest.mark.parametrize(("opcode", "value", "golden"), REQUESTS)
def test_requests_are_those_of_the_genuine_service(opcode: CryptoOpcode, value: object, golden: str) -> None:
    layout = OPERATIONS[opcode].request
    assert layout.encode(value) == bytes.fromhex(golden)
    assert layout.decode(bytes.fromhex(golden)) == value
    assert layout.decode(bytes.fromhex(golden)).__class__ is value.__class__


@pytest.mark.parametrize(("opcode", "value", "golden"), RESPONSES)
def test_responses_are_those_of_the_genuine_service(opcode: CryptoOpcode, value: object, golden: str) -> None:
    layout = OPERATIONS[opcode].response
    assert layout.encode(value) == bytes.fromhex(golden)
    assert layout.decode(bytes.fromhex(golden)) == value


def test_the_table_has_every_opcode() -> None:
    assert set(OPERATIONS) == set(CryptoOpcode)
    assert all(row.opcode == opcode for opcode, row in OPERATIONS.items())
    assert 0x0103 not in OPERATIONS
    assert 0x0104 not in OPERATIONS


@pytest.mark.parametrize(("layout", "status"), rows(OPERATIONS))
def test_every_row_round_trips(layout: AnyLayout, status: RpcStatus) -> None:
    check_round_trips(layout, {})


@pytest.mark.parametrize(("layout", "status"), rows(OPERATIONS))
def test_every_row_refuses_other_bytes_by_its_status(layout: AnyLayout, status: RpcStatus) -> None:
    check_refuses_only_by_status(layout, status, {})


@pytest.mark.parametrize(("opcode", "value", "golden"), [row for row in REQUESTS if "DECRYPT" not in row[0].name])
def test_no_beginning_of_a_request_is_one(opcode: CryptoOpcode, value: object, golden: str) -> None:
    check_fails_cut_short(OPERATIONS[opcode].request, value)


def test_a_request_without_its_record_is_malformed() -> None:
    sign = OPERATIONS[Op.SIGN_HASH].request
    for tlv in ("", "00020001 61", "00000001 61", "00010005 61626364", "000100"):
        with pytest.raises(RpcError) as refused:
            sign.decode(bytes.fromhex("01000000 09060006" + tlv))
        assert refused.value.status is RpcStatus.INVALID_REQUEST_BODY


def test_unknown_smaller_tags_and_what_stands_behind_are_skipped() -> None:
    sign = OPERATIONS[Op.SIGN_HASH].request
    golden = "01000000 09060006 00000001 ff 00010002 6869 00070001 00 ff"
    assert sign.decode(bytes.fromhex(golden)) == m.SignRequest(1, 0x06000609, b"hi")


def test_values_beyond_the_format_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="SignRequest"):
        OPERATIONS[Op.SIGN_HASH].request.encode(m.SignRequest(1, 2, bytes(65536)))
    with pytest.raises(ValueError, match="65535"):
        OPERATIONS[Op.VERIFY_HASH].request.encode(m.VerifyRequest(1, 2, bytes(65536), b""))
    with pytest.raises(ValueError, match="KeyIdRequest"):
        OPERATIONS[Op.DESTROY_KEY].request.encode(m.KeyIdRequest(1 << 32))
    with pytest.raises(ValueError, match="GenerateKeyRequest"):
        OPERATIONS[Op.GENERATE_KEY].request.encode(m.GenerateKeyRequest(AbiKeyAttributes(key_bits=-1)))


def test_the_longest_record_fits() -> None:
    sign = OPERATIONS[Op.SIGN_HASH].request
    request = m.SignRequest(1, 2, bytes(65535))
    assert sign.decode(sign.encode(request)) == request


def test_payloads_do_not_show() -> None:
    secret = b"this-is-secret"
    for value in (
        m.ImportKeyRequest(AbiKeyAttributes(), secret),
        m.DataResponse(secret),
        m.InputBytesRequest(1, 2, secret),
        m.AsymmetricEncryptRequest(1, 2, secret, secret),
        m.HandleDataRequest(1, secret),
    ):
        assert "secret" not in repr(value)


def test_attributes_are_those_of_psa() -> None:
    attributes = KeyAttributes(
        KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, UsageFlags.SIGN_HASH, Algorithm.ecdsa(Hash.SHA_256)
    )
    carried = AbiKeyAttributes.from_psa(attributes, lifetime=1, key_id=5)
    assert (carried.lifetime, carried.key_id, carried.is_persistent) == (1, 5, True)
    assert carried.to_psa() == attributes
    elsewhere = AbiKeyAttributes.from_psa(attributes, lifetime=persistent_at(LOCATION_PRIMARY_SECURE_ELEMENT))
    assert (elsewhere.lifetime, elsewhere.location, elsewhere.is_persistent) == (0x101, 1, True)
    assert not AbiKeyAttributes.from_psa(attributes, lifetime=0x102).is_persistent


def test_a_key_type_of_more_than_16_bits_is_an_invalid_argument() -> None:
    with pytest.raises(PsaError) as refused:
        AbiKeyAttributes(key_type=0x12400).to_psa()
    assert refused.value.status is PsaStatus.INVALID_ARGUMENT
