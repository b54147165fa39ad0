from __future__ import annotations

import pytest

from edgeroot.client.commands import names
from edgeroot.client.commands.upstream_names import algorithm_debug, key_type_debug, provider_name
from edgeroot.psa import Algorithm, DhFamily, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags

ALGORITHMS = [
    (Algorithm.NONE, "none", "None"),
    (Algorithm.hmac(Hash.SHA_256), "hmac:sha-256", "Mac(FullLength(Hmac { hash_alg: Sha256 }))"),
    (Algorithm.CMAC, "cmac", "Mac(FullLength(Cmac))"),
    (Algorithm.CMAC.truncated_mac(8), "cmac/8", "Mac(Truncated { mac_alg: Cmac, mac_length: 8 })"),
    (Algorithm.CBC_PKCS7, "cbc-pkcs7", "Cipher(CbcPkcs7)"),
    (Algorithm.GCM, "gcm", "Aead(AeadWithDefaultLengthTag(Gcm))"),
    (
        Algorithm.CCM.with_tag_length(8),
        "ccm/8",
        "Aead(AeadWithShortenedTag { aead_alg: Ccm, tag_length: 8 })",
    ),
    (Algorithm.CHACHA20_POLY1305, "chacha20-poly1305", "Aead(AeadWithDefaultLengthTag(Chacha20Poly1305))"),
    (
        Algorithm.ecdsa(Hash.SHA_256),
        "ecdsa:sha-256",
        "AsymmetricSignature(Ecdsa { hash_alg: Specific(Sha256) })",
    ),
    (Algorithm.ecdsa(Hash.ANY), "ecdsa:any", "AsymmetricSignature(Ecdsa { hash_alg: Any })"),
    (
        Algorithm.rsa_pss(Hash.SHA_512_256),
        "rsa-pss:sha-512-256",
        "AsymmetricSignature(RsaPss { hash_alg: Specific(Sha512_256) })",
    ),
    (
        Algorithm.deterministic_ecdsa(Hash.SHA3_256),
        "deterministic-ecdsa:sha3-256",
        "AsymmetricSignature(DeterministicEcdsa { hash_alg: Specific(Sha3_256) })",
    ),
    (Algorithm.RSA_PKCS1V15_CRYPT, "rsa-pkcs1v15-crypt", "AsymmetricEncryption(RsaPkcs1v15Crypt)"),
    (Algorithm.rsa_oaep(Hash.SHA_1), "rsa-oaep:sha-1", "AsymmetricEncryption(RsaOaep { hash_alg: Sha1 })"),
    (Algorithm.ECDH, "ecdh", "KeyAgreement(Raw(Ecdh))"),
    (Algorithm.hkdf(Hash.SHA_384), "hkdf:sha-384", "KeyDerivation(Hkdf { hash_alg: Sha384 })"),
]
TYPES = [
    (KeyType.AES, "aes", "Aes"),
    (KeyType.RAW_DATA, "raw-data", "RawData"),
    (KeyType.RSA_KEY_PAIR, "rsa-key-pair", "RsaKeyPair"),
    (KeyType.ecc_key_pair(EccFamily.SECP_R1), "ecc-key-pair:secp-r1", "EccKeyPair { curve_family: SecpR1 }"),
    (
        KeyType.ecc_public_key(EccFamily.BRAINPOOL_P_R1),
        "ecc-public-key:brainpool-p-r1",
        "EccPublicKey { curve_family: BrainpoolPR1 }",
    ),
    (KeyType.dh_key_pair(DhFamily.RFC7919), "dh-key-pair:rfc7919", "DhKeyPair { group_family: Rfc7919 }"),
]


@pytest.mark.parametrize(("algorithm", "spelled", "debug"), ALGORITHMS, ids=[row[1] for row in ALGORITHMS])
def test_algorithms(algorithm: Algorithm, spelled: str, debug: str) -> None:
    assert names.spell_algorithm(algorithm) == spelled
    assert names.parse_algorithm(spelled) == algorithm
    assert algorithm_debug(algorithm) == debug


@pytest.mark.parametrize(("key_type", "spelled", "debug"), TYPES, ids=[row[1] for row in TYPES])
def test_key_types(key_type: KeyType, spelled: str, debug: str) -> None:
    assert names.spell_key_type(key_type) == spelled
    assert names.parse_key_type(spelled) == key_type
    assert key_type_debug(key_type) == debug


@pytest.mark.parametrize("text", ["RSA_PSS(SHA_256)", "PSA_ALG_RSA_PSS(SHA_256)", "rsapss:sha256", "Rsa-Pss:SHA-256"])
def test_other_spellings_of_an_algorithm(text: str) -> None:
    assert names.parse_algorithm(text) == Algorithm.rsa_pss(Hash.SHA_256)


@pytest.mark.parametrize("text", ["p256", "P-256", "secp256r1", "prime256v1"])
def test_other_spellings_of_a_curve(text: str) -> None:
    assert names.parse_curve(text) == (EccFamily.SECP_R1, 256)


def test_every_hash_and_curve_is_read_as_it_is_written() -> None:
    assert [names.parse_hash(name) for name in names.HASHES] == list(names.HASHES.values())
    assert [names.parse_curve(name) for name in names.CURVES] == list(names.CURVES.values())


@pytest.mark.parametrize(
    "text", ["", "gmc", "ecdsa", "gcm:sha-256", "ecdsa:sha-257", "gcm/x", "gcm/0", "hmac:sha-256/99"]
)
def test_no_algorithm(text: str) -> None:
    with pytest.raises(ValueError):
        names.parse_algorithm(text)


@pytest.mark.parametrize("text", ["", "rsa", "ecc-key-pair", "ecc-key-pair:p-256", "aes:256", "dh-key-pair:secp-r1"])
def test_no_key_type(text: str) -> None:
    with pytest.raises(ValueError, match="choose one of"):
        names.parse_key_type(text)


def test_usage() -> None:
    assert names.parse_usage("sign, verify-hash") == (
        UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_HASH
    )
    assert names.spell_usage(UsageFlags.ENCRYPT | UsageFlags.EXPORT) == ["export", "encrypt"]
    with pytest.raises(ValueError, match="choose from"):
        names.parse_usage("sing")


def test_values_without_a_name_have_their_number() -> None:
    odd = KeyAttributes(KeyType(0x1FFF), 8, UsageFlags.NONE, Algorithm(0x06FFFF01))

    assert names.describe(odd) == {"key_type": "0x1fff", "key_bits": 8, "algorithm": "0x06ffff01", "usage": []}


def test_further_instances_of_a_provider_have_their_own_name() -> None:
    assert provider_name(1) == "Mbed Crypto provider"
    assert provider_name(16, "second") == "second provider"
    assert provider_name(17) == "Provider 17"
