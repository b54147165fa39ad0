"""AES's modes over single blocks, against the package `cryptography` and published vectors."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
from cryptography.hazmat.primitives.cmac import CMAC

from edgeroot import engine
from edgeroot.providers.secure_element.modes import CCM_TAG_BYTES, CIPHERS, GCM_TAG_BYTES, Aes
from edgeroot.psa import Algorithm, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags
from edgeroot.testing.atecc.chip import multiplied

KEY = bytes(range(16))


def aes(key: bytes = KEY) -> Aes:
    cipher = Cipher(algorithms.AES(key), modes.ECB())
    return Aes(
        lambda block: cipher.encryptor().update(block), lambda block: cipher.decryptor().update(block), multiplied
    )


@pytest.mark.parametrize("alg", sorted(CIPHERS), ids=repr)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 32, 100])
def test_ciphers_are_those_of_software(alg: Algorithm, size: int) -> None:
    plaintext = os.urandom(size)
    software = engine.load(KeyAttributes(KeyType.AES, 128, UsageFlags.ENCRYPT | UsageFlags.DECRYPT, alg), Secret(KEY))
    if size % 16 and alg in (Algorithm.ECB_NO_PADDING, Algorithm.CBC_NO_PADDING):
        with pytest.raises(PsaError) as raised:
            aes().encrypt(alg, plaintext, lambda: bytes(16))
        assert raised.value.status is PsaStatus.INVALID_ARGUMENT
        return
    ours = aes().encrypt(alg, plaintext, lambda: os.urandom(16))
    assert software.cipher_decrypt(alg, ours) == plaintext
    assert aes().decrypt(alg, software.cipher_encrypt(alg, plaintext)) == plaintext


def test_a_counter_begins_anew_behind_its_end() -> None:
    iv = b"\xff" * 16
    expected = Cipher(algorithms.AES(KEY), modes.CTR(iv)).encryptor().update(bytes(48))
    assert aes().encrypt(Algorithm.CTR, bytes(48), lambda: iv) == iv + expected


@pytest.mark.parametrize("padded", [bytes(16), b"\x11" * 16, b"a" * 14 + b"\x01\x02", b""])
def test_a_padding_that_is_none(padded: bytes) -> None:
    ciphertext = aes().encrypt(Algorithm.CBC_NO_PADDING, padded, lambda: bytes(16))
    with pytest.raises(PsaError) as raised:
        aes().decrypt(Algorithm.CBC_PKCS7, ciphertext)
    assert raised.value.status is PsaStatus.INVALID_PADDING


@pytest.mark.parametrize("alg", sorted(CIPHERS - {Algorithm.ECB_NO_PADDING}), ids=repr)
def test_a_ciphertext_without_its_iv(alg: Algorithm) -> None:
    with pytest.raises(PsaError) as raised:
        aes().decrypt(alg, bytes(15))
    assert raised.value.status is PsaStatus.INVALID_ARGUMENT


@pytest.mark.parametrize("nonce_bytes", [8, 12, 13, 16, 60])
@pytest.mark.parametrize(("size", "header"), [(0, 0), (1, 0), (16, 16), (40, 20)])
def test_gcm(nonce_bytes: int, size: int, header: int) -> None:
    nonce, plaintext, additional = os.urandom(nonce_bytes), os.urandom(size), os.urandom(header)
    sealed = AESGCM(KEY).encrypt(nonce, plaintext, additional)
    for tag_bytes in GCM_TAG_BYTES:
        alg = Algorithm.GCM.with_tag_length(tag_bytes)
        expected = sealed[: size + tag_bytes]
        assert aes().seal(alg, nonce, additional, plaintext) == expected
        assert aes().unseal(alg, nonce, additional, expected) == plaintext


def inverse(block: bytes) -> bytes:
    """In GCM's field, whose multiplicative group has 2**128 - 1 elements."""
    power, result = block, b"\x80" + bytes(15)
    for _ in range(127):
        power = multiplied(power, power)
        result = multiplied(result, power)
    return result


def test_gcms_counter_begins_anew_within_its_four_bytes() -> None:
    """A nonce of 16 bytes whose hash, the first counter block, ends with the largest number: computed backwards."""
    subkey = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor().update(bytes(16))
    back = inverse(subkey)
    assert multiplied(subkey, back) == b"\x80" + bytes(15)
    first = bytes(range(12)) + b"\xff\xff\xff\xff"
    hashed = int.from_bytes(multiplied(first, back), "big") ^ 128
    nonce = multiplied(hashed.to_bytes(16, "big"), back)
    sealed = aes().seal(Algorithm.GCM, nonce, b"", bytes(40))
    counted = Cipher(algorithms.AES(KEY), modes.ECB()).encryptor()
    assert sealed[:16] == counted.update(bytes(range(12)) + bytes(4))
    assert sealed == AESGCM(KEY).encrypt(nonce, bytes(40), b"")


@pytest.mark.parametrize("nonce_bytes", [7, 11, 13])
@pytest.mark.parametrize(("size", "header"), [(0, 0), (1, 0), (16, 14), (40, 20), (5, 0xFF00)])
def test_ccm(nonce_bytes: int, size: int, header: int) -> None:
    nonce, plaintext, additional = os.urandom(nonce_bytes), os.urandom(size), os.urandom(header)
    for tag_bytes in CCM_TAG_BYTES:
        alg = Algorithm.CCM.with_tag_length(tag_bytes)
        expected = AESCCM(KEY, tag_bytes).encrypt(nonce, plaintext, additional)
        assert aes().seal(alg, nonce, additional, plaintext) == expected
        assert aes().unseal(alg, nonce, additional, expected) == plaintext


@pytest.mark.parametrize(("alg", "nonce"), [(Algorithm.GCM, bytes(12)), (Algorithm.CCM, bytes(13))])
def test_nothing_comes_out_whose_tag_is_wrong(alg: Algorithm, nonce: bytes) -> None:
    sealed = aes().seal(alg, nonce, b"header", b"plain")
    for wrong in (bytes([sealed[0] ^ 1]) + sealed[1:], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(PsaError) as raised:
            aes().unseal(alg, nonce, b"header", wrong)
        assert raised.value.status is PsaStatus.INVALID_SIGNATURE
    with pytest.raises(PsaError) as raised:
        aes().unseal(alg, nonce, b"another", sealed)
    assert raised.value.status is PsaStatus.INVALID_SIGNATURE


@pytest.mark.parametrize(
    ("alg", "nonce", "size"),
    [
        (Algorithm.GCM, bytes(7), 0),
        (Algorithm.GCM, bytes(129), 0),
        (Algorithm.CCM, bytes(6), 0),
        (Algorithm.CCM, bytes(14), 0),
        (Algorithm.CCM, bytes(13), 1 << 16),
    ],
)
def test_nonces_and_texts_of_lengths_that_there_are_not(alg: Algorithm, nonce: bytes, size: int) -> None:
    with pytest.raises(PsaError) as raised:
        aes().seal(alg, nonce, b"", bytes(size))
    assert raised.value.status is PsaStatus.INVALID_ARGUMENT


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 32, 40, 64])
def test_cmac(size: int) -> None:
    for _ in range(8):  # the subkeys are reduced for some keys and not for others
        key, data = os.urandom(16), os.urandom(size)
        expected = CMAC(algorithms.AES(key))
        expected.update(data)
        assert aes(key).cmac(data) == expected.finalize()
