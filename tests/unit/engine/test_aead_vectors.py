from __future__ import annotations

from itertools import pairwise

import pytest

from edgeroot import engine
from edgeroot.psa import Algorithm, KeyType, PsaError, PsaStatus
from tests.vectors.keys import imported
from tests.vectors.records import packaged


def check(
    key: engine.EngineKey, alg: Algorithm, *, nonce: bytes, additional_data: bytes, plaintext: bytes, sealed: bytes
) -> None:
    assert key.aead_encrypt(alg, nonce=nonce, additional_data=additional_data, plaintext=plaintext) == sealed
    assert key.aead_decrypt(alg, nonce=nonce, additional_data=additional_data, ciphertext=sealed) == plaintext


@pytest.mark.parametrize("key_bits", [128, 192, 256])
def test_gcm(key_bits: int) -> None:
    """Every tag length, nonces of 8 to 128 bytes, right and wrong tags."""
    seen: set[int] = set()
    failures = 0
    for vector in packaged(f"ciphers/AES/GCM/gcmDecrypt{key_bits}.rsp", "PT", "FAIL", every=31):
        nonce, tag = bytes.fromhex(vector["iv"]), bytes.fromhex(vector["tag"])
        if len(nonce) < 8:
            continue
        key = imported(KeyType.AES, bytes.fromhex(vector["key"]))
        alg = Algorithm.GCM.with_tag_length(len(tag))
        additional_data, sealed = bytes.fromhex(vector["aad"]), bytes.fromhex(vector["ct"]) + tag
        if vector["last"] == "fail":
            failures += 1
            with pytest.raises(PsaError) as caught:
                key.aead_decrypt(alg, nonce=nonce, additional_data=additional_data, ciphertext=sealed)
            assert caught.value.status is PsaStatus.INVALID_SIGNATURE
        else:
            plaintext = bytes.fromhex(vector["pt"])
            check(key, alg, nonce=nonce, additional_data=additional_data, plaintext=plaintext, sealed=sealed)
            seen.add(len(tag))
    assert seen == {4, 8, 12, 13, 14, 15, 16}
    assert failures


@pytest.mark.parametrize("key_bits", [128, 192, 256])
def test_ccm(key_bits: int) -> None:
    seen: set[int] = set()
    for vector in packaged(f"ciphers/AES/CCM/VTT{key_bits}.rsp", "CT", every=3):
        tag_bytes = int(vector["tlen"])
        seen.add(tag_bytes)
        check(
            imported(KeyType.AES, bytes.fromhex(vector["key"])),
            Algorithm.CCM.with_tag_length(tag_bytes),
            nonce=bytes.fromhex(vector["nonce"]),
            additional_data=bytes.fromhex(vector["adata"]),
            plaintext=bytes.fromhex(vector["payload"])[: int(vector["plen"])],
            sealed=bytes.fromhex(vector["ct"]),
        )
    assert seen == {4, 6, 8, 10, 12, 14, 16}


def test_ccm_nonce_lengths() -> None:
    seen: set[int] = set()
    for vector in packaged("ciphers/AES/CCM/VNT128.rsp", "CT"):
        nonce = bytes.fromhex(vector["nonce"])
        seen.add(len(nonce))
        key = imported(KeyType.AES, bytes.fromhex(vector["key"]))
        additional_data, plaintext = bytes.fromhex(vector["adata"]), bytes.fromhex(vector["payload"])
        sealed = bytes.fromhex(vector["ct"])
        check(key, Algorithm.CCM, nonce=nonce, additional_data=additional_data, plaintext=plaintext, sealed=sealed)
    assert seen == set(range(7, 14))


def test_chacha20_poly1305() -> None:
    vectors = packaged("ciphers/ChaCha20Poly1305/openssl.txt", "CIPHERTEXT", "RESULT")
    # What should fail is followed by a line that says so.
    right = [v for v, following in pairwise([*vectors, {"last": ""}]) if "result" not in (v["last"], following["last"])]
    assert right
    for vector in right:
        check(
            imported(KeyType.CHACHA20, bytes.fromhex(vector["key"])),
            Algorithm.CHACHA20_POLY1305,
            nonce=bytes.fromhex(vector["iv"]),
            additional_data=bytes.fromhex(vector["aad"]),
            plaintext=bytes.fromhex(vector["plaintext"]),
            sealed=bytes.fromhex(vector["ciphertext"]) + bytes.fromhex(vector["tag"]),
        )


@pytest.mark.parametrize(
    ("key_type", "key_bits", "alg", "nonce_bytes", "status"),
    [
        (KeyType.AES, 128, Algorithm.GCM, 0, "INVALID_ARGUMENT"),
        (KeyType.AES, 128, Algorithm.GCM, 7, "NOT_SUPPORTED"),
        (KeyType.AES, 128, Algorithm.GCM, 129, "NOT_SUPPORTED"),
        (KeyType.AES, 128, Algorithm.GCM.with_tag_length(5), 12, "INVALID_ARGUMENT"),
        (KeyType.AES, 512, Algorithm.GCM, 12, "INVALID_ARGUMENT"),
        (KeyType.AES, 128, Algorithm.CCM, 6, "INVALID_ARGUMENT"),
        (KeyType.AES, 128, Algorithm.CCM, 14, "INVALID_ARGUMENT"),
        (KeyType.AES, 128, Algorithm.CHACHA20_POLY1305, 12, "INVALID_ARGUMENT"),
        (KeyType.CHACHA20, 256, Algorithm.CHACHA20_POLY1305, 8, "INVALID_ARGUMENT"),
        (KeyType.CHACHA20, 256, Algorithm.GCM, 12, "INVALID_ARGUMENT"),
        (KeyType.CAMELLIA, 128, Algorithm.GCM, 12, "NOT_SUPPORTED"),
        (KeyType.DES, 192, Algorithm.GCM, 12, "INVALID_ARGUMENT"),
        (KeyType.RAW_DATA, 128, Algorithm.GCM, 12, "INVALID_ARGUMENT"),
    ],
)
def test_refused(key_type: KeyType, key_bits: int, alg: Algorithm, nonce_bytes: int, status: str) -> None:
    key = imported(key_type, bytes(range(key_bits // 8)))
    with pytest.raises(PsaError) as caught:
        key.aead_encrypt(alg, nonce=bytes(nonce_bytes), additional_data=b"", plaintext=b"")
    assert caught.value.status is PsaStatus[status]


def test_text_too_long_for_the_nonce() -> None:
    key = imported(KeyType.AES, bytes(16))
    assert len(key.aead_encrypt(Algorithm.CCM, nonce=bytes(13), additional_data=b"", plaintext=bytes(65535))) == 65551
    with pytest.raises(PsaError) as caught:
        key.aead_encrypt(Algorithm.CCM, nonce=bytes(13), additional_data=b"", plaintext=bytes(65536))
    assert caught.value.status is PsaStatus.INVALID_ARGUMENT
