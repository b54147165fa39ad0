"""AES's modes by Microchip's library over an emulated ATECC608A: published vectors, and the package `cryptography`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.cmac import CMAC

from edgeroot import engine
from edgeroot.element import aes
from edgeroot.element.errors import AtcaError
from edgeroot.element.native.library import LibraryElement
from edgeroot.psa import Algorithm, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags
from edgeroot.testing.atecc import Bus, Model
from tests.support.secure_element import element, on_a_bus, personalised
from tests.vectors.records import packaged

KEY = bytes(range(16))
SLOT = 6
AES = 0x51


@pytest.fixture
def bus() -> Iterator[Bus]:
    with on_a_bus(personalised(Model.ATECC608A)) as made:
        yield made


@pytest.fixture
def se(bus: Bus) -> Iterator[LibraryElement]:
    del bus
    opened = element(Model.ATECC608A)
    give(opened, KEY)
    yield opened
    opened.close()


def give(se: LibraryElement, key: bytes) -> None:
    se.write(SLOT, key + bytes(16), None)


def refused(status: PsaStatus, call: Callable[[], object]) -> None:
    with pytest.raises(PsaError) as raised:
        call()
    assert raised.value.status is status


def unhexed(vector: dict[str, str], *names: str) -> Iterator[bytes]:
    return (bytes.fromhex(vector[name]) for name in names)


def test_ecb_has_the_published_results(se: LibraryElement) -> None:
    vectors = packaged("ciphers/AES/ECB/ECBMMT128.rsp", "PLAINTEXT", "CIPHERTEXT")
    seen = 0
    for vector in vectors:
        if not {"plaintext", "ciphertext"} <= vector.keys() or vector["last"] != (
            "ciphertext" if vector["section"] == "ENCRYPT" else "plaintext"
        ):
            continue
        key, plaintext, ciphertext = unhexed(vector, "key", "plaintext", "ciphertext")
        give(se, key)
        assert aes.encrypt(se, SLOT, Algorithm.ECB_NO_PADDING, plaintext) == ciphertext
        assert aes.decrypt(se, SLOT, Algorithm.ECB_NO_PADDING, ciphertext) == plaintext
        seen += 1
    assert seen == 20


@pytest.mark.parametrize("name", ["CBCMMT128", "CBCGFSbox128", "CBCKeySbox128"])
def test_cbc_has_the_published_results(se: LibraryElement, name: str) -> None:
    vectors = [v for v in packaged(f"ciphers/AES/CBC/{name}.rsp", "CIPHERTEXT") if v["section"] == "ENCRYPT"]
    assert len(vectors) > 5
    for vector in vectors:
        key, iv, plaintext, ciphertext = unhexed(vector, "key", "iv", "plaintext", "ciphertext")
        give(se, key)
        assert se.cbc_encrypt(SLOT, iv, plaintext, pads=False) == ciphertext
        assert aes.decrypt(se, SLOT, Algorithm.CBC_NO_PADDING, iv + ciphertext) == plaintext


def test_ctr_has_the_published_results(se: LibraryElement) -> None:
    vectors = packaged("ciphers/AES/CTR/aes-128-ctr.txt", "CIPHERTEXT")
    assert len(vectors) == 3
    for vector in vectors:
        key, iv, plaintext, ciphertext = unhexed(vector, "key", "iv", "plaintext", "ciphertext")
        give(se, key)
        assert se.ctr(SLOT, iv, plaintext) == ciphertext
        assert aes.decrypt(se, SLOT, Algorithm.CTR, iv + ciphertext) == plaintext


def test_cmac_has_the_published_results(se: LibraryElement) -> None:
    vectors = packaged("CMAC/nist-800-38b-aes128.txt", "OUTPUT")
    assert len(vectors) == 4
    for vector in vectors:
        key, message, mac = unhexed(vector, "key", "message", "output")
        give(se, key)
        assert se.cmac(SLOT, message) == mac


def test_gcm_has_the_published_results(se: LibraryElement) -> None:
    """Every 67th of NIST's, whose nonces have 8, 96 or 1024 bits; those with tags that the library makes."""
    seen = set()
    for vector in packaged("ciphers/AES/GCM/gcmEncryptExtIV128.rsp", "Tag", every=67):
        key, nonce, plaintext, additional, ciphertext, tag = unhexed(vector, "key", "iv", "pt", "aad", "ct", "tag")
        if len(tag) not in aes.GCM_TAG_BYTES or not 8 <= len(nonce) <= 128:
            continue
        give(se, key)
        alg = Algorithm.GCM.with_tag_length(len(tag))
        sealed = aes.seal(se, SLOT, alg, nonce=nonce, additional_data=additional, plaintext=plaintext)
        assert sealed == ciphertext + tag
        assert aes.unseal(se, SLOT, alg, nonce=nonce, additional_data=additional, sealed=sealed) == plaintext
        seen.add((len(nonce), len(tag), bool(plaintext), bool(additional)))
    assert {tag_bytes for _, tag_bytes, _, _ in seen} == set(aes.GCM_TAG_BYTES)
    assert {nonce_bytes for nonce_bytes, _, _, _ in seen} == {12, 128}


def test_gcm_refuses_what_nist_says_is_forged(se: LibraryElement) -> None:
    forged = 0
    for vector in packaged("ciphers/AES/GCM/gcmDecrypt128.rsp", "PT", "FAIL", every=61):
        if vector["last"] != "fail" or int(vector["taglen"]) // 8 not in aes.GCM_TAG_BYTES or vector["ivlen"] == "8":
            continue
        key, nonce, additional, ciphertext, tag = unhexed(vector, "key", "iv", "aad", "ct", "tag")
        give(se, key)
        assert se.gcm_decrypt(SLOT, nonce, additional, ciphertext, tag) is None
        forged += 1
    assert forged > 10


@pytest.mark.parametrize("alg", sorted(aes.CIPHERS), ids=repr)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 32, 100])
def test_ciphers_are_those_of_software(se: LibraryElement, alg: Algorithm, size: int) -> None:
    plaintext = os.urandom(size)
    if size % 16 and alg in (Algorithm.ECB_NO_PADDING, Algorithm.CBC_NO_PADDING):
        refused(PsaStatus.INVALID_ARGUMENT, lambda: aes.encrypt(se, SLOT, alg, plaintext))
        refused(PsaStatus.INVALID_ARGUMENT, lambda: aes.decrypt(se, SLOT, alg, bytes(16) + plaintext))
        return
    software = engine.load(KeyAttributes(KeyType.AES, 128, UsageFlags.ENCRYPT | UsageFlags.DECRYPT, alg), Secret(KEY))
    assert software.cipher_decrypt(alg, aes.encrypt(se, SLOT, alg, plaintext)) == plaintext
    assert aes.decrypt(se, SLOT, alg, software.cipher_encrypt(alg, plaintext)) == plaintext


def test_a_counter_begins_anew_behind_its_end(se: LibraryElement) -> None:
    iv = b"\xff" * 16
    expected = Cipher(algorithms.AES(KEY), modes.CTR(iv)).encryptor().update(bytes(48))
    assert se.ctr(SLOT, iv, bytes(48)) == expected


@pytest.mark.parametrize("padded", [bytes(16), b"\x11" * 16, b"a" * 14 + b"\x01\x02", b"a" * 31 + b"\x20", b""])
def test_a_padding_that_is_none(se: LibraryElement, padded: bytes) -> None:
    ciphertext = aes.encrypt(se, SLOT, Algorithm.CBC_NO_PADDING, padded)
    refused(PsaStatus.INVALID_PADDING, lambda: aes.decrypt(se, SLOT, Algorithm.CBC_PKCS7, ciphertext))


@pytest.mark.parametrize("alg", sorted(aes.CIPHERS - {Algorithm.ECB_NO_PADDING}), ids=repr)
def test_a_ciphertext_without_its_iv(se: LibraryElement, alg: Algorithm) -> None:
    refused(PsaStatus.INVALID_ARGUMENT, lambda: aes.decrypt(se, SLOT, alg, bytes(15)))


@pytest.mark.parametrize("nonce_bytes", [8, 12, 13, 16, 60])
@pytest.mark.parametrize(("size", "header"), [(0, 0), (1, 0), (16, 16), (40, 20)])
def test_gcm(se: LibraryElement, nonce_bytes: int, size: int, header: int) -> None:
    nonce, plaintext, additional = os.urandom(nonce_bytes), os.urandom(size), os.urandom(header)
    sealed = AESGCM(KEY).encrypt(nonce, plaintext, additional)
    for tag_bytes in aes.GCM_TAG_BYTES:
        alg = Algorithm.GCM.with_tag_length(tag_bytes)
        expected = sealed[: size + tag_bytes]
        assert aes.seal(se, SLOT, alg, nonce=nonce, additional_data=additional, plaintext=plaintext) == expected
        assert aes.unseal(se, SLOT, alg, nonce=nonce, additional_data=additional, sealed=expected) == plaintext


def test_nothing_comes_out_whose_tag_is_wrong(se: LibraryElement) -> None:
    nonce = bytes(12)

    def unseal(sealed: bytes, additional: bytes) -> Secret:
        return aes.unseal(se, SLOT, Algorithm.GCM, nonce=nonce, additional_data=additional, sealed=sealed)

    sealed = aes.seal(se, SLOT, Algorithm.GCM, nonce=nonce, additional_data=b"header", plaintext=b"plain")
    assert unseal(sealed, b"header") == b"plain"
    refused(PsaStatus.INVALID_SIGNATURE, lambda: unseal(bytes([sealed[0] ^ 1]) + sealed[1:], b"header"))
    refused(PsaStatus.INVALID_SIGNATURE, lambda: unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), b"header"))
    refused(PsaStatus.INVALID_SIGNATURE, lambda: unseal(sealed, b"another"))
    refused(PsaStatus.INVALID_ARGUMENT, lambda: unseal(bytes(15), b"header"))


@pytest.mark.parametrize("nonce_bytes", [0, 7, 129])
def test_nonces_of_lengths_that_are_not_taken(se: LibraryElement, nonce_bytes: int) -> None:
    nonce = bytes(nonce_bytes)
    seal, unseal = aes.seal, aes.unseal
    refused(
        PsaStatus.INVALID_ARGUMENT,
        lambda: seal(se, SLOT, Algorithm.GCM, nonce=nonce, additional_data=b"", plaintext=b""),
    )
    refused(
        PsaStatus.INVALID_ARGUMENT,
        lambda: unseal(se, SLOT, Algorithm.GCM, nonce=nonce, additional_data=b"", sealed=bytes(16)),
    )


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 32, 40, 64])
def test_cmac(se: LibraryElement, size: int) -> None:
    for _ in range(8):  # the subkeys are reduced for some keys and not for others
        key, data = os.urandom(16), os.urandom(size)
        give(se, key)
        expected = CMAC(algorithms.AES(key))
        expected.update(data)
        assert se.cmac(SLOT, data) == expected.finalize()


OPERATIONS: dict[str, Callable[[LibraryElement], object]] = {
    "ecb": lambda se: aes.encrypt(se, SLOT, Algorithm.ECB_NO_PADDING, bytes(64)),
    "ctr": lambda se: aes.encrypt(se, SLOT, Algorithm.CTR, bytes(64)),
    "cbc": lambda se: aes.encrypt(se, SLOT, Algorithm.CBC_PKCS7, bytes(64)),
    "cbc, decrypted": lambda se: aes.decrypt(se, SLOT, Algorithm.CBC_NO_PADDING, bytes(64)),
    "cmac": lambda se: se.cmac(SLOT, bytes(64)),
    "gcm": lambda se: se.gcm_encrypt(SLOT, bytes(16), bytes(20), bytes(64), 16),
    "gcm, decrypted": lambda se: se.gcm_decrypt(SLOT, bytes(16), bytes(20), bytes(64), bytes(16)),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_no_refusal_on_the_way_is_overlooked(
    se: LibraryElement, bus: Bus, operation: Callable[[LibraryElement], object]
) -> None:
    """The element, or whoever is on its bus, refuses one block among those that an operation takes."""
    refusal = bytes.fromhex("040f2342")  # how long, ATCA_EXECUTION_ERROR, and a CRC
    count, refused_block = 0, 0
    is_block = False

    def on_write(data: bytes) -> bytes:
        nonlocal count, is_block
        if data[:1] == b"\x03":
            is_block = data[2] == AES
            count += is_block
        return data

    def on_read(data: bytes) -> bytes:
        if not is_block or count != refused_block:
            return data
        return refusal[:1] if len(data) == 1 else refusal[1:]  # first how long it is, then the rest

    bus.on_write, bus.on_read = on_write, on_read
    operation(se)
    blocks = count
    assert blocks >= 3
    for number in range(1, blocks + 1):
        count, refused_block = 0, number
        with pytest.raises(AtcaError) as raised:
            operation(se)
        assert raised.value.status is PsaStatus.NOT_PERMITTED
