from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, Secret, UsageFlags
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import decode_operation, decode_result, encode_operation, encode_result
from edgeroot.wire.opcodes import SPECS, Opcode
from edgeroot.wire.status import ResponseStatus, WireError
from tests.unit.wire.protobuf_bytes import num, sub
from tests.unit.wire.values import operations, results

ECDSA_SHA_256 = Algorithm.ecdsa(Hash.SHA_256)
ECDSA_SHA_256_WIRE = bytes.fromhex("2204 0A02 1007")
ATTRIBUTES = KeyAttributes(
    key_type=KeyType.ecc_key_pair(EccFamily.SECP_R1),
    key_bits=256,
    usage=UsageFlags.SIGN_MESSAGE | UsageFlags.SIGN_HASH,
    algorithm=ECDSA_SHA_256,
)
ATTRIBUTES_WIRE = (
    sub(1, sub(11, num(1, 2))) + num(2, 256) + sub(3, sub(1, num(6, 1), num(8, 1)), sub(2, sub(6, ECDSA_SHA_256_WIRE)))
)
OAEP_SHA_1 = sub(2, num(1, 5))
HMAC_SHA_384 = sub(1, sub(1, num(1, 8)))

OPERATIONS: list[tuple[int, Any, bytes]] = [
    (0x01, ops.Ping(), b""),
    (0x02, ops.PsaGenerateKey("k", ATTRIBUTES), sub(1, "k") + sub(2, ATTRIBUTES_WIRE)),
    (0x03, ops.PsaDestroyKey("k"), sub(1, "k")),
    (
        0x04,
        ops.PsaSignHash("k", ECDSA_SHA_256, b"hash"),
        sub(1, "k") + sub(2, ECDSA_SHA_256_WIRE) + sub(3, "hash"),
    ),
    (
        0x05,
        ops.PsaVerifyHash("k", ECDSA_SHA_256, b"hash", b"signature"),
        sub(1, "k") + sub(2, ECDSA_SHA_256_WIRE) + sub(3, "hash") + sub(4, "signature"),
    ),
    (
        0x06,
        ops.PsaImportKey("k", ATTRIBUTES, b"data"),
        sub(1, "k") + sub(2, ATTRIBUTES_WIRE) + sub(3, "data"),
    ),
    (0x07, ops.PsaExportPublicKey("k"), sub(1, "k")),
    (0x08, ops.ListProviders(), b""),
    (0x09, ops.ListOpcodes(300), num(1, 300)),
    (
        0x0A,
        ops.PsaAsymmetricEncrypt("k", Algorithm.rsa_oaep(Hash.SHA_1), b"plain", b"salt"),
        sub(1, "k") + sub(2, OAEP_SHA_1) + sub(3, "plain") + sub(4, "salt"),
    ),
    (
        0x0B,
        ops.PsaAsymmetricDecrypt("k", Algorithm.RSA_PKCS1V15_CRYPT, b"cipher"),
        sub(1, "k") + sub(2, sub(1)) + sub(3, "cipher"),
    ),
    (0x0C, ops.PsaExportKey("ключ"), sub(1, "ключ")),
    (0x0D, ops.PsaGenerateRandom(2**63), num(1, 2**63)),
    (0x0E, ops.ListAuthenticators(), b""),
    (0x0F, ops.PsaHashCompute(Hash.SHA_256, b"input"), num(1, 7) + sub(2, "input")),
    (
        0x10,
        ops.PsaHashCompare(Hash.SHA3_512, b"input", b"hash"),
        num(1, 15) + sub(2, "input") + sub(3, "hash"),
    ),
    (
        0x11,
        ops.PsaAeadEncrypt("k", Algorithm.GCM, b"nonce", b"more", b"plain"),
        sub(1, "k") + sub(2, num(1, 2)) + sub(3, "nonce") + sub(4, "more") + sub(5, "plain"),
    ),
    (
        0x12,
        ops.PsaAeadDecrypt("k", Algorithm.CCM.with_tag_length(8), b"nonce", b"more", b"cipher"),
        sub(1, "k") + sub(2, sub(2, num(1, 1), num(2, 8))) + sub(3, "nonce") + sub(4, "more") + sub(5, "cipher"),
    ),
    (
        0x13,
        ops.PsaRawKeyAgreement(Algorithm.ECDH, "k", b"peer"),
        num(1, 2) + sub(2, "k") + sub(3, "peer"),
    ),
    (
        0x14,
        ops.PsaCipherEncrypt("k", Algorithm.CBC_PKCS7, b"plain"),
        sub(1, "k") + num(2, 8) + sub(3, "plain"),
    ),
    (
        0x15,
        ops.PsaCipherDecrypt("k", Algorithm.CTR, b"cipher"),
        sub(1, "k") + num(2, 2) + sub(3, "cipher"),
    ),
    (
        0x16,
        ops.PsaMacCompute("k", Algorithm.hmac(Hash.SHA_384), b"input"),
        sub(1, "k") + sub(2, HMAC_SHA_384) + sub(3, "input"),
    ),
    (
        0x17,
        ops.PsaMacVerify("k", Algorithm.CMAC.truncated_mac(4), b"input", b"mac"),
        sub(1, "k") + sub(2, sub(2, sub(1, sub(3)), num(2, 4))) + sub(3, "input") + sub(4, "mac"),
    ),
    (
        0x18,
        ops.PsaSignMessage("k", ECDSA_SHA_256, b"message"),
        sub(1, "k") + sub(2, ECDSA_SHA_256_WIRE) + sub(3, "message"),
    ),
    (
        0x19,
        ops.PsaVerifyMessage("k", ECDSA_SHA_256, b"message", b"signature"),
        sub(1, "k") + sub(2, ECDSA_SHA_256_WIRE) + sub(3, "message") + sub(4, "signature"),
    ),
    (0x1A, ops.ListKeys(), b""),
    (0x1B, ops.ListClients(), b""),
    (0x1C, ops.DeleteClient("app"), sub(1, "app")),
    (
        0x1E,
        ops.AttestKey("k", "by", b"blob", b"secret"),
        sub(1, "k") + sub(2, sub(1, sub(1, "blob"), sub(2, "secret"))) + sub(3, "by"),
    ),
    (0x1F, ops.PrepareKeyAttestation("k", "by"), sub(1, sub(1, sub(1, "k"), sub(2, "by")))),
    (0x20, ops.CanDoCrypto(ops.CheckType.IMPORT, ATTRIBUTES), num(1, 3) + sub(2, ATTRIBUTES_WIRE)),
    (0x1001, ops.StorageSet("o", b"data", 1), sub(1, "o") + sub(2, "data") + num(3, 1)),
    (0x1002, ops.StorageGet("o", 2, 3), sub(1, "o") + num(2, 2) + num(3, 3)),
    (0x1003, ops.StorageInfo("o"), sub(1, "o")),
    (0x1004, ops.StorageRemove("o"), sub(1, "o")),
    (0x1005, ops.StorageList(), b""),
    (0x1011, ops.AttestationToken(b"challenge"), sub(1, "challenge")),
    (0x1012, ops.KeyStatement("k", b"challenge"), sub(1, "k") + sub(2, "challenge")),
]
RESULTS: list[tuple[int, Any, bytes]] = [
    (0x01, ops.PingResult(1, 0), b"\x08\x01"),
    (0x02, ops.Empty(), b""),
    (0x04, ops.PsaSignHashResult(b"signature"), sub(1, "signature")),
    (0x07, ops.PsaExportPublicKeyResult(b"data"), sub(1, "data")),
    (
        0x08,
        ops.ListProvidersResult((ops.ProviderInfo("uuid", "text", "vendor", 1, 2, 3, 4),)),
        sub(1, sub(1, "uuid"), sub(2, "text"), sub(3, "vendor"), num(4, 1), num(5, 2), num(6, 3), num(7, 4)),
    ),
    (
        0x08,
        ops.ListProvidersResult((ops.ProviderInfo("", "", "", 0, 0, 0, 16, name="second", edgeroot_version="1.2"),)),
        sub(1, num(7, 16), sub(1000, "second"), sub(1001, "1.2")),
    ),
    (0x09, ops.ListOpcodesResult((1, 300)), sub(1, b"\x01\xac\x02")),
    (0x0A, ops.PsaAsymmetricEncryptResult(b"cipher"), sub(1, "cipher")),
    (0x0B, ops.PsaAsymmetricDecryptResult(b"plain"), sub(1, "plain")),
    (0x0C, ops.PsaExportKeyResult(b"data"), sub(1, "data")),
    (0x0D, ops.PsaGenerateRandomResult(b"random"), sub(1, "random")),
    (
        0x0E,
        ops.ListAuthenticatorsResult((ops.AuthenticatorInfo("text", 1, 2, 3, 4),)),
        sub(1, sub(1, "text"), num(2, 1), num(3, 2), num(4, 3), num(5, 4)),
    ),
    (0x0F, ops.PsaHashComputeResult(b"hash"), sub(1, "hash")),
    (0x11, ops.PsaAeadEncryptResult(b"cipher"), sub(1, "cipher")),
    (0x12, ops.PsaAeadDecryptResult(b"plain"), sub(1, "plain")),
    (0x13, ops.PsaRawKeyAgreementResult(b"secret"), sub(1, "secret")),
    (0x14, ops.PsaCipherEncryptResult(b"cipher"), sub(1, "cipher")),
    (0x15, ops.PsaCipherDecryptResult(b"plain"), sub(1, "plain")),
    (0x16, ops.PsaMacComputeResult(b"mac"), sub(1, "mac")),
    (0x18, ops.PsaSignMessageResult(b"signature"), sub(1, "signature")),
    (
        0x1A,
        ops.ListKeysResult((ops.KeyInfo(1, "k", ATTRIBUTES),)),
        sub(1, num(1, 1), sub(2, "k"), sub(3, ATTRIBUTES_WIRE)),
    ),
    (0x1B, ops.ListClientsResult(("a", "b")), sub(1, "a") + sub(1, "b")),
    (0x1E, ops.AttestKeyResult(b"credential"), sub(1, sub(1, sub(1, "credential")))),
    (
        0x1F,
        ops.PrepareKeyAttestationResult(b"name", b"public", b"pub"),
        sub(1, sub(1, sub(1, "name"), sub(2, "public"), sub(3, "pub"))),
    ),
    (0x1002, ops.StorageGetResult(b"data"), sub(1, "data")),
    (0x1003, ops.StorageInfoResult(9, 4, 1), num(1, 9) + num(2, 4) + num(3, 1)),
    (0x1005, ops.StorageListResult((ops.StoredObject(4, "o"),)), sub(1, num(1, 4), sub(2, "o"))),
    (0x1011, ops.AttestationTokenResult(b"token"), sub(1, "token")),
    (0x1012, ops.KeyStatementResult(b"evidence"), sub(1, "evidence")),
]


def refusal(opcode: int, body: bytes) -> ResponseStatus:
    with pytest.raises(WireError) as caught:
        decode_operation(opcode, body)
    return caught.value.status


@pytest.mark.parametrize(("opcode", "operation", "body"), OPERATIONS)
def test_an_operation_has_the_contracts_bytes(opcode: int, operation: ops.Operation, body: bytes) -> None:
    assert encode_operation(operation) == body
    assert decode_operation(opcode, body) == operation


@pytest.mark.parametrize(("opcode", "result", "body"), RESULTS)
def test_a_result_has_the_contracts_bytes(opcode: int, result: ops.Result, body: bytes) -> None:
    assert encode_result(result) == body
    assert decode_result(opcode, body) == result


def test_the_bytes_of_every_operation_and_result_are_known() -> None:
    assert {opcode for opcode, *_ in OPERATIONS} == set(SPECS)
    assert {type(result) for _, result, _ in RESULTS} == {spec.result for spec in SPECS.values()}


@settings(max_examples=400, deadline=None)
@given(pair=operations)
def test_every_operation_comes_back_as_it_went(pair: tuple[int, ops.Operation]) -> None:
    opcode, operation = pair
    assert decode_operation(opcode, encode_operation(operation)) == operation


@settings(max_examples=400, deadline=None)
@given(pair=results)
def test_every_result_comes_back_as_it_went(pair: tuple[int, ops.Result]) -> None:
    opcode, result = pair
    assert decode_result(opcode, encode_result(result)) == result


@settings(max_examples=300, deadline=None)
@given(opcode=st.sampled_from(Opcode), body=st.binary(max_size=60))
def test_arbitrary_bodies_raise_nothing_but_wire_errors(opcode: Opcode, body: bytes) -> None:
    for decode in (decode_operation, decode_result):
        with suppress(WireError):
            decode(opcode, body)


@pytest.mark.parametrize("opcode", [0, 0x1D, 0x21, 0x1000, 2**32 - 1])
def test_an_opcode_without_operation_is_refused(opcode: int) -> None:
    assert refusal(opcode, b"") == ResponseStatus.OPCODE_DOES_NOT_EXIST


@pytest.mark.parametrize("opcode", SPECS)
@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05ab", b"\x07", b"\xff" * 11, b"\x08" + b"\x80" * 10 + b"\x01"])
def test_what_is_not_protobuf_is_undecodable(opcode: int, body: bytes) -> None:
    assert refusal(opcode, body) == ResponseStatus.DESERIALIZING_BODY_FAILED


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (Opcode.PSA_DESTROY_KEY, sub(1, b"\xff")),
        (Opcode.PSA_DESTROY_KEY, sub(1, b"\xed\xa0\x80")),  # a surrogate
        (Opcode.DELETE_CLIENT, sub(1, b"\xc0\x80")),
        (Opcode.PREPARE_KEY_ATTESTATION, sub(1, sub(1, sub(1, b"\x80")))),
        (Opcode.PSA_SIGN_HASH, sub(1, b"\xff") + sub(2, ECDSA_SHA_256_WIRE)),
        (Opcode.PSA_SIGN_HASH, sub(2, b"\x22\x7f")),
    ],
)
def test_strings_that_are_not_utf8_and_broken_nested_messages_are_undecodable(opcode: int, body: bytes) -> None:
    assert refusal(opcode, body) == ResponseStatus.DESERIALIZING_BODY_FAILED


def test_key_names_have_no_rules() -> None:
    name = "\x00/../\U0001f511 \n" * 100
    assert decode_operation(Opcode.PSA_DESTROY_KEY, sub(1, name)) == ops.PsaDestroyKey(name)
    assert decode_operation(Opcode.PSA_DESTROY_KEY, b"") == ops.PsaDestroyKey("")


@pytest.mark.parametrize(("opcode", "operation", "body"), OPERATIONS)
def test_fields_of_a_newer_contract_are_skipped(opcode: int, operation: ops.Operation, body: bytes) -> None:
    assert decode_operation(opcode, body + sub(99, "newer") + num(98, 1)) == operation


def test_fields_of_a_newer_contract_are_skipped_deep_inside() -> None:
    newer = num(77, 1)
    alg = sub(4, sub(1, num(2, 7), newer), newer) + newer
    assert decode_operation(4, sub(1, "k") + sub(2, alg)) == ops.PsaSignHash("k", ECDSA_SHA_256, b"")
    body = sub(1, "k") + sub(
        2, sub(1, sub(11, num(1, 2), newer), newer), num(2, 256), newer,
        sub(3, sub(1, num(6, 1), num(8, 1), newer), sub(2, sub(6, alg), newer), newer),
    )  # fmt: skip
    assert decode_operation(2, body) == ops.PsaGenerateKey("k", ATTRIBUTES)


@pytest.mark.parametrize("mac", [bytes(32), b""])
def test_a_mac_to_verify_is_refused_where_one_is_to_be_computed(mac: bytes) -> None:
    body = sub(1, "k") + sub(2, HMAC_SHA_384) + sub(3, "input") + sub(4, mac)
    with pytest.raises(WireError) as caught:
        decode_operation(0x16, body)
    assert caught.value.status == ResponseStatus.INVALID_ENCODING
    assert isinstance(decode_operation(0x17, body), ops.PsaMacVerify)


def test_attributes_full_of_unknown_fields_are_decoded_too() -> None:
    body = sub(1, "k") + sub(2, ATTRIBUTES_WIRE, sub(99, bytes(200)))
    assert decode_operation(2, body) == ops.PsaGenerateKey("k", ATTRIBUTES)


def test_split_messages_are_merged_as_protobuf_says() -> None:
    body = sub(2, sub(4, sub(1, num(2, 5)))) + sub(1, "old") + sub(2, sub(4, sub(1, num(2, 7)))) + sub(1, "new")
    assert decode_operation(4, body) == ops.PsaSignHash("new", ECDSA_SHA_256, b"")


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        *((opcode, sub(1, "k")) for opcode in (0x02, 0x04, 0x05, 0x06, 0x0A, 0x0B, 0x11, 0x12)),
        *((opcode, sub(1, "k")) for opcode in (0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1E)),
        *((opcode, sub(1, "k") + sub(2)) for opcode in (0x02, 0x04, 0x05, 0x06, 0x0A, 0x0B, 0x11, 0x12, 0x16, 0x17)),
        *((opcode, b"") for opcode in (0x0F, 0x10, 0x13, 0x1F, 0x20)),
        (0x1F, sub(1)),
        (0x1E, sub(1, "k") + sub(2)),
        (0x14, sub(1, "k") + num(2, 0)),
        (0x14, sub(1, "k") + num(2, 9)),
        (0x0F, num(1, 16)),
        (0x0F, num(1, 2**63)),
        (0x13, num(1, 3)),
        (0x20, num(1, 0) + sub(2, ATTRIBUTES_WIRE)),
        (0x20, num(1, 5) + sub(2, ATTRIBUTES_WIRE)),
        (0x20, num(1, 1)),
    ],
)
def test_missing_parts_and_numbers_without_meaning_are_invalid(opcode: int, body: bytes) -> None:
    assert refusal(opcode, body) == ResponseStatus.INVALID_ENCODING


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (Opcode.LIST_KEYS, sub(1, num(1, 1), sub(2, "k"))),
        (Opcode.LIST_KEYS, sub(1, sub(3, sub(1, sub(15)), sub(3, sub(1), sub(2, sub(1)))))),
        (Opcode.ATTEST_KEY, b""),
        (Opcode.ATTEST_KEY, sub(1, sub(2, "a mechanism of tomorrow"))),
        (Opcode.PREPARE_KEY_ATTESTATION, sub(1)),
    ],
)
def test_results_of_a_newer_service_that_cannot_be_understood_are_invalid(opcode: int, body: bytes) -> None:
    with pytest.raises(WireError) as caught:
        decode_result(opcode, body)
    assert caught.value.status == ResponseStatus.INVALID_ENCODING


@pytest.mark.parametrize(
    "operation",
    [
        ops.PsaDestroyKey("\ud800"),
        ops.ListOpcodes(2**32),
        ops.PsaGenerateRandom(-1),
        ops.PsaSignHash("k", Algorithm.GCM, b""),
        ops.PsaAeadEncrypt("k", Algorithm.CTR, b"", b"", b""),
        ops.PsaAeadEncrypt("k", Algorithm(0x05400200), b"", b"", b""),
        ops.PsaMacCompute("k", ECDSA_SHA_256, b""),
        ops.PsaHashCompute(Hash.ANY, b""),
        ops.PsaGenerateKey(
            "k", KeyAttributes(KeyType.ecc_key_pair(EccFamily.TWISTED_EDWARDS), 255, UsageFlags.NONE, Algorithm.NONE)
        ),
    ],
)
def test_what_the_contract_cannot_carry_is_not_encoded(operation: ops.Operation) -> None:
    with pytest.raises(WireError) as caught:
        encode_operation(operation)
    assert caught.value.status == ResponseStatus.SERIALIZING_BODY_FAILED


def test_secrets_travel_as_the_bytes_they_are() -> None:
    assert encode_result(ops.PsaExportKeyResult(Secret(b"key"))) == sub(1, "key")
