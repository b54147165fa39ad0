from __future__ import annotations

from collections.abc import Iterator

import cryptography_vectors
import pytest

from edgeroot import engine
from edgeroot.psa import Algorithm, KeyType, PsaError, PsaStatus
from tests.vectors.keys import imported
from tests.vectors.records import own, packaged

SIZES = (128, 192, 256)
AES = [
    *((Algorithm.ECB_NO_PADDING, f"AES/ECB/ECBMMT{bits}.rsp") for bits in SIZES),
    *((Algorithm.CBC_NO_PADDING, f"AES/CBC/CBCMMT{bits}.rsp") for bits in SIZES),
    *((Algorithm.CFB, f"AES/CFB/CFB128MMT{bits}.rsp") for bits in SIZES),
    *((Algorithm.OFB, f"AES/OFB/OFBMMT{bits}.rsp") for bits in SIZES),
    *((Algorithm.CTR, f"AES/CTR/aes-{bits}-ctr.txt") for bits in SIZES),
]
CAMELLIA = [
    (Algorithm.CBC_NO_PADDING, "Camellia/camellia-cbc.txt"),
    (Algorithm.CFB, "Camellia/camellia-cfb.txt"),
    (Algorithm.OFB, "Camellia/camellia-ofb.txt"),
]
DES = [
    *((Algorithm.ECB_NO_PADDING, f"3DES/ECB/TECBMMT{keys}.rsp") for keys in (2, 3)),
    *((Algorithm.CBC_NO_PADDING, f"3DES/CBC/TCBCMMT{keys}.rsp") for keys in (2, 3)),
    *((Algorithm.CFB, f"3DES/CFB/TCFB64MMT{keys}.rsp") for keys in (2, 3)),
    *((Algorithm.OFB, f"3DES/OFB/TOFBMMT{keys}.rsp") for keys in (2, 3)),
    (Algorithm.ECB_NO_PADDING, "3DES/ECB/TECBvarkey.rsp"),
]
FILES = [
    *((KeyType.AES, *entry) for entry in AES),
    *((KeyType.CAMELLIA, *entry) for entry in CAMELLIA),
    *((KeyType.DES, *entry) for entry in DES),
]


def key_of(vector: dict[str, str]) -> bytes:
    """NIST writes DES keys in parts; where the third repeats the first, PSA has a key of 128 bits."""
    if "key1" in vector:
        parts = [bytes.fromhex(vector[f"key{number}"]) for number in (1, 2, 3)]
        return b"".join(parts[:2] if parts[2] == parts[0] else parts)
    return bytes.fromhex(vector.get("keys", vector.get("key", "")))


def block_cipher_vectors(name: str) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
    """Key, IV, plaintext and ciphertext of the encryptions in a file."""
    for vector in packaged(f"ciphers/{name}", "CIPHERTEXT"):
        if vector["section"] == "ENCRYPT":
            texts = (bytes.fromhex(vector["plaintext"]), bytes.fromhex(vector["ciphertext"]))
            yield key_of(vector), bytes.fromhex(vector.get("iv", "")), *texts


def check(key: engine.EngineKey, alg: Algorithm, iv: bytes, plaintext: bytes, ciphertext: bytes) -> None:
    """Decrypts the vector, which begins with its own IV, and what was encrypted under an IV of the engine's choice."""
    assert key.cipher_decrypt(alg, iv + ciphertext) == plaintext
    encrypted = key.cipher_encrypt(alg, plaintext)
    assert len(encrypted) == len(iv) + len(ciphertext)
    assert key.cipher_decrypt(alg, encrypted) == plaintext
    if not iv:
        assert encrypted == ciphertext


@pytest.mark.parametrize(("key_type", "alg", "name"), FILES, ids=str)
def test_block_cipher(key_type: KeyType, alg: Algorithm, name: str) -> None:
    vectors = list(block_cipher_vectors(name))
    assert vectors
    for material, iv, plaintext, ciphertext in vectors:
        check(imported(key_type, material), alg, iv, plaintext, ciphertext)


def camellia_ecb(key_bits: int) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Key, plaintext and ciphertext from the designers' own list, ``K No.001 : 00 11 ...``."""
    state: dict[str, bytes] = {}
    with cryptography_vectors.open_vector_file(f"ciphers/Camellia/camellia-{key_bits}-ecb.txt", "r") as file:
        for line in file:
            if line[:1] in ("K", "P", "C") and " : " in line:
                state[line[0]] = bytes.fromhex(line.split(" : ")[1])
                if line[0] == "C":
                    yield state["K"], state["P"], state["C"]


@pytest.mark.parametrize("key_bits", SIZES)
def test_camellia_ecb(key_bits: int) -> None:
    vectors = list(camellia_ecb(key_bits))[::25]
    assert vectors
    for material, plaintext, ciphertext in vectors:
        check(imported(KeyType.CAMELLIA, material), Algorithm.ECB_NO_PADDING, b"", plaintext, ciphertext)


@pytest.mark.parametrize("key_bits", [128, 256])
def test_xts(key_bits: int) -> None:
    vectors = packaged(f"ciphers/AES/XTS/tweak-128hexstr/XTSGenAES{key_bits}.rsp", "CT", every=20)
    whole_bytes = [v for v in vectors if v["section"] == "ENCRYPT" and int(v["dataunitlen"]) % 8 == 0]
    assert whole_bytes
    for vector in whole_bytes:
        iv, plaintext, ciphertext = (bytes.fromhex(vector[name]) for name in ("i", "pt", "ct"))
        key = imported(KeyType.AES, bytes.fromhex(vector["key"]), 2 * key_bits)
        check(key, Algorithm.XTS, iv, plaintext, ciphertext)


def test_chacha20() -> None:
    from_zero = [
        v for v in packaged("ciphers/ChaCha20/rfc7539.txt", "CIPHERTEXT") if int(v["initial_block_counter"]) == 0
    ]
    assert from_zero
    for vector in from_zero:
        key = imported(KeyType.CHACHA20, bytes.fromhex(vector["key"]))
        texts = (bytes.fromhex(vector["plaintext"]), bytes.fromhex(vector["ciphertext"]))
        check(key, Algorithm.STREAM_CIPHER, bytes.fromhex(vector["nonce"]), *texts)


@pytest.mark.parametrize("name", ["rfc-6229-40", "rfc-6229-128", "rfc-6229-256", "arc4"])
def test_arc4(name: str) -> None:
    for vector in packaged(f"ciphers/ARC4/{name}.txt", "CIPHERTEXT"):
        key = imported(KeyType.ARC4, bytes.fromhex(vector["key"]))
        offset, ciphertext = int(vector["offset"]), bytes.fromhex(vector["ciphertext"])
        stream = key.cipher_encrypt(Algorithm.STREAM_CIPHER, bytes(offset + len(ciphertext)))
        assert stream[offset:] == ciphertext


@pytest.mark.parametrize("length_bytes", range(33))
def test_pkcs7_adds_what_rfc_5652_says(length_bytes: int) -> None:
    key = imported(KeyType.AES, bytes(range(16)))
    plaintext = bytes(length_bytes)
    count = 16 - length_bytes % 16
    encrypted = key.cipher_encrypt(Algorithm.CBC_PKCS7, plaintext)
    assert key.cipher_decrypt(Algorithm.CBC_NO_PADDING, encrypted) == plaintext + bytes([count]) * count
    assert key.cipher_decrypt(Algorithm.CBC_PKCS7, encrypted) == plaintext


def test_wrong_padding() -> None:
    key = imported(KeyType.AES, bytes(range(16)))
    encrypted = key.cipher_encrypt(Algorithm.CBC_NO_PADDING, bytes(16))
    with pytest.raises(PsaError) as caught:
        key.cipher_decrypt(Algorithm.CBC_PKCS7, encrypted)
    assert caught.value.status is PsaStatus.INVALID_PADDING


@pytest.mark.parametrize(
    ("key_type", "key_bits", "alg", "status"),
    [
        (KeyType.AES, 128, Algorithm.XTS, "INVALID_ARGUMENT"),
        (KeyType.AES, 512, Algorithm.CTR, "INVALID_ARGUMENT"),
        (KeyType.AES, 128, Algorithm.STREAM_CIPHER, "INVALID_ARGUMENT"),
        (KeyType.CHACHA20, 256, Algorithm.CTR, "INVALID_ARGUMENT"),
        (KeyType.CAMELLIA, 128, Algorithm.CTR, "NOT_SUPPORTED"),
        (KeyType.DES, 192, Algorithm.CTR, "NOT_SUPPORTED"),
        (KeyType.HMAC, 128, Algorithm.CTR, "INVALID_ARGUMENT"),
        (KeyType.RAW_DATA, 128, Algorithm.CTR, "INVALID_ARGUMENT"),
    ],
)
def test_key_and_algorithm_that_do_not_fit(key_type: KeyType, key_bits: int, alg: Algorithm, status: str) -> None:
    key = imported(key_type, bytes(range(key_bits // 8)))
    for call in (key.cipher_encrypt, key.cipher_decrypt):
        with pytest.raises(PsaError) as caught:
            call(alg, bytes(64))
        assert caught.value.status is PsaStatus[status]


def test_xts_refuses_a_key_of_equal_halves_and_less_than_a_block() -> None:
    for material, text in ((bytes(32), bytes(16)), (bytes(range(32)), bytes(15))):
        key = imported(KeyType.AES, material)
        with pytest.raises(PsaError) as caught:
            key.cipher_encrypt(Algorithm.XTS, text)
        assert caught.value.status is PsaStatus.INVALID_ARGUMENT


# MACs of block ciphers


@pytest.mark.parametrize("key_bits", SIZES)
def test_aes_cmac(key_bits: int) -> None:
    for vector in packaged(f"CMAC/nist-800-38b-aes{key_bits}.txt", "OUTPUT"):
        key, expected = imported(KeyType.AES, bytes.fromhex(vector["key"])), bytes.fromhex(vector["output"])
        message = bytes.fromhex(vector["message"])
        assert key.mac_compute(Algorithm.CMAC, message) == expected
        assert key.mac_compute(Algorithm.CMAC.truncated_mac(5), message) == expected[:5]


def test_des_cmac() -> None:
    for vector in packaged("CMAC/nist-800-38b-3des.txt", "OUTPUT"):
        key = imported(KeyType.DES, key_of(vector))
        assert key.mac_compute(Algorithm.CMAC, bytes.fromhex(vector["message"])).hex() == vector["output"]


def test_camellia_cmac() -> None:
    for vector in own("camellia_cmac.txt", "Tag"):
        key = imported(KeyType.CAMELLIA, bytes.fromhex(vector["key"]))
        assert key.mac_compute(Algorithm.CMAC, bytes.fromhex(vector["msg"])).hex() == vector["tag"]


def test_cbc_mac_of_fips_113() -> None:
    key = imported(KeyType.DES, bytes.fromhex("0123456789abcdef"))
    mac = key.mac_compute(Algorithm.CBC_MAC, b"7654321 Now is the time for ")
    assert mac.hex() == "f1d30f6849312ca4"


@pytest.mark.parametrize(("key_type", "alg", "name"), [e for e in FILES if e[1] == Algorithm.CBC_NO_PADDING])
def test_cbc_mac_is_the_last_block_of_cbc(key_type: KeyType, alg: Algorithm, name: str) -> None:
    for material, iv, plaintext, ciphertext in block_cipher_vectors(name):
        # CBC with an IV is CBC from zero with the IV in the first block.
        head = bytes(a ^ b for a, b in zip(iv, plaintext, strict=False))
        mac = imported(key_type, material).mac_compute(Algorithm.CBC_MAC, head + plaintext[len(iv) :])
        assert mac == ciphertext[-len(iv) :]


def test_cbc_mac_of_nothing_is_that_of_a_zero_block() -> None:
    key = imported(KeyType.AES, bytes(range(16)))
    assert key.mac_compute(Algorithm.CBC_MAC, b"") == key.cipher_encrypt(Algorithm.ECB_NO_PADDING, bytes(16))


@pytest.mark.parametrize(
    ("alg", "status"),
    [
        (Algorithm.CMAC.truncated_mac(3), "NOT_SUPPORTED"),
        (Algorithm.CMAC.truncated_mac(17), "INVALID_ARGUMENT"),
        (Algorithm.CTR, "INVALID_ARGUMENT"),
    ],
)
def test_mac_that_does_not_exist(alg: Algorithm, status: str) -> None:
    with pytest.raises(PsaError) as caught:
        imported(KeyType.AES, bytes(16)).mac_compute(alg, b"")
    assert caught.value.status is PsaStatus[status]
