"""Cryptography in steps over the real crypto partition, held against another implementation; and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import cmac, hashes, hmac, padding
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.abi.rpc_status import RpcStatus
from edgeroot.providers.api import BackEndAnswer, LoadedKey, Steps
from edgeroot.providers.trusted_services.errors import RefusedCallError
from edgeroot.providers.trusted_services.steps import TrustedServicesSteps
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags
from tests.support.driven_steps import DrivenPartition
from tests.vectors.keys import refused

BOTH_WAYS = UsageFlags.ENCRYPT | UsageFlags.DECRYPT
SIGNS = UsageFlags.SIGN_HASH | UsageFlags.VERIFY_HASH | UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_MESSAGE
ES256 = Algorithm.ecdsa(Hash.SHA_256)
HMAC = Algorithm.hmac(Hash.SHA_256)
OAEP = Algorithm.rsa_oaep(Hash.SHA_256)
KEY = bytes(range(32))
NONCE = bytes(range(12))
SMALL = 160  # bytes of a buffer: a call carries 128
TEXT = bytes(range(256)) + b"and something"
PRIVATE = ec.derive_private_key(4711, ec.SECP256R1())
POINT = PRIVATE.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
P256 = KeyType.ecc_key_pair(EccFamily.SECP_R1)


@pytest.fixture
def partition() -> DrivenPartition:
    return DrivenPartition(SMALL)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


def loaded(
    partition: DrivenPartition, key_type: KeyType, alg: Algorithm, usage: UsageFlags, material: bytes
) -> LoadedKey:
    steps = partition.steps()
    attributes = KeyAttributes(key_type, 0, usage, alg)
    capacity_bytes, partition.capacity_bytes = partition.capacity_bytes, 8192
    reference = partition.run(steps.plan(attributes))
    created = partition.run(partition.steps().create(reference, attributes, Secret(material)))
    partition.capacity_bytes = capacity_bytes
    return steps.load(created.reference, created.attributes)


def signer(partition: DrivenPartition) -> LoadedKey:
    return loaded(partition, P256, ES256, SIGNS, (4711).to_bytes(32))


def verified(signature: bytes, message: bytes) -> None:
    """By the other implementation; InvalidSignature if it is wrong."""
    numbers = (int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    PRIVATE.public_key().verify(encode_dss_signature(*numbers), message, ec.ECDSA(hashes.SHA256()))


def sha256(data: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(data)
    return digest.finalize()


class TestSignatures:
    def test_a_hash_is_signed_and_verified(self, partition: DrivenPartition) -> None:
        key = signer(partition)
        signature = partition.run(partition.steps().sign_hash(key, ES256, sha256(TEXT)))
        verified(signature, TEXT)
        assert partition.opcodes == [Op.SIGN_HASH]
        partition.run(partition.steps().verify_hash(key, ES256, sha256(TEXT), signature))
        assert partition.opcodes == [Op.VERIFY_HASH]
        with refused(PsaStatus.INVALID_SIGNATURE):
            partition.run(partition.steps().verify_hash(key, ES256, sha256(b""), signature))

    def test_a_short_message_is_the_partitions_to_hash(self, partition: DrivenPartition) -> None:
        key = signer(partition)
        message = bytes(SMALL - 16)  # the longest
        signature = partition.run(partition.steps().sign_message(key, ES256, message))
        verified(signature, message)
        assert partition.opcodes == [Op.SIGN_MESSAGE]
        partition.run(partition.steps().verify_message(key, ES256, b"short", _signed(partition, key, b"short")))
        assert partition.opcodes == [Op.VERIFY_MESSAGE]

    def test_a_long_message_is_hashed_here(self, partition: DrivenPartition) -> None:
        key = signer(partition)
        signature = partition.run(partition.steps().sign_message(key, ES256, TEXT))
        verified(signature, TEXT)
        assert partition.opcodes == [Op.SIGN_HASH]
        partition.run(partition.steps().verify_message(key, ES256, TEXT, signature))
        assert partition.opcodes == [Op.VERIFY_HASH]
        with refused(PsaStatus.INVALID_SIGNATURE):
            partition.run(partition.steps().verify_message(key, ES256, TEXT + b"!", signature))

    def test_a_message_that_the_partition_does_not_take_is_hashed_here(self, partition: DrivenPartition) -> None:
        key = signer(partition)
        not_taken = BackEndAnswer(error=RefusedCallError(PsaStatus.INVALID_ARGUMENT, "too long for it"))
        partition.instead = {Op.SIGN_MESSAGE: [not_taken], Op.VERIFY_MESSAGE: [not_taken]}
        signature = partition.run(partition.steps().sign_message(key, ES256, b"message"))
        assert partition.opcodes == [Op.SIGN_MESSAGE, Op.SIGN_HASH]
        verified(signature, b"message")
        partition.run(partition.steps().verify_message(key, ES256, b"message", signature))
        assert partition.opcodes == [Op.VERIFY_MESSAGE, Op.VERIFY_HASH]

    def test_a_wrong_signature_is_not_tried_twice(self, partition: DrivenPartition) -> None:
        key = signer(partition)
        with refused(PsaStatus.INVALID_SIGNATURE):
            partition.run(partition.steps().verify_message(key, ES256, b"message", bytes(64)))
        assert partition.opcodes == [Op.VERIFY_MESSAGE]

    def test_a_signature_that_no_record_holds(self) -> None:
        partition = DrivenPartition(1 << 20)
        key = signer(partition)
        with refused(PsaStatus.INVALID_ARGUMENT):
            partition.run(partition.steps().verify_hash(key, ES256, bytes(32), bytes(0x10000)))
        assert partition.opcodes == []

    def test_an_algorithm_that_says_not_how_to_hash(self, partition: DrivenPartition) -> None:
        key = signer(partition)
        with refused(PsaStatus.INVALID_ARGUMENT):
            partition.run(partition.steps().sign_message(key, Algorithm.RSA_PKCS1V15_SIGN_RAW, TEXT))
        assert partition.opcodes == []


def _signed(partition: DrivenPartition, key: LoadedKey, message: bytes) -> bytes:
    return partition.run(partition.steps().sign_message(key, ES256, message))


class TestAsymmetricEncryption:
    @pytest.mark.parametrize(
        ("alg", "salt"),
        [(Algorithm.RSA_PKCS1V15_CRYPT, b""), (OAEP, b""), (OAEP, b"label")],
        ids=["pkcs1", "oaep", "label"],
    )
    def test_both_ways(self, rsa_key: rsa.RSAPrivateKey, alg: Algorithm, salt: bytes) -> None:
        partition = DrivenPartition()
        der = rsa_key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        key = loaded(partition, KeyType.RSA_KEY_PAIR, alg, BOTH_WAYS, der)
        other = (
            rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA256()), hashes.SHA256(), salt or None)
            if alg == OAEP
            else rsa_padding.PKCS1v15()
        )
        ciphertext = partition.run(partition.steps().asymmetric_encrypt(key, alg, b"text", salt))
        assert rsa_key.decrypt(ciphertext, other) == b"text"
        theirs = rsa_key.public_key().encrypt(b"text", other)
        plaintext = partition.run(partition.steps().asymmetric_decrypt(key, alg, theirs, salt))
        assert isinstance(plaintext, Secret)
        assert bytes(plaintext) == b"text"

    def test_an_agreed_secret(self, partition: DrivenPartition) -> None:
        key = loaded(partition, P256, Algorithm.ECDH, UsageFlags.DERIVE, (4711).to_bytes(32))
        peer = ec.derive_private_key(815, ec.SECP256R1())
        point = peer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        agreed = partition.run(partition.steps().raw_key_agreement(key, Algorithm.ECDH, point))
        assert isinstance(agreed, Secret)
        assert bytes(agreed) == peer.exchange(ec.ECDH(), PRIVATE.public_key())


AEADS = [
    pytest.param(KeyType.AES, Algorithm.GCM, AESGCM(KEY), id="gcm"),
    pytest.param(KeyType.AES, Algorithm.CCM, AESCCM(KEY), id="ccm"),
    pytest.param(KeyType.AES, Algorithm.CCM.with_tag_length(8), AESCCM(KEY, 8), id="ccm-8"),
    pytest.param(KeyType.CHACHA20, Algorithm.CHACHA20_POLY1305, ChaCha20Poly1305(KEY), id="chacha20-poly1305"),
]


class TestAead:
    @pytest.mark.parametrize("additional_data", [b"", TEXT])
    @pytest.mark.parametrize("text", [b"", b"short", TEXT])
    @pytest.mark.parametrize(("key_type", "alg", "other"), AEADS)
    def test_both_ways(
        self,
        partition: DrivenPartition,
        key_type: KeyType,
        alg: Algorithm,
        other: AESGCM | AESCCM | ChaCha20Poly1305,
        text: bytes,
        additional_data: bytes,
    ) -> None:
        key = loaded(partition, key_type, alg, BOTH_WAYS, KEY)
        sealed = other.encrypt(NONCE, text, additional_data)
        encrypted = partition.run(
            partition.steps().aead_encrypt(key, alg, nonce=NONCE, additional_data=additional_data, plaintext=text)
        )
        assert encrypted == sealed
        # CCM has to know the lengths before the nonce (PSA Crypto API 1.2, psa_aead_set_lengths).
        assert (Op.AEAD_SET_LENGTHS in partition.opcodes) is (alg.aead_default == Algorithm.CCM)
        assert partition.open_operations == 0
        opened = partition.run(
            partition.steps().aead_decrypt(key, alg, nonce=NONCE, additional_data=additional_data, ciphertext=sealed)
        )
        assert isinstance(opened, Secret)
        assert bytes(opened) == text
        assert partition.open_operations == 0

    @pytest.mark.parametrize("place", [0, len(TEXT), -1])
    def test_what_was_changed_is_refused(self, partition: DrivenPartition, place: int) -> None:
        key = loaded(partition, KeyType.AES, Algorithm.GCM, BOTH_WAYS, KEY)
        sealed = bytearray(AESGCM(KEY).encrypt(NONCE, TEXT, b""))
        sealed[place] ^= 1
        with refused(PsaStatus.INVALID_SIGNATURE):
            partition.run(
                partition.steps().aead_decrypt(
                    key, Algorithm.GCM, nonce=NONCE, additional_data=b"", ciphertext=bytes(sealed)
                )
            )
        assert partition.opcodes[-1] == Op.AEAD_ABORT
        assert partition.open_operations == 0

    def test_what_is_shorter_than_its_tag_begins_nothing(self, partition: DrivenPartition) -> None:
        key = loaded(partition, KeyType.AES, Algorithm.GCM, BOTH_WAYS, KEY)
        with refused(PsaStatus.INVALID_ARGUMENT):
            partition.run(
                partition.steps().aead_decrypt(
                    key, Algorithm.GCM, nonce=NONCE, additional_data=b"", ciphertext=bytes(15)
                )
            )
        assert partition.opcodes == []


def ctr(iv: bytes) -> Cipher[Any]:
    return Cipher(algorithms.AES(KEY), modes.CTR(iv))


def cbc(iv: bytes) -> Cipher[Any]:
    return Cipher(algorithms.AES(KEY), modes.CBC(iv))


def ecb(_iv: bytes) -> Cipher[Any]:
    return Cipher(algorithms.AES(KEY), modes.ECB())


def chacha20(iv: bytes) -> Cipher[Any]:
    return Cipher(algorithms.ChaCha20(KEY, bytes(4) + iv), None)


def padded(text: bytes, alg: Algorithm) -> bytes:
    if alg != Algorithm.CBC_PKCS7:
        return text
    padder = padding.PKCS7(128).padder()
    return padder.update(text) + padder.finalize()


class TestCipher:
    @pytest.mark.parametrize(
        ("key_type", "alg", "other", "iv_bytes", "text"),
        [
            (KeyType.AES, Algorithm.CTR, ctr, 16, TEXT),
            (KeyType.AES, Algorithm.CTR, ctr, 16, b"x"),
            (KeyType.AES, Algorithm.CBC_NO_PADDING, cbc, 16, bytes(512)),
            (KeyType.AES, Algorithm.CBC_PKCS7, cbc, 16, TEXT),
            (KeyType.AES, Algorithm.CBC_PKCS7, cbc, 16, bytes(256)),
            (KeyType.AES, Algorithm.ECB_NO_PADDING, ecb, 0, bytes(range(256))),
            (KeyType.CHACHA20, Algorithm.STREAM_CIPHER, chacha20, 12, TEXT),
        ],
    )
    def test_both_ways(
        self,
        partition: DrivenPartition,
        key_type: KeyType,
        alg: Algorithm,
        other: Callable[[bytes], Cipher[Any]],
        iv_bytes: int,
        text: bytes,
    ) -> None:
        key = loaded(partition, key_type, alg, BOTH_WAYS, KEY)
        encrypted = partition.run(partition.steps().cipher_encrypt(key, alg, text))
        iv, ciphertext = encrypted[:iv_bytes], encrypted[iv_bytes:]
        encryptor = other(iv).encryptor()
        assert ciphertext == encryptor.update(padded(text, alg)) + encryptor.finalize()
        assert (Op.CIPHER_GENERATE_IV in partition.opcodes) is bool(iv_bytes)
        decrypted = partition.run(partition.steps().cipher_decrypt(key, alg, encrypted))
        assert isinstance(decrypted, Secret)
        assert bytes(decrypted) == text
        assert (Op.CIPHER_SET_IV in partition.opcodes) is bool(iv_bytes)
        assert partition.open_operations == 0

    def test_every_encryption_has_an_iv_of_its_own(self, partition: DrivenPartition) -> None:
        key = loaded(partition, KeyType.AES, Algorithm.CTR, BOTH_WAYS, KEY)
        texts = {partition.run(partition.steps().cipher_encrypt(key, Algorithm.CTR, TEXT)) for _ in range(3)}
        assert len(texts) == 3

    def test_what_is_shorter_than_its_iv_begins_nothing(self, partition: DrivenPartition) -> None:
        key = loaded(partition, KeyType.AES, Algorithm.CTR, BOTH_WAYS, KEY)
        with refused(PsaStatus.INVALID_ARGUMENT):
            partition.run(partition.steps().cipher_decrypt(key, Algorithm.CTR, bytes(15)))
        assert partition.opcodes == []

    def test_wrong_padding(self, partition: DrivenPartition) -> None:
        key = loaded(partition, KeyType.AES, Algorithm.CBC_PKCS7, BOTH_WAYS, KEY)
        encryptor = cbc(bytes(16)).encryptor()
        ciphertext = bytes(16) + encryptor.update(bytes(32))
        with refused(PsaStatus.INVALID_PADDING):
            partition.run(partition.steps().cipher_decrypt(key, Algorithm.CBC_PKCS7, ciphertext))
        assert partition.open_operations == 0


class TestMac:
    @pytest.mark.parametrize("text", [b"", b"short", TEXT])
    @pytest.mark.parametrize(("key_type", "alg"), [(KeyType.HMAC, HMAC), (KeyType.AES, Algorithm.CMAC)])
    def test_computed_and_verified(
        self, partition: DrivenPartition, key_type: KeyType, alg: Algorithm, text: bytes
    ) -> None:
        key = loaded(partition, key_type, alg, SIGNS, KEY)
        context = hmac.HMAC(KEY, hashes.SHA256()) if alg == HMAC else cmac.CMAC(algorithms.AES(KEY))
        context.update(text)
        mac = partition.run(partition.steps().mac_compute(key, alg, text))
        assert mac == context.finalize()
        assert partition.open_operations == 0
        partition.run(partition.steps().mac_verify(key, alg, text, mac))
        assert partition.open_operations == 0
        with refused(PsaStatus.INVALID_SIGNATURE):
            partition.run(partition.steps().mac_verify(key, alg, text + b"!", mac))
        assert partition.open_operations == 0


class TestWithoutAKey:
    @pytest.mark.parametrize("text", [b"", b"short", TEXT])
    def test_a_hash(self, partition: DrivenPartition, text: bytes) -> None:
        assert partition.run(partition.steps().hash_compute(Hash.SHA_256, text)) == sha256(text)
        partition.run(partition.steps().hash_compare(Hash.SHA_256, text, sha256(text)))
        assert partition.open_operations == 0
        with refused(PsaStatus.INVALID_SIGNATURE):
            partition.run(partition.steps().hash_compare(Hash.SHA_256, text, sha256(b"another")))
        assert partition.open_operations == 0

    @pytest.mark.parametrize(("size_bytes", "calls"), [(0, 0), (1, 1), (144, 1), (145, 2), (1000, 7)])
    def test_random_bytes(self, partition: DrivenPartition, size_bytes: int, calls: int) -> None:
        found = partition.run(partition.steps().generate_random(size_bytes))
        assert isinstance(found, Secret)
        assert len(found) == size_bytes
        assert partition.opcodes == [Op.GENERATE_RANDOM] * calls
        if size_bytes > 1:
            assert bytes(found) != bytes(partition.run(partition.steps().generate_random(size_bytes)))

    @pytest.mark.parametrize("size_bytes", [0xFFFF, 0x10000])
    def test_no_record_is_longer_than_its_length_can_say(self, size_bytes: int) -> None:
        partition = DrivenPartition(1 << 20)
        assert len(partition.run(partition.steps().generate_random(size_bytes))) == size_bytes
        assert len(partition.calls) == -(-size_bytes // 0xFFFF)


class Several(NamedTuple):
    """An operation of several calls."""

    key_type: KeyType
    alg: Algorithm
    begin: Callable[[TrustedServicesSteps, LoadedKey], Steps[Any]]
    abort: Op


AEAD = {"nonce": NONCE, "additional_data": b"additional"}
SEALED = AESCCM(KEY).encrypt(NONCE, TEXT, b"additional")
CTR_TEXT = bytes(16) + ctr(bytes(16)).encryptor().update(TEXT)
MAC = hmac.HMAC(KEY, hashes.SHA256())
MAC.update(TEXT)
TAG = MAC.finalize()
SEVERAL = {
    "aead_encrypt": Several(
        KeyType.AES,
        Algorithm.CCM,
        lambda steps, key: steps.aead_encrypt(key, Algorithm.CCM, plaintext=TEXT, **AEAD),
        Op.AEAD_ABORT,
    ),
    "aead_decrypt": Several(
        KeyType.AES,
        Algorithm.CCM,
        lambda steps, key: steps.aead_decrypt(key, Algorithm.CCM, ciphertext=SEALED, **AEAD),
        Op.AEAD_ABORT,
    ),
    "cipher_encrypt": Several(
        KeyType.AES,
        Algorithm.CTR,
        lambda steps, key: steps.cipher_encrypt(key, Algorithm.CTR, TEXT),
        Op.CIPHER_ABORT,
    ),
    "cipher_decrypt": Several(
        KeyType.AES,
        Algorithm.CTR,
        lambda steps, key: steps.cipher_decrypt(key, Algorithm.CTR, CTR_TEXT),
        Op.CIPHER_ABORT,
    ),
    "mac_compute": Several(KeyType.HMAC, HMAC, lambda steps, key: steps.mac_compute(key, HMAC, TEXT), Op.MAC_ABORT),
    "mac_verify": Several(KeyType.HMAC, HMAC, lambda steps, key: steps.mac_verify(key, HMAC, TEXT, TAG), Op.MAC_ABORT),
    "hash_compute": Several(
        KeyType.HMAC, HMAC, lambda steps, _key: steps.hash_compute(Hash.SHA_256, TEXT), Op.HASH_ABORT
    ),
    "hash_compare": Several(
        KeyType.HMAC, HMAC, lambda steps, _key: steps.hash_compare(Hash.SHA_256, TEXT, sha256(TEXT)), Op.HASH_ABORT
    ),
}
FAILURES = [
    pytest.param(BackEndAnswer(int(PsaStatus.BAD_STATE)), PsaStatus.BAD_STATE, id="status"),
    pytest.param(BackEndAnswer(-9999), PsaStatus.GENERIC_ERROR, id="unknown status"),
    pytest.param(
        BackEndAnswer(error=PsaError(PsaStatus.COMMUNICATION_FAILURE, "gone")),
        PsaStatus.COMMUNICATION_FAILURE,
        id="gone",
    ),
    pytest.param(
        BackEndAnswer(error=RefusedCallError(PsaStatus.INVALID_ARGUMENT, RpcStatus.INTERNAL.name)),
        PsaStatus.INVALID_ARGUMENT,
        id="refused",
    ),
]


@pytest.mark.parametrize(("answer", "status"), FAILURES)
@pytest.mark.parametrize("name", SEVERAL)
def test_whatever_fails_the_context_is_given_back(name: str, answer: BackEndAnswer, status: PsaStatus) -> None:
    several = SEVERAL[name]
    partition = DrivenPartition(SMALL)
    key = loaded(partition, several.key_type, several.alg, BOTH_WAYS | SIGNS, KEY)
    partition.run(several.begin(partition.steps(), key))
    sound = partition.opcodes
    assert len(sound) >= 4, "an operation of several calls"
    for at in range(1, len(sound)):
        earlier = [None] * sound[:at].count(sound[at])
        partition.instead = {sound[at]: [*earlier, answer]}
        with refused(status):
            partition.run(several.begin(partition.steps(), key))
        assert partition.opcodes == [*sound[: at + 1], several.abort]
        assert partition.open_operations == 0


@pytest.mark.parametrize("name", SEVERAL)
def test_what_was_not_set_up_is_not_aborted(name: str) -> None:
    several = SEVERAL[name]
    partition = DrivenPartition(SMALL)
    key = loaded(partition, several.key_type, several.alg, BOTH_WAYS | SIGNS, KEY)
    partition.run(several.begin(partition.steps(), key))
    first = partition.opcodes[0]
    partition.instead = {first: [BackEndAnswer(int(PsaStatus.INSUFFICIENT_MEMORY))]}
    with refused(PsaStatus.INSUFFICIENT_MEMORY):
        partition.run(several.begin(partition.steps(), key))
    assert partition.opcodes == [first]


@pytest.mark.parametrize("name", SEVERAL)
def test_an_abort_that_fails_hides_not_why(name: str) -> None:
    several = SEVERAL[name]
    partition = DrivenPartition(SMALL)
    key = loaded(partition, several.key_type, several.alg, BOTH_WAYS | SIGNS, KEY)
    partition.run(several.begin(partition.steps(), key))
    last = partition.opcodes[-1]
    gone = BackEndAnswer(error=PsaError(PsaStatus.COMMUNICATION_FAILURE, "gone"))
    partition.instead = {last: [BackEndAnswer(int(PsaStatus.STORAGE_FAILURE))], several.abort: [gone]}
    with refused(PsaStatus.STORAGE_FAILURE):
        partition.run(several.begin(partition.steps(), key))
    assert partition.opcodes[-1] == several.abort


@pytest.mark.parametrize("opcode", [Op.HASH_SETUP, Op.HASH_FINISH])
def test_a_malformed_answer(partition: DrivenPartition, opcode: Op) -> None:
    partition.instead = {opcode: [BackEndAnswer(0, b"\x01")]}
    with refused(PsaStatus.COMMUNICATION_FAILURE):
        partition.run(partition.steps().hash_compute(Hash.SHA_256, TEXT))


def test_a_malformed_signature(partition: DrivenPartition) -> None:
    key = signer(partition)
    partition.instead = {Op.SIGN_HASH: [BackEndAnswer(0, b"\x01")]}
    with refused(PsaStatus.COMMUNICATION_FAILURE):
        partition.run(partition.steps().sign_hash(key, ES256, bytes(32)))


@pytest.mark.parametrize(("answer", "status"), FAILURES)
def test_a_signature_that_fails(partition: DrivenPartition, answer: BackEndAnswer, status: PsaStatus) -> None:
    key = signer(partition)
    partition.instead = {Op.SIGN_HASH: [answer]}
    with refused(status):
        partition.run(partition.steps().sign_hash(key, ES256, bytes(32)))
