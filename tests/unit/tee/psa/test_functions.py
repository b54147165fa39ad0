"""Each family of the PSA Crypto API against pyca/cryptography, through a crypto partition in this process."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import cmac, hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edgeroot.psa import Algorithm, DerivationStep, EccFamily, Hash, KeyType, PsaError, PsaStatus, Secret, UsageFlags
from edgeroot.tee.api import TeeBusyError, TeeError
from edgeroot.tee.psa import AeadOperation, CipherOperation, KeyDerivationOperation, PsaClient, PsaKeyAttributes
from tests.support.crypto_partition import CAPACITY_BYTES
from tests.support.psa_client import ContextTransport, psa_client
from tests.unit.tee.psa.test_operations import assert_status

SHA_256 = Algorithm.from_hash(Hash.SHA_256)
ECDSA = Algorithm.ecdsa(Hash.SHA_256)
KEY = bytes(range(32))
LONG = bytes(range(256)) * 100  # more than three calls can carry
EVERYTHING = (
    UsageFlags.EXPORT
    | UsageFlags.COPY
    | UsageFlags.ENCRYPT
    | UsageFlags.DECRYPT
    | UsageFlags.SIGN_MESSAGE
    | UsageFlags.VERIFY_MESSAGE
    | UsageFlags.SIGN_HASH
    | UsageFlags.VERIFY_HASH
)
P256 = KeyType.ecc_key_pair(EccFamily.SECP_R1)


@pytest.fixture
def transport() -> ContextTransport:
    return ContextTransport()


@pytest.fixture
def client(transport: ContextTransport) -> PsaClient:
    return psa_client(transport)


def imported(client: PsaClient, key_type: int, data: bytes, alg: int, bits: int = 0) -> int:
    usage = EVERYTHING if key_type != KeyType.DERIVE else UsageFlags.DERIVE
    return client.psa_import_key(PsaKeyAttributes(key_type, bits, usage, alg), data)


def test_nothing_works_before_psa_crypto_init() -> None:
    client = PsaClient(ContextTransport())
    assert_status(PsaStatus.BAD_STATE, client.psa_generate_random, 8)
    assert_status(PsaStatus.BAD_STATE, client.psa_hash_compute, SHA_256, b"")
    client.psa_crypto_init()
    client.psa_crypto_init()
    assert len(client.psa_generate_random(8)) == 8


def test_a_key_has_the_attributes_it_was_made_with(client: PsaClient) -> None:
    attributes = PsaKeyAttributes()
    attributes.psa_set_key_type(P256)
    attributes.psa_set_key_bits(256)
    attributes.psa_set_key_usage_flags(UsageFlags.SIGN_HASH)
    attributes.psa_set_key_algorithm(ECDSA)
    attributes.psa_set_key_id(77)
    assert client.psa_generate_key(attributes) == 77
    found = client.psa_get_key_attributes(77)
    assert found == attributes
    assert found.psa_get_key_usage_flags() == UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE
    assert_status(PsaStatus.ALREADY_EXISTS, client.psa_generate_key, attributes)
    assert_status(PsaStatus.NOT_PERMITTED, client.psa_export_key, 77)
    client.psa_purge_key(77)
    assert len(client.psa_export_public_key(77, data_size=65)) == 65
    assert_status(PsaStatus.BUFFER_TOO_SMALL, client.psa_export_public_key, 77, data_size=64)
    client.psa_destroy_key(77)
    client.psa_destroy_key(0)
    assert_status(PsaStatus.INVALID_HANDLE, client.psa_get_key_attributes, 77)
    assert_status(PsaStatus.INVALID_HANDLE, client.psa_destroy_key, 77)
    assert_status(PsaStatus.INVALID_HANDLE, client.psa_purge_key, 77)


def test_attributes_follow_the_rules_of_identifiers_and_lifetimes() -> None:
    attributes = PsaKeyAttributes()
    attributes.psa_set_key_id(5)
    assert attributes.psa_get_key_lifetime() == 1
    attributes.psa_set_key_lifetime(0)
    assert attributes.psa_get_key_id() == 0
    attributes.psa_set_key_lifetime(0x80000001)
    attributes.psa_set_key_id(6)
    assert attributes.psa_get_key_lifetime() == 0x80000001
    attributes.psa_reset_key_attributes()
    assert attributes == PsaKeyAttributes()
    with pytest.raises(PsaError) as caught:
        PsaKeyAttributes(type=0x10000).to_abi()
    assert caught.value.status is PsaStatus.INVALID_ARGUMENT


def test_a_copy_has_its_own_life(client: PsaClient) -> None:
    source = imported(client, KeyType.AES, KEY, Algorithm.CTR)
    copy = client.psa_copy_key(source, PsaKeyAttributes(usage_flags=UsageFlags.EXPORT, algorithm=Algorithm.CTR))
    client.psa_destroy_key(source)
    assert client.psa_export_key(copy) == KEY
    assert_status(PsaStatus.NOT_PERMITTED, client.psa_cipher_encrypt, copy, Algorithm.CTR, b"data")


def test_random_numbers_are_as_many_as_wanted(client: PsaClient, transport: ContextTransport) -> None:
    assert client.psa_generate_random(0) == b""
    many = client.psa_generate_random(20000)
    assert len(many) == 20000
    assert len({many[start : start + 16] for start in range(0, 19984, 16)}) == 1249
    assert isinstance(many, Secret)
    assert_status(PsaStatus.INVALID_ARGUMENT, client.psa_generate_random, -1)


def test_a_hash_of_any_length(client: PsaClient) -> None:
    for data in (b"", b"abc", LONG):
        assert client.psa_hash_compute(SHA_256, data) == hashlib.sha256(data).digest()
        client.psa_hash_compare(SHA_256, data, hashlib.sha256(data).digest())
        assert_status(PsaStatus.INVALID_SIGNATURE, client.psa_hash_compare, SHA_256, data, bytes(32))
    assert_status(PsaStatus.BUFFER_TOO_SMALL, client.psa_hash_compute, SHA_256, b"", hash_size=31)
    assert_status(PsaStatus.NOT_SUPPORTED, client.psa_hash_compute, Algorithm.from_hash(Hash.MD2), b"")


def test_macs(client: PsaClient) -> None:
    alg = Algorithm.hmac(Hash.SHA_256)
    key = imported(client, KeyType.HMAC, KEY, alg)
    assert client.psa_mac_compute(key, alg, LONG) == hmac.digest(KEY, LONG, "sha256")
    client.psa_mac_verify(key, alg, LONG, hmac.digest(KEY, LONG, "sha256"))
    assert_status(PsaStatus.INVALID_SIGNATURE, client.psa_mac_verify, key, alg, LONG, bytes(32))
    assert_status(PsaStatus.BUFFER_TOO_SMALL, client.psa_mac_compute, key, alg, LONG, mac_size=31)
    aes = imported(client, KeyType.AES, KEY, Algorithm.CMAC)
    expected = cmac.CMAC(algorithms.AES(KEY))
    expected.update(b"data")
    assert client.psa_mac_compute(aes, Algorithm.CMAC, b"data") == expected.finalize()


@pytest.mark.parametrize("alg", [Algorithm.CTR, Algorithm.CBC_PKCS7, Algorithm.CFB, Algorithm.OFB])
def test_ciphers_put_their_iv_first(client: PsaClient, alg: Algorithm) -> None:
    key = imported(client, KeyType.AES, KEY, alg)
    one, other = (client.psa_cipher_encrypt(key, alg, LONG) for _ in range(2))
    assert one[:16] != other[:16]
    assert client.psa_cipher_decrypt(key, alg, one) == client.psa_cipher_decrypt(key, alg, other) == LONG
    for too_short in (bytes(15), b""):
        assert_status(PsaStatus.INVALID_ARGUMENT, client.psa_cipher_decrypt, key, alg, too_short)
    assert_status(PsaStatus.BUFFER_TOO_SMALL, client.psa_cipher_encrypt, key, alg, b"data", output_size=4)


def test_stream_ciphers(client: PsaClient) -> None:
    """ChaCha20 begins at block 0 with a nonce of 12 bytes; ARC4 has none."""
    alg = Algorithm.STREAM_CIPHER
    key = imported(client, KeyType.CHACHA20, KEY, alg)
    sealed = client.psa_cipher_encrypt(key, alg, LONG)
    reference = Cipher(algorithms.ChaCha20(KEY, bytes(4) + sealed[:12]), None).encryptor()
    assert sealed[12:] == reference.update(LONG)
    assert client.psa_cipher_decrypt(key, alg, sealed) == LONG
    key = imported(client, KeyType.ARC4, KEY[:16], alg)
    sealed = client.psa_cipher_encrypt(key, alg, LONG)
    assert len(sealed) == len(LONG)
    assert client.psa_cipher_decrypt(key, alg, sealed) == LONG


def test_a_cipher_without_an_iv_and_one_with_the_callers(client: PsaClient) -> None:
    key = imported(client, KeyType.AES, KEY, Algorithm.ECB_NO_PADDING)
    encryptor = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor()
    assert client.psa_cipher_encrypt(key, Algorithm.ECB_NO_PADDING, bytes(32)) == encryptor.update(bytes(32))
    assert_status(PsaStatus.INVALID_ARGUMENT, client.psa_cipher_encrypt, key, Algorithm.ECB_NO_PADDING, bytes(31))
    key = imported(client, KeyType.AES, KEY, Algorithm.CTR)
    operation = CipherOperation()
    client.psa_cipher_encrypt_setup(operation, key, Algorithm.CTR)
    client.psa_cipher_set_iv(operation, bytes(16))
    text = client.psa_cipher_update(operation, b"in two ") + client.psa_cipher_update(operation, b"parts")
    text += client.psa_cipher_finish(operation)
    encryptor = Cipher(algorithms.AES(KEY), modes.CTR(bytes(16))).encryptor()
    assert text == encryptor.update(b"in two parts")


@pytest.mark.parametrize(
    ("key_type", "alg", "reference"),
    [
        (KeyType.AES, Algorithm.GCM, AESGCM(KEY)),
        (KeyType.AES, Algorithm.CCM, AESCCM(KEY)),
        (KeyType.CHACHA20, Algorithm.CHACHA20_POLY1305, ChaCha20Poly1305(KEY)),
    ],
)
def test_authenticated_encryption(
    client: PsaClient, key_type: KeyType, alg: Algorithm, reference: AESGCM | AESCCM | ChaCha20Poly1305
) -> None:
    key = imported(client, key_type, KEY, alg)
    nonce = bytes(12)
    for text in (b"", b"text", LONG):
        sealed = client.psa_aead_encrypt(key, alg, nonce, b"more", text)
        assert sealed == reference.encrypt(nonce, text, b"more")
        assert client.psa_aead_decrypt(key, alg, nonce, b"more", sealed) == text
        changed = bytes([sealed[0] ^ 1]) + sealed[1:]
        assert_status(PsaStatus.INVALID_SIGNATURE, client.psa_aead_decrypt, key, alg, nonce, b"more", changed)
        assert_status(PsaStatus.INVALID_SIGNATURE, client.psa_aead_decrypt, key, alg, nonce, b"else", sealed)
    assert_status(PsaStatus.INVALID_ARGUMENT, client.psa_aead_decrypt, key, alg, nonce, b"", bytes(15))
    assert_status(PsaStatus.BUFFER_TOO_SMALL, client.psa_aead_encrypt, key, alg, nonce, b"", b"1", ciphertext_size=16)


def test_an_aead_in_parts_with_a_nonce_of_the_services(client: PsaClient) -> None:
    key = imported(client, KeyType.AES, KEY, Algorithm.GCM)
    operation = AeadOperation()
    client.psa_aead_encrypt_setup(operation, key, Algorithm.GCM)
    nonce = client.psa_aead_generate_nonce(operation)
    client.psa_aead_update_ad(operation, b"more")
    text = client.psa_aead_update(operation, b"text")
    rest, tag = client.psa_aead_finish(operation)
    assert AESGCM(KEY).decrypt(nonce, text + rest + tag, b"more") == b"text"
    client.psa_aead_decrypt_setup(operation, key, Algorithm.GCM)
    client.psa_aead_set_lengths(operation, 4, 4)
    client.psa_aead_set_nonce(operation, nonce)
    client.psa_aead_update_ad(operation, b"more")
    plain = client.psa_aead_update(operation, text + rest)
    assert plain + client.psa_aead_verify(operation, tag) == b"text"


def test_signatures(client: PsaClient) -> None:
    key = client.psa_generate_key(PsaKeyAttributes(P256, 256, EVERYTHING, ECDSA))
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), client.psa_export_public_key(key))
    signature = client.psa_sign_message(key, ECDSA, b"message")
    numbers = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    public.verify(encode_dss_signature(*numbers), b"message", ec.ECDSA(hashes.SHA256()))
    client.psa_verify_message(key, ECDSA, b"message", signature)
    digest = hashlib.sha256(b"message").digest()
    client.psa_verify_hash(key, ECDSA, digest, signature)
    client.psa_verify_message(key, ECDSA, b"message", client.psa_sign_hash(key, ECDSA, digest))
    assert_status(PsaStatus.INVALID_SIGNATURE, client.psa_verify_message, key, ECDSA, b"other", signature)
    assert_status(PsaStatus.BUFFER_TOO_SMALL, client.psa_sign_hash, key, ECDSA, digest, signature_size=63)
    assert_status(PsaStatus.INVALID_ARGUMENT, client.psa_sign_hash, key, ECDSA, digest[1:])


def test_asymmetric_encryption_with_a_label(client: PsaClient) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    der = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    alg = Algorithm.rsa_oaep(Hash.SHA_256)
    key = imported(client, KeyType.RSA_KEY_PAIR, der, alg)
    sealed = client.psa_asymmetric_encrypt(key, alg, b"text", b"label")
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"label")
    assert private.decrypt(sealed, oaep) == b"text"
    assert client.psa_asymmetric_decrypt(key, alg, sealed, b"label") == b"text"
    with pytest.raises(PsaError):
        client.psa_asymmetric_decrypt(key, alg, sealed, b"other")
    assert_status(PsaStatus.BUFFER_TOO_SMALL, client.psa_asymmetric_encrypt, key, alg, b"text", output_size=255)


def test_key_derivation_and_agreement(client: PsaClient) -> None:
    alg = Algorithm.hkdf(Hash.SHA_256)
    secret = imported(client, KeyType.DERIVE, KEY, alg)
    expected = HKDF(hashes.SHA256(), 64, b"salt", b"info").derive(KEY)

    def begun() -> KeyDerivationOperation:
        operation = KeyDerivationOperation()
        client.psa_key_derivation_setup(operation, alg)
        client.psa_key_derivation_input_bytes(operation, DerivationStep.SALT, b"salt")
        client.psa_key_derivation_input_key(operation, DerivationStep.SECRET, secret)
        client.psa_key_derivation_input_bytes(operation, DerivationStep.INFO, b"info")
        return operation

    operation = begun()
    assert client.psa_key_derivation_get_capacity(operation) == 255 * 32
    assert client.psa_key_derivation_output_bytes(operation, 32) == expected[:32]
    made = client.psa_key_derivation_output_key(
        PsaKeyAttributes(KeyType.AES, 256, UsageFlags.EXPORT, Algorithm.CTR), operation
    )
    assert client.psa_export_key(made) == expected[32:]
    client.psa_key_derivation_abort(operation)
    operation = begun()
    client.psa_key_derivation_verify_bytes(operation, expected[:32])
    assert_status(PsaStatus.INVALID_SIGNATURE, client.psa_key_derivation_verify_bytes, operation, bytes(32))
    assert not operation.is_active
    client.psa_key_derivation_abort(operation)

    agreement = Algorithm.ECDH
    pair = client.psa_generate_key(PsaKeyAttributes(P256, 256, UsageFlags.DERIVE, agreement))
    peer = ec.generate_private_key(ec.SECP256R1())
    point = peer.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    ours = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), client.psa_export_public_key(pair))
    shared = peer.exchange(ec.ECDH(), ours)
    assert client.psa_raw_key_agreement(agreement, pair, point) == shared
    assert_status(PsaStatus.BUFFER_TOO_SMALL, client.psa_raw_key_agreement, agreement, pair, point, output_size=31)

    attributes = PsaKeyAttributes(KeyType.DERIVE, 256, UsageFlags.EXPORT | UsageFlags.DERIVE, alg)
    assert client.psa_export_key(client.psa_key_agreement(pair, point, agreement, attributes)) == shared
    attributes.psa_set_key_bits(128)
    assert_status(PsaStatus.INVALID_ARGUMENT, client.psa_key_agreement, pair, point, agreement, attributes)
    attributes.psa_set_key_bits(256)
    attributes.psa_set_key_type(KeyType.AES)
    assert_status(PsaStatus.INVALID_ARGUMENT, client.psa_key_agreement, pair, point, agreement, attributes)


def test_nothing_comes_of_a_derivation_with_a_key_for_verifying(client: PsaClient) -> None:
    """PSA Crypto API 1.2, PSA_KEY_USAGE_VERIFY_DERIVATION: an input, of which no bytes and no key are permitted."""
    alg = Algorithm.hkdf(Hash.SHA_256)
    attributes = PsaKeyAttributes(KeyType.DERIVE, 0, 0x8000, alg)
    secret = client.psa_import_key(attributes, KEY)
    assert client.psa_get_key_attributes(secret).psa_get_key_usage_flags() == 0x8000

    def begun() -> KeyDerivationOperation:
        operation = KeyDerivationOperation()
        client.psa_key_derivation_setup(operation, alg)
        client.psa_key_derivation_input_key(operation, DerivationStep.SECRET, secret)
        client.psa_key_derivation_input_bytes(operation, DerivationStep.INFO, b"info")
        return operation

    wanted = PsaKeyAttributes(KeyType.AES, 256, UsageFlags.EXPORT, Algorithm.CTR)
    expected = HKDF(hashes.SHA256(), 32, None, b"info").derive(KEY)
    for step, argument in (
        (client.psa_key_derivation_output_bytes, 32),
        (client.psa_key_derivation_verify_bytes, expected),
    ):
        assert_status(PsaStatus.NOT_PERMITTED, step, begun(), argument)
    assert_status(PsaStatus.NOT_PERMITTED, client.psa_key_derivation_output_key, wanted, begun())
    unusable = client.psa_import_key(PsaKeyAttributes(KeyType.DERIVE, 0, UsageFlags.EXPORT, alg), KEY)
    operation = KeyDerivationOperation()
    client.psa_key_derivation_setup(operation, alg)
    assert_status(
        PsaStatus.NOT_PERMITTED, client.psa_key_derivation_input_key, operation, DerivationStep.SECRET, unusable
    )


def test_a_busy_partition_is_asked_again(client: PsaClient, transport: ContextTransport) -> None:
    refusals = [TeeBusyError("busy")] * 3

    def busy(_opcode: int) -> None:
        if refusals:
            raise refusals.pop()

    transport.session.before = busy
    assert len(client.psa_generate_random(4)) == 4
    assert len(transport.session.opcodes) == 4


def test_a_call_that_does_not_get_through_is_said(client: PsaClient, transport: ContextTransport) -> None:
    def gone(_opcode: int) -> None:
        raise TeeError("the partition has ended")

    transport.session.before = gone
    with pytest.raises(PsaError, match="the partition has ended") as caught:
        client.psa_generate_random(4)
    assert caught.value.status is PsaStatus.COMMUNICATION_FAILURE


def test_a_service_that_is_not_there_is_not_supported(client: PsaClient) -> None:
    assert_status(PsaStatus.NOT_SUPPORTED, client.psa_its_get, 1, 0, 1)
    assert_status(PsaStatus.NOT_SUPPORTED, client.psa_ps_get_support)
    assert_status(PsaStatus.NOT_SUPPORTED, client.psa_initial_attest_get_token, bytes(32))


def test_the_sessions_end_with_the_client(transport: ContextTransport) -> None:
    with psa_client(transport) as client:
        client.psa_generate_random(1)
        assert not transport.session.is_closed
    assert transport.session.is_closed


def test_data_that_is_too_long_for_one_call_is_refused_where_it_cannot_be_cut(client: PsaClient) -> None:
    key = client.psa_generate_key(PsaKeyAttributes(P256, 256, EVERYTHING, ECDSA))
    fitting = CAPACITY_BYTES - 128
    client.psa_verify_message(key, ECDSA, bytes(fitting), client.psa_sign_message(key, ECDSA, bytes(fitting)))
    for size in (fitting + 64, 70000):
        assert_status(PsaStatus.NOT_SUPPORTED, client.psa_verify_message, key, ECDSA, bytes(size), bytes(64))
    assert_status(PsaStatus.NOT_SUPPORTED, client.psa_sign_message, key, ECDSA, bytes(70000))
    assert_status(PsaStatus.NOT_SUPPORTED, client.psa_import_key, PsaKeyAttributes(KeyType.RAW_DATA), bytes(70000))
    assert_status(PsaStatus.INVALID_ARGUMENT, client.psa_sign_hash, key, ECDSA, bytes(70000))
