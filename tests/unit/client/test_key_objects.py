"""Key objects do what private keys of the package cryptography do, and refuse what their policy does not permit."""

from __future__ import annotations

import copy

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from edgeroot.client import Client, errors, templates
from edgeroot.client.keys import EcServiceKey, RsaServiceKey, X448ServiceKey, X25519ServiceKey
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags
from edgeroot.wire import operations as ops
from tests.unit.client.key_service import KeyService

DATA = b"what is to be signed"
SHA256, SHA384 = hashes.SHA256(), hashes.SHA384()
SIGN = UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE
PSS = padding.PSS(padding.MGF1(SHA256), padding.PSS.DIGEST_LENGTH)


def ec_key(client: Client, attributes: KeyAttributes) -> EcServiceKey:
    client.generate_key("k", attributes)
    key = client.private_key("k")
    assert isinstance(key, EcServiceKey)
    return key


def rsa_key(client: Client, attributes: KeyAttributes) -> RsaServiceKey:
    client.generate_key("k", attributes)
    key = client.private_key("k")
    assert isinstance(key, RsaServiceKey)
    return key


def digest(data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    hashing = hashes.Hash(algorithm)
    hashing.update(data)
    return hashing.finalize()


def asked(service: KeyService, kind: type[ops.Operation]) -> list[ops.Operation]:
    return [operation for operation in service.operations() if isinstance(operation, kind)]


# Elliptic curves


@pytest.mark.parametrize(
    ("key_bits", "hash_alg", "algorithm"),
    [(256, Hash.SHA_256, SHA256), (384, Hash.SHA_384, SHA384), (521, Hash.SHA_512, hashes.SHA512())],
)
def test_ecdsa(client: Client, key_bits: int, hash_alg: Hash, algorithm: hashes.HashAlgorithm) -> None:
    key = ec_key(client, templates.ecdsa(key_bits, hash_alg))
    key.public_key().verify(key.sign(DATA, ec.ECDSA(algorithm)), DATA, ec.ECDSA(algorithm))
    prehashed = ec.ECDSA(Prehashed(algorithm))
    key.public_key().verify(key.sign(digest(DATA, algorithm), prehashed), DATA, ec.ECDSA(algorithm))
    assert (key.key_size, key.curve.name) == (key_bits, f"secp{key_bits}r1")
    assert isinstance(key, ec.EllipticCurvePrivateKey)


def test_only_the_hash_is_sent(client: Client, key_service: KeyService) -> None:
    ec_key(client, templates.ecdsa_p256()).sign(DATA, ec.ECDSA(SHA256))
    expected = ops.PsaSignHash("k", Algorithm.ecdsa(Hash.SHA_256), digest(DATA, SHA256))
    assert asked(key_service, ops.PsaSignHash) == [expected]


def test_a_key_for_messages_only_is_sent_the_message(client: Client, key_service: KeyService) -> None:
    attributes = KeyAttributes(
        KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, UsageFlags.SIGN_MESSAGE, Algorithm.ecdsa(Hash.SHA_256)
    )
    key = ec_key(client, attributes)
    key.public_key().verify(key.sign(DATA, ec.ECDSA(SHA256)), DATA, ec.ECDSA(SHA256))
    assert not asked(key_service, ops.PsaSignHash)
    with pytest.raises(errors.KeyPolicyError, match="may sign messages only"):
        key.sign(digest(DATA, SHA256), ec.ECDSA(Prehashed(SHA256)))


@pytest.mark.parametrize(
    ("policy", "deterministic", "used"),
    [
        (Algorithm.ecdsa(Hash.SHA_256), False, Algorithm.ecdsa(Hash.SHA_256)),
        (Algorithm.ecdsa(Hash.ANY), False, Algorithm.ecdsa(Hash.SHA_256)),
        (Algorithm.deterministic_ecdsa(Hash.SHA_256), False, Algorithm.deterministic_ecdsa(Hash.SHA_256)),
        (Algorithm.deterministic_ecdsa(Hash.SHA_256), True, Algorithm.deterministic_ecdsa(Hash.SHA_256)),
        (Algorithm.ECDSA_ANY, False, Algorithm.ECDSA_ANY),
        (Algorithm.ecdsa(Hash.SHA_256), True, None),
        (Algorithm.ecdsa(Hash.SHA_384), False, None),
        (Algorithm.ECDH, False, None),
    ],
)
def test_the_policy_decides_the_algorithm(
    client: Client, key_service: KeyService, policy: Algorithm, deterministic: bool, used: Algorithm | None
) -> None:
    key = ec_key(client, KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_R1), 256, SIGN, policy))
    algorithm = ec.ECDSA(SHA256, deterministic_signing=deterministic)
    if used is None:
        with pytest.raises(errors.KeyPolicyError, match=r"policy of 'k' is .*: choose hash and padding"):
            key.sign(DATA, algorithm)
        assert not asked(key_service, ops.PsaSignHash)
    else:
        key.sign(DATA, algorithm)
        operation = asked(key_service, ops.PsaSignHash)[0]
        assert isinstance(operation, ops.PsaSignHash)
        assert operation.alg == used


def test_a_key_that_may_not_sign_says_so(client: Client) -> None:
    key = ec_key(client, templates.ecdh())
    with pytest.raises(errors.KeyPolicyError, match="lacks the usage SIGN_MESSAGE or SIGN_HASH"):
        key.sign(DATA, ec.ECDSA(SHA256))


def test_a_prehashed_message_of_the_wrong_length_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        ec_key(client, templates.ecdsa_p256()).sign(bytes(31), ec.ECDSA(Prehashed(SHA256)))


def test_a_hash_that_parsec_does_not_have_is_refused(client: Client) -> None:
    with pytest.raises(UnsupportedAlgorithm, match="no hash blake2b"):
        ec_key(client, templates.ecdsa_p256()).sign(DATA, ec.ECDSA(hashes.BLAKE2b(64)))


def test_ecdh(client: Client) -> None:
    key, peer = ec_key(client, templates.ecdh(384)), ec.generate_private_key(ec.SECP384R1())
    assert key.exchange(ec.ECDH(), peer.public_key()) == peer.exchange(ec.ECDH(), key.public_key())
    stranger = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(ValueError, match="secp256r1, this one on secp384r1"):
        key.exchange(ec.ECDH(), stranger.public_key())


def test_a_key_for_signing_does_not_agree(client: Client) -> None:
    key = ec_key(client, templates.ecdsa_p256())
    with pytest.raises(errors.KeyPolicyError, match="DERIVE"):
        key.exchange(ec.ECDH(), key.public_key())


def test_x25519_and_x448(client: Client) -> None:
    client.generate_key("25519", templates.x25519(exportable=True))
    client.generate_key("448", templates.x448())
    first, second = client.private_key("25519"), client.private_key("448")
    assert isinstance(first, X25519ServiceKey)
    assert isinstance(first, x25519.X25519PrivateKey)
    assert isinstance(second, X448ServiceKey)
    assert isinstance(second, x448.X448PrivateKey)
    peer, other = x25519.X25519PrivateKey.generate(), x448.X448PrivateKey.generate()
    assert first.exchange(peer.public_key()) == peer.exchange(first.public_key())
    assert second.exchange(other.public_key()) == other.exchange(second.public_key())
    again = x25519.X25519PrivateKey.from_private_bytes(first.private_bytes_raw())
    assert again.public_key() == first.public_key()
    pkcs8 = load_der_private_key(first.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), None)
    assert isinstance(pkcs8, x25519.X25519PrivateKey)
    with pytest.raises(errors.NotExportableError):
        second.private_bytes_raw()


# RSA


def test_rsa_pkcs1v15(client: Client) -> None:
    key = rsa_key(client, templates.rsa_signing(1024, Hash.ANY))
    for algorithm in (SHA256, SHA384):
        key.public_key().verify(key.sign(DATA, padding.PKCS1v15(), algorithm), DATA, padding.PKCS1v15(), algorithm)
    signature = key.sign(digest(DATA, SHA256), padding.PKCS1v15(), Prehashed(SHA256))
    key.public_key().verify(signature, DATA, padding.PKCS1v15(), SHA256)
    assert key.key_size == 1024
    assert isinstance(key, rsa.RSAPrivateKey)
    with pytest.raises(errors.KeyPolicyError, match=r"not RSA_PSS\(SHA_256\)"):
        key.sign(DATA, PSS, SHA256)


def test_rsa_pkcs1v15_without_digest_info(client: Client) -> None:
    attributes = KeyAttributes(KeyType.RSA_KEY_PAIR, 1024, SIGN, Algorithm.RSA_PKCS1V15_SIGN_RAW)
    key = rsa_key(client, attributes)
    signature = key.sign(DATA, padding.PKCS1v15(), NoDigestInfo())
    assert key.public_key().recover_data_from_signature(signature, padding.PKCS1v15(), None) == DATA
    with pytest.raises(TypeError, match="PKCS1v15 only"):
        key.sign(DATA, PSS, NoDigestInfo())


@pytest.mark.parametrize("salt", [padding.PSS.DIGEST_LENGTH, 32])
def test_rsa_pss(client: Client, salt: int) -> None:
    key = rsa_key(client, templates.rsa_pss(1024))
    pss = padding.PSS(padding.MGF1(SHA256), salt)
    key.public_key().verify(key.sign(DATA, pss, SHA256), DATA, pss, SHA256)


@pytest.mark.parametrize(
    "pss",
    [
        padding.PSS(padding.MGF1(SHA256), padding.PSS.MAX_LENGTH),
        padding.PSS(padding.MGF1(SHA256), 20),
        padding.PSS(padding.MGF1(SHA384), padding.PSS.DIGEST_LENGTH),
    ],
)
def test_a_pss_that_parsec_does_not_have_is_refused_with_what_to_pass(client: Client, pss: padding.PSS) -> None:
    with pytest.raises(UnsupportedAlgorithm, match=r"pass PSS\(MGF1\(hash\), PSS.DIGEST_LENGTH\)"):
        rsa_key(client, templates.rsa_pss(1024)).sign(DATA, pss, SHA256)


def test_rsa_decryption(client: Client) -> None:
    key = rsa_key(client, templates.rsa_oaep(1024))
    for label in (None, b"label"):
        oaep = padding.OAEP(padding.MGF1(SHA256), SHA256, label)
        assert key.decrypt(key.public_key().encrypt(DATA, oaep), oaep) == DATA
    with pytest.raises(UnsupportedAlgorithm, match="one hash"):
        key.decrypt(bytes(128), padding.OAEP(padding.MGF1(hashes.SHA1()), SHA256, None))
    with pytest.raises(errors.KeyPolicyError, match="RSA_PKCS1V15_CRYPT"):
        key.decrypt(bytes(128), padding.PKCS1v15())
    with pytest.raises(UnsupportedAlgorithm, match="use OAEP"):
        key.decrypt(bytes(128), PSS)


def test_rsa_pkcs1v15_decryption(client: Client) -> None:
    key = rsa_key(client, templates.rsa_pkcs1v15_crypt(1024))
    ciphertext = key.public_key().encrypt(DATA, padding.PKCS1v15())
    assert key.decrypt(ciphertext, padding.PKCS1v15()) == DATA


# What all have in common


@pytest.mark.parametrize("attributes", [templates.ecdsa_p256(), templates.rsa_signing(1024)])
def test_the_private_part_stays_unless_the_key_may_be_exported(
    client: Client, key_service: KeyService, attributes: KeyAttributes
) -> None:
    client.generate_key("k", attributes)
    key = client.private_key("k")
    assert isinstance(key, EcServiceKey | RsaServiceKey)
    with pytest.raises(errors.NotExportableError, match="does not leave the service"):
        key.private_numbers()
    with pytest.raises(TypeError, match="usage includes EXPORT"):
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert not asked(key_service, ops.PsaExportKey)


@pytest.mark.parametrize(
    "attributes", [templates.ecdsa_p256(exportable=True), templates.rsa_signing(1024, exportable=True)]
)
def test_an_exportable_key_exports(client: Client, attributes: KeyAttributes) -> None:
    client.generate_key("k", attributes)
    key = client.private_key("k")
    assert isinstance(key, EcServiceKey | RsaServiceKey)
    assert key.private_numbers().public_numbers == key.public_key().public_numbers()
    loaded = load_der_private_key(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    assert loaded.public_key() == key.public_key()


def test_a_copy_is_the_same_key(client: Client) -> None:
    client.generate_key("x25519", templates.x25519())
    client.generate_key("x448", templates.x448())
    ec_key(client, templates.ecdsa_p256())
    client.generate_key("rsa", templates.rsa_pss(1024))
    for name in ("k", "rsa", "x25519", "x448"):
        key = client.private_key(name)
        assert copy.copy(key) is key
        assert copy.deepcopy(key) is key


def test_the_public_part_is_fetched_once(client: Client, key_service: KeyService) -> None:
    key = ec_key(client, templates.ecdsa_p256())
    assert key.public_key() == key.public_key() == client.public_key("k")
    assert len(asked(key_service, ops.PsaExportPublicKey)) == 2


def test_its_printed_form_names_the_key(client: Client) -> None:
    assert repr(ec_key(client, templates.ecdsa_p256())) == "<EcServiceKey 'k' 256 bits ECDSA(SHA_256)>"


def test_an_absent_key_has_no_object(client: Client) -> None:
    with pytest.raises(errors.DoesNotExistError):
        client.private_key("absent")


@pytest.mark.parametrize(
    "attributes",
    [
        templates.aes_gcm(),
        KeyAttributes(KeyType.RSA_PUBLIC_KEY, 1024, UsageFlags.VERIFY_HASH, Algorithm.rsa_pss(Hash.SHA_256)),
        KeyAttributes(KeyType.ecc_key_pair(EccFamily.MONTGOMERY), 100, SIGN, Algorithm.ECDH),
    ],
)
def test_a_key_without_a_class_is_refused(client: Client, key_service: KeyService, attributes: KeyAttributes) -> None:
    key_service.keys["k"] = attributes, ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(errors.KeyPolicyError, match="use the client's methods"):
        client.private_key("k")


def test_a_curve_without_a_class_is_refused(client: Client, key_service: KeyService) -> None:
    attributes = KeyAttributes(KeyType.ecc_key_pair(EccFamily.SECP_K1), 192, SIGN, Algorithm.ecdsa(Hash.SHA_256))
    key_service.keys["k"] = attributes, ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(errors.KeyPolicyError, match="no curve SECP_K1 of 192 bits"):
        client.public_key("k")


def test_a_public_part_of_another_kind_is_refused(client: Client, key_service: KeyService) -> None:
    key_service.keys["k"] = templates.ecdsa_p256(), ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(errors.UnexpectedResponseError, match="256 bits: see its log"):
        client.public_key("k")
