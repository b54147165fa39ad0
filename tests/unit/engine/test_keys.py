"""Making, importing and naming keys of plain bytes, and what every key refuses."""

from __future__ import annotations

import pytest

from edgeroot import engine
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyType, PsaStatus
from tests.vectors.keys import attributes, generated, imported, refused

PLAIN = [
    (KeyType.RAW_DATA, 8),
    (KeyType.RAW_DATA, 65528),
    (KeyType.DERIVE, 256),
    (KeyType.HMAC, 256),
    (KeyType.AES, 512),
    (KeyType.CAMELLIA, 192),
    (KeyType.DES, 64),
    (KeyType.ARC4, 40),
    (KeyType.CHACHA20, 256),
]


@pytest.mark.parametrize(("key_type", "key_bits"), PLAIN)
def test_plain_keys(key_type: KeyType, key_bits: int) -> None:
    wanted = attributes(key_type, key_bits)
    material = engine.generate(wanted)
    assert len(material) * 8 == key_bits
    assert engine.generate(wanted) != material or key_bits == 8
    assert engine.import_material(attributes(key_type), material) == (wanted, material)


@pytest.mark.parametrize(
    ("key_type", "key_bits"),
    [
        (KeyType.RAW_DATA, 0),
        (KeyType.RAW_DATA, 7),
        (KeyType.RAW_DATA, 65536),
        (KeyType.HMAC, 0),
        (KeyType.AES, 384),
        (KeyType.CAMELLIA, 512),
        (KeyType.DES, 56),
        (KeyType.ARC4, 48),
        (KeyType.CHACHA20, 128),
    ],
)
def test_impossible_sizes(key_type: KeyType, key_bits: int) -> None:
    with refused(PsaStatus.INVALID_ARGUMENT):
        engine.generate(attributes(key_type, key_bits))
    with refused(PsaStatus.INVALID_ARGUMENT):
        engine.import_material(attributes(key_type, key_bits), bytes(key_bits // 8))


def test_data_of_another_size_than_was_said() -> None:
    with refused(PsaStatus.INVALID_ARGUMENT):
        engine.import_material(attributes(KeyType.AES, 128), bytes(32))


def test_des_keys_have_odd_parity() -> None:
    assert all(byte.bit_count() % 2 for byte in engine.generate(attributes(KeyType.DES, 192)))


@pytest.mark.parametrize("key_type", [KeyType.NONE, KeyType(0x1203), KeyType(0x2406), KeyType(0xFFFF)])
def test_unknown_types(key_type: KeyType) -> None:
    for act in (engine.generate, lambda wanted: engine.import_material(wanted, bytes(16))):
        with refused(PsaStatus.NOT_SUPPORTED):
            act(attributes(key_type, 128))


@pytest.mark.parametrize("key_type", [KeyType.RSA_PUBLIC_KEY, KeyType.ecc_public_key(EccFamily.SECP_R1)])
def test_public_keys_are_not_generated(key_type: KeyType) -> None:
    with refused(PsaStatus.INVALID_ARGUMENT):
        engine.generate(attributes(key_type, 1024))


@pytest.mark.parametrize(("key_type", "key_bits"), [(KeyType.RAW_DATA, 128), (KeyType.HMAC, 128), (KeyType.AES, 128)])
def test_a_plain_key_has_no_public_part(key_type: KeyType, key_bits: int) -> None:
    key = generated(key_type, key_bits)
    calls = (
        key.export_public,
        lambda: key.sign_hash(Algorithm.ECDSA_ANY, bytes(32)),
        lambda: key.asymmetric_encrypt(Algorithm.RSA_PKCS1V15_CRYPT, b"", b""),
        lambda: key.raw_key_agreement(Algorithm.ECDH, bytes(65)),
    )
    for call in calls:
        with refused(PsaStatus.INVALID_ARGUMENT):
            call()


def test_wildcards_and_missing_hashes_in_hmac() -> None:
    key = imported(KeyType.HMAC, bytes(16))
    with refused(PsaStatus.INVALID_ARGUMENT):
        key.mac_compute(Algorithm.hmac(Hash.ANY), b"")
    with refused(PsaStatus.NOT_SUPPORTED):
        key.mac_compute(Algorithm.hmac(Hash.MD4), b"")
    with refused(PsaStatus.INVALID_ARGUMENT):
        key.mac_compute(Algorithm.CMAC, b"")


def test_nothing_prints_its_key() -> None:
    material = engine.generate(attributes(KeyType.AES, 128))
    key = engine.load(attributes(KeyType.AES, 128), material)
    assert material.hex() not in repr(key) + repr(material)
    assert repr(key) == "<CipherKey AES 128 bits>"


def test_no_row_offers_what_the_library_lacks() -> None:
    rows = engine.rows()
    lacking = set(EccFamily) - {row.key_type.ecc_family for row in rows if row.key_type.is_ecc}
    assert lacking == {
        EccFamily.SECP_R2,
        EccFamily.SECT_K1,
        EccFamily.SECT_R1,
        EccFamily.SECT_R2,
        EccFamily.FRP,
        EccFamily.TWISTED_EDWARDS,
    }
    assert not any(alg.hash in (Hash.MD2, Hash.MD4) for row in rows for alg in row.algorithms)
