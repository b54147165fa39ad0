"""Numbers of the contract's enumerations and oneofs, against bytes written by hand (Parsec book, "Operations")."""

from __future__ import annotations

import pytest

from edgeroot.psa import Algorithm, DhFamily, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import decode_operation, encode_operation
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.status import ResponseStatus, WireError
from tests.unit.wire.protobuf_bytes import num, sub
from tests.unit.wire.values import AGREEMENTS, CIPHERS

HASHES = [
    Hash.MD2,
    Hash.MD4,
    Hash.MD5,
    Hash.RIPEMD160,
    Hash.SHA_1,
    Hash.SHA_224,
    Hash.SHA_256,
    Hash.SHA_384,
    Hash.SHA_512,
    Hash.SHA_512_224,
    Hash.SHA_512_256,
    Hash.SHA3_224,
    Hash.SHA3_256,
    Hash.SHA3_384,
    Hash.SHA3_512,
]
AEADS = [Algorithm.CCM, Algorithm.GCM, Algorithm.CHACHA20_POLY1305]
USAGE = ["EXPORT", "COPY", "CACHE", "ENCRYPT", "DECRYPT", "SIGN_MESSAGE", "VERIFY_MESSAGE", "SIGN_HASH", "VERIFY_HASH"]
USAGE.append("DERIVE")
CURVES = ["SECP_K1", "SECP_R1", "SECP_R2", "SECT_K1", "SECT_R1", "SECT_R2", "BRAINPOOL_P_R1", "FRP", "MONTGOMERY"]
AES_WIRE = sub(4)
NONE_WIRE = sub(1)


def numbered(values: list[Algorithm]) -> list[tuple[int, Algorithm]]:
    return list(enumerate(values, start=1))


def algorithm_rows() -> list[tuple[Algorithm, bytes]]:
    """Every algorithm without a length, with its bytes; and one of each kind with a length."""
    rows = [(Algorithm.NONE, sub(1))]
    rows += [(cipher, num(4, number)) for number, cipher in numbered(CIPHERS)]
    rows += [(aead, sub(5, num(1, number))) for number, aead in numbered(AEADS)]
    rows += [(aead.with_tag_length(5), sub(5, sub(2, num(1, n), num(2, 5)))) for n, aead in numbered(AEADS)]
    rows += [(raw, sub(8, num(1, number))) for number, raw in numbered(AGREEMENTS)]
    macs = [(Algorithm.CBC_MAC, sub(2)), (Algorithm.CMAC, sub(3))]
    signature_hashes = [(Hash.ANY, sub(1))]
    rows += [(Algorithm.RSA_PKCS1V15_SIGN_RAW, sub(6, sub(2))), (Algorithm.ECDSA_ANY, sub(6, sub(5)))]
    rows += [(Algorithm.RSA_PKCS1V15_CRYPT, sub(7, sub(1)))]
    for number, hash_alg in enumerate(HASHES, start=1):
        rows += [
            (Algorithm.from_hash(hash_alg), num(2, number)),
            (Algorithm.rsa_oaep(hash_alg), sub(7, sub(2, num(1, number)))),
        ]
        macs.append((Algorithm.hmac(hash_alg), sub(1, num(1, number))))
        signature_hashes.append((hash_alg, num(2, number)))
        for kdf_number, family in enumerate([Algorithm.hkdf, Algorithm.tls12_prf, Algorithm.tls12_psk_to_ms], start=1):
            derivation, derivation_wire = family(hash_alg), sub(kdf_number, num(1, number))
            rows.append((derivation, sub(9, derivation_wire)))
            rows += [
                (Algorithm.key_agreement(raw, derivation), sub(8, sub(2, num(1, raw_number), sub(2, derivation_wire))))
                for raw_number, raw in numbered(AGREEMENTS)
            ]
    for hash_alg, wire in signature_hashes:
        rows += [
            (Algorithm.rsa_pkcs1v15_sign(hash_alg), sub(6, sub(1, sub(1, wire)))),
            (Algorithm.rsa_pss(hash_alg), sub(6, sub(3, sub(1, wire)))),
            (Algorithm.ecdsa(hash_alg), sub(6, sub(4, sub(1, wire)))),
            (Algorithm.deterministic_ecdsa(hash_alg), sub(6, sub(6, sub(1, wire)))),
        ]
    for mac, wire in macs:
        rows += [(mac, sub(3, sub(1, wire))), (mac.truncated_mac(9), sub(3, sub(2, sub(1, wire), num(2, 9))))]
    return rows


def key_type_rows() -> list[tuple[KeyType, bytes]]:
    simple = ["RAW_DATA", "HMAC", "DERIVE", "AES", "DES", "CAMELLIA", "ARC4", "CHACHA20", "RSA_PUBLIC_KEY"]
    simple.append("RSA_KEY_PAIR")
    rows = [(getattr(KeyType, name), sub(number)) for number, name in enumerate(simple, start=1)]
    for number, name in enumerate(CURVES, start=1):
        rows.append((KeyType.ecc_key_pair(EccFamily[name]), sub(11, num(1, number))))
        rows.append((KeyType.ecc_public_key(EccFamily[name]), sub(12, num(1, number))))
    rows.append((KeyType.dh_key_pair(DhFamily.RFC7919), sub(13)))
    rows.append((KeyType.dh_public_key(DhFamily.RFC7919), sub(14)))
    return rows


def generate_key(*, key_type: bytes = AES_WIRE, usage: bytes = b"", algorithm: bytes = NONE_WIRE) -> bytes:
    return sub(1, "k") + sub(2, sub(1, key_type), sub(3, sub(1, usage), sub(2, algorithm)))


def attributes_of(body: bytes) -> KeyAttributes:
    operation = decode_operation(Opcode.PSA_GENERATE_KEY, body)
    assert isinstance(operation, ops.PsaGenerateKey)
    return operation.attributes


def refusal(body: bytes, opcode: Opcode = Opcode.PSA_GENERATE_KEY) -> ResponseStatus:
    with pytest.raises(WireError) as caught:
        decode_operation(opcode, body)
    return caught.value.status


def test_every_algorithm_has_the_contracts_numbers() -> None:
    rows = algorithm_rows()
    assert len(rows) == len({algorithm for algorithm, _ in rows}) == 1 + 8 + 3 + 3 + 2 + 2 + 1 + 15 * 11 + 16 * 4 + 34
    for algorithm, wire in rows:
        body = generate_key(algorithm=wire)
        attributes = attributes_of(body)
        assert attributes.algorithm == algorithm, repr(algorithm)
        assert encode_operation(ops.PsaGenerateKey("k", attributes)) == body, repr(algorithm)


@pytest.mark.parametrize(("key_type", "wire"), key_type_rows())
def test_every_key_type_has_the_contracts_number(key_type: KeyType, wire: bytes) -> None:
    body = generate_key(key_type=wire)
    assert attributes_of(body).key_type == key_type
    assert encode_operation(ops.PsaGenerateKey("k", attributes_of(body))) == body


@pytest.mark.parametrize(("number", "name"), list(enumerate(USAGE, start=1)))
def test_every_usage_flag_has_the_contracts_number(number: int, name: str) -> None:
    usage = attributes_of(generate_key(usage=num(number, 1))).usage
    assert usage == UsageFlags[name].with_implied()
    wire = encode_operation(ops.PsaGenerateKey("k", KeyAttributes(KeyType.AES, 0, UsageFlags[name], Algorithm.NONE)))
    assert wire == generate_key(usage=num(number, 1))


def test_hash_usage_implies_message_usage_but_not_the_reverse() -> None:
    assert attributes_of(generate_key(usage=num(8, 1))).usage == UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE
    assert attributes_of(generate_key(usage=num(9, 1))).usage == UsageFlags.VERIFY_HASH | UsageFlags.VERIFY_MESSAGE
    assert attributes_of(generate_key(usage=num(6, 1) + num(7, 1))).usage == (
        UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_MESSAGE
    )


def test_usage_flags_may_all_be_false() -> None:
    assert attributes_of(generate_key(usage=num(1, 0))).usage is UsageFlags.NONE


@pytest.mark.parametrize("key_bits", [0, 1, 2**32 - 1])
def test_key_bits_have_32_bits(key_bits: int) -> None:
    body = sub(2, sub(1, AES_WIRE), num(2, key_bits), sub(3, sub(1), sub(2, NONE_WIRE)))
    assert attributes_of(body).key_bits == key_bits


@pytest.mark.parametrize(
    "body",
    [
        sub(2, sub(3, sub(1), sub(2, NONE_WIRE))),  # no key type
        sub(2, sub(1, AES_WIRE)),  # no policy
        sub(2, sub(1, AES_WIRE), sub(3, sub(2, NONE_WIRE))),  # no usage flags
        sub(2, sub(1, AES_WIRE), sub(3, sub(1))),  # no algorithm
        generate_key(key_type=b""),
        generate_key(key_type=sub(15)),
        generate_key(key_type=sub(11)),
        generate_key(key_type=sub(11, num(1, 0))),
        generate_key(key_type=sub(12, num(1, 10))),
        generate_key(key_type=sub(13, num(1, 1))),
        generate_key(algorithm=b""),
        generate_key(algorithm=sub(10)),
        generate_key(algorithm=num(2, 0)),
        generate_key(algorithm=num(2, 16)),
        generate_key(algorithm=num(4, 0)),
        generate_key(algorithm=num(4, 9)),
        generate_key(algorithm=sub(3)),
        generate_key(algorithm=sub(3, sub(1))),
        generate_key(algorithm=sub(3, sub(1, sub(1)))),
        generate_key(algorithm=sub(3, sub(2, num(2, 8)))),
        generate_key(algorithm=sub(3, sub(2, sub(1, sub(1, num(1, 0))), num(2, 99)))),
        generate_key(algorithm=sub(5)),
        generate_key(algorithm=sub(5, num(1, 0))),
        generate_key(algorithm=sub(5, num(1, 4))),
        generate_key(algorithm=sub(5, sub(2, num(2, 8)))),
        generate_key(algorithm=sub(6)),
        generate_key(algorithm=sub(6, sub(1))),
        generate_key(algorithm=sub(6, sub(4, sub(1)))),
        generate_key(algorithm=sub(6, sub(4, sub(1, num(2, 0))))),
        generate_key(algorithm=sub(6, sub(7))),
        generate_key(algorithm=sub(7, sub(2))),
        generate_key(algorithm=sub(8, num(1, 0))),
        generate_key(algorithm=sub(8, sub(2, num(1, 2)))),
        generate_key(algorithm=sub(8, sub(2, sub(2, sub(1, num(1, 7)))))),
        generate_key(algorithm=sub(9, sub(1))),
    ],
)
def test_incomplete_and_unknown_attributes_are_invalid(body: bytes) -> None:
    assert refusal(body) == ResponseStatus.INVALID_ENCODING


@pytest.mark.parametrize("length", [0, 64, 2**32 - 1])
def test_lengths_that_psa_cannot_express_are_an_invalid_argument(length: int) -> None:
    tag = sub(2, num(1, 2), num(2, length))
    mac = sub(2, sub(1, sub(3)), num(2, length))
    assert refusal(generate_key(algorithm=sub(5, tag))) == ResponseStatus.PSA_ERROR_INVALID_ARGUMENT
    assert refusal(generate_key(algorithm=sub(3, mac))) == ResponseStatus.PSA_ERROR_INVALID_ARGUMENT
    assert refusal(sub(1, "k") + sub(2, tag), Opcode.PSA_AEAD_ENCRYPT) == ResponseStatus.PSA_ERROR_INVALID_ARGUMENT
    assert refusal(sub(1, "k") + sub(2, mac), Opcode.PSA_MAC_VERIFY) == ResponseStatus.PSA_ERROR_INVALID_ARGUMENT


@pytest.mark.parametrize("length", [1, 63])
def test_the_shortest_and_longest_lengths_pass(length: int) -> None:
    tag, mac = sub(2, num(1, 2), num(2, length)), sub(2, sub(1, sub(3)), num(2, length))
    assert attributes_of(generate_key(algorithm=sub(5, tag))).algorithm.tag_length_bytes == length
    assert attributes_of(generate_key(algorithm=sub(3, mac))).algorithm.mac_length_bytes == length


def test_a_tag_shortened_to_the_default_length_is_the_default() -> None:
    assert attributes_of(generate_key(algorithm=sub(5, sub(2, num(1, 2), num(2, 16))))).algorithm == Algorithm.GCM
