from __future__ import annotations

from functools import cache

import cryptography_vectors
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from edgeroot import engine
from edgeroot.psa import Algorithm, Hash, KeyType, PsaStatus, Secret
from tests.vectors.keys import attributes, imported, loaded_rsa, pkcs1_examples, refused, rsa_private, rsa_public
from tests.vectors.records import packaged

HASHES = {f"SHA{size}": Hash[f"SHA_{size}"] for size in (1, 224, 256, 384, 512)}
LONG_HASHES = list(HASHES.items())[1:]
CRYPT = Algorithm.RSA_PKCS1V15_CRYPT
RAW = Algorithm.RSA_PKCS1V15_SIGN_RAW
# DigestInfo in front of the hash, RFC 8017, clause 9.2, note 1, and the object identifiers of NIST and TeleTrusT.
DIGEST_INFO = {
    Hash.SHA_256: "3031300d060960864801650304020105000420",
    Hash.SHA_512_224: "302d300d06096086480165030402050500041c",
    Hash.SHA_512_256: "3031300d060960864801650304020605000420",
    Hash.SHA3_224: "302d300d06096086480165030402070500041c",
    Hash.SHA3_256: "3031300d060960864801650304020805000420",
    Hash.SHA3_384: "3041300d060960864801650304020905000430",
    Hash.SHA3_512: "3051300d060960864801650304020a05000440",
    Hash.MD5: "3020300c06082a864886f70d020505000410",
    Hash.RIPEMD160: "3021300906052b2403020105000414",
}


def text_of(name: str) -> str:
    with cryptography_vectors.open_vector_file(f"asymmetric/RSA/{name}", "r") as file:
        text: str = file.read()
    return text


@cache
def key_2048() -> engine.EngineKey:
    return loaded_rsa(material(2048))


@cache
def material(key_bits: int) -> Secret:
    return engine.generate(attributes(KeyType.RSA_KEY_PAIR, key_bits))


def test_nist_signatures() -> None:
    """FIPS 186-3, 1024 to 4096 bits including 3072: verify right and wrong ones, and make the right ones."""
    seen: set[tuple[int, str]] = set()
    signed: set[int] = set()
    for vector in packaged("asymmetric/RSA/FIPS_186-2/SigVer15_186-3.rsp", "Result"):
        alg = Algorithm.rsa_pkcs1v15_sign(HASHES[vector["shaalg"]])
        n, e, d, p, q = (int(vector[part], 16) for part in ("n", "e", "d", "p", "q"))
        message, signature = bytes.fromhex(vector["msg"]), bytes.fromhex(vector["s"])
        key = imported(KeyType.RSA_PUBLIC_KEY, rsa_public(n, e))
        assert key.attributes.key_bits == int(vector["mod"])
        if vector["result"].startswith("P"):
            key.verify_message(alg, message, signature)
            if key.attributes.key_bits not in signed:
                signed.add(key.attributes.key_bits)
                pair = loaded_rsa(rsa_private(n, e, d, p, q))
                assert pair.export_public() == key.export_public()
                assert pair.sign_message(alg, message) == signature
        else:
            with refused(PsaStatus.INVALID_SIGNATURE):
                key.verify_message(alg, message, signature)
        seen.add((key.attributes.key_bits, vector["result"][0]))
    assert seen == {(bits, result) for bits in (1024, 1536, 2048, 3072, 4096) for result in "PF"}
    assert signed == {1024, 1536, 2048, 3072, 4096}


def test_pss_of_rsa_laboratories() -> None:
    """Salts of 20 bytes with SHA-1, as PSA's PSS has them."""
    alg = Algorithm.rsa_pss(Hash.SHA_1)
    count = 0
    for example in pkcs1_examples(text_of("pkcs-1v2-1d2-vec/pss-vect.txt")):
        if int.from_bytes(example["Modulus"], "big").bit_length() % 8 or "Message to be signed" not in example:
            continue
        public = rsa_public(int.from_bytes(example["Modulus"], "big"), 65537)
        key = imported(KeyType.RSA_PUBLIC_KEY, public)
        key.verify_message(alg, example["Message to be signed"], example["Signature"])
        count += 1
    assert count >= 12


def test_pss_refuses_a_salt_of_another_length() -> None:
    """NIST's have salts of 10 bytes."""
    for vector in packaged("asymmetric/RSA/FIPS_186-2/SigVerPSS_186-3.rsp", "Result", every=9):
        key = imported(KeyType.RSA_PUBLIC_KEY, rsa_public(int(vector["n"], 16), int(vector["e"], 16)))
        with refused(PsaStatus.INVALID_SIGNATURE):
            key.verify_message(
                Algorithm.rsa_pss(HASHES[vector["shaalg"]]), bytes.fromhex(vector["msg"]), bytes.fromhex(vector["s"])
            )


def emsa_pss_verifies(encoded: bytes, alg: Hash, message: bytes) -> bool:
    """RFC 8017, clause 9.1.2, for a modulus of whole bytes, MGF1 with the same hash and a salt as long as it."""
    length = alg.length_bytes
    masked, digest = encoded[: -length - 1], encoded[-length - 1 : -1]
    stream = b"".join(engine.hash_compute(alg, digest + bytes([0, 0, 0, count])) for count in range(20))
    block = bytearray(a ^ b for a, b in zip(masked, stream, strict=False))
    block[0] &= 0x7F
    padding, salt = bytes(block[:-length]), bytes(block[-length:])
    inner = engine.hash_compute(alg, bytes(8) + engine.hash_compute(alg, message) + salt)
    return encoded[-1:] == b"\xbc" and padding == b"\x01".rjust(len(padding), b"\0") and inner == digest


@pytest.mark.parametrize("alg", [alg for alg in Hash if alg not in (Hash.MD2, Hash.MD4, Hash.ANY)])
def test_pss_with_every_hash(alg: Hash) -> None:
    key = key_2048()
    signature = key.sign_message(Algorithm.rsa_pss(alg), b"message")
    private = load_der_private_key(material(2048), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    numbers = private.public_key().public_numbers()
    encoded = pow(int.from_bytes(signature, "big"), numbers.e, numbers.n).to_bytes(256, "big")
    assert emsa_pss_verifies(encoded, alg, b"message")
    key.verify_message(Algorithm.rsa_pss(alg), b"message", signature)


@pytest.mark.parametrize("alg", DIGEST_INFO)
def test_pkcs1v15_is_raw_signing_of_the_digest_info(alg: Hash) -> None:
    key, digest = key_2048(), engine.hash_compute(alg, b"message")
    info = bytes.fromhex(DIGEST_INFO[alg]) + digest
    signature = key.sign_hash(RAW, info)
    assert signature == key.sign_hash(Algorithm.rsa_pkcs1v15_sign(alg), digest)
    key.verify_hash(RAW, info, signature)
    with refused(PsaStatus.INVALID_SIGNATURE):
        key.verify_hash(RAW, info[1:], signature)


@pytest.mark.parametrize(("length_bytes", "fits"), [(0, False), (1, True), (245, True), (246, False)])
def test_raw_input_lengths(length_bytes: int, fits: bool) -> None:
    key, data = key_2048(), bytes(length_bytes)
    if fits:
        key.verify_hash(RAW, data, key.sign_hash(RAW, data))
    else:
        with refused(PsaStatus.INVALID_ARGUMENT):
            key.sign_hash(RAW, data)


def pair_of(example: object) -> engine.EngineKey:
    assert isinstance(example, dict)
    parts = {name: int.from_bytes(value, "big") for name, value in example.items()}
    return loaded_rsa(
        rsa_private(parts["Modulus"], parts["Public exponent"], parts["d"], parts["Prime 1"], parts["Prime 2"])
    )


@pytest.mark.parametrize(
    ("name", "alg"),
    [
        ("pkcs1v15crypt-vectors.txt", CRYPT),
        *((f"oaep-custom/oaep-{n.lower()}-{n.lower()}.txt", Algorithm.rsa_oaep(alg)) for n, alg in LONG_HASHES),
        ("pkcs-1v2-1d2-vec/oaep-vect.txt", Algorithm.rsa_oaep(Hash.SHA_1)),
    ],
)
def test_decryption(name: str, alg: Algorithm) -> None:
    decrypted = 0
    for example in list(pkcs1_examples(text_of(name)))[::5]:
        if int.from_bytes(example["Modulus"], "big").bit_length() % 8:
            continue
        key = pair_of(example)
        assert key.asymmetric_decrypt(alg, example["Encryption"], b"") == example["Message"]
        assert (
            key.asymmetric_decrypt(alg, key.asymmetric_encrypt(alg, example["Message"], b""), b"") == example["Message"]
        )
        decrypted += 1
    assert decrypted


def test_oaep_with_a_label() -> None:
    (vector,) = packaged("asymmetric/RSA/oaep-label.txt", "Input", "Output")[-1:]
    pkcs8 = load_der_private_key(bytes.fromhex(vector["key"]), None)
    assert isinstance(pkcs8, rsa.RSAPrivateKey)
    key = loaded_rsa(pkcs8.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    alg, label = Algorithm.rsa_oaep(HASHES[vector["oaepdigest"]]), bytes.fromhex(vector["oaeplabel"])
    ciphertext = bytes.fromhex(vector["input"])
    assert key.asymmetric_decrypt(alg, ciphertext, label) == vector["output"].strip('"').encode()
    with refused(PsaStatus.INVALID_PADDING):
        key.asymmetric_decrypt(alg, ciphertext, label + b"!")


def test_wrong_padding_of_pkcs1v15_tells_nothing() -> None:
    """Implicit rejection: a random text instead of an error that would help an attacker."""
    key = key_2048()
    ciphertext = key.asymmetric_encrypt(Algorithm.rsa_oaep(Hash.SHA_256), b"secret", b"")
    assert key.asymmetric_decrypt(CRYPT, ciphertext, b"") == key.asymmetric_decrypt(CRYPT, ciphertext, b"")
    with refused(PsaStatus.INVALID_PADDING):
        key.asymmetric_decrypt(CRYPT, b"\xff" * 256, b"")


@pytest.mark.parametrize(
    ("alg", "plaintext", "salt", "status"),
    [
        (CRYPT, b"text", b"label", "INVALID_ARGUMENT"),
        (CRYPT, bytes(246), b"", "INVALID_ARGUMENT"),
        (Algorithm.rsa_oaep(Hash.SHA_256), bytes(191), b"", "INVALID_ARGUMENT"),
        (Algorithm.rsa_oaep(Hash.SHA3_256), b"", b"", "NOT_SUPPORTED"),
        (Algorithm.rsa_oaep(Hash.ANY), b"", b"", "INVALID_ARGUMENT"),
        (Algorithm.ECDSA_ANY, b"", b"", "INVALID_ARGUMENT"),
    ],
)
def test_encryption_that_is_refused(alg: Algorithm, plaintext: bytes, salt: bytes, status: str) -> None:
    with refused(PsaStatus[status]):
        key_2048().asymmetric_encrypt(alg, plaintext, salt)


def test_key_too_small_for_its_algorithm() -> None:
    key = loaded_rsa(material(1024))
    for alg in (Algorithm.rsa_pss(Hash.SHA_512), Algorithm.rsa_pss(Hash.SHA3_512)):
        with refused(PsaStatus.INVALID_ARGUMENT):
            key.sign_hash(alg, bytes(64))


@pytest.mark.parametrize("key_bits", [0, 512, 1023, 1025, 4097, 8192])
def test_size_that_is_not_generated(key_bits: int) -> None:
    with refused(PsaStatus.INVALID_ARGUMENT):
        engine.generate(attributes(KeyType.RSA_KEY_PAIR, key_bits))


def other_encodings() -> list[tuple[KeyType, bytes]]:
    private = load_der_private_key(material(1024), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    pkcs8 = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pair, public = KeyType.RSA_KEY_PAIR, KeyType.RSA_PUBLIC_KEY
    return [(pair, pkcs8), (public, spki), (pair, spki), (public, material(1024)), (pair, material(1024) + b"\0")]


@pytest.mark.parametrize("which", range(5))
def test_only_pkcs1_is_imported(which: int) -> None:
    key_type, data = other_encodings()[which]
    with refused(PsaStatus.INVALID_ARGUMENT):
        engine.import_material(attributes(key_type), data)


def test_import_proves_the_key() -> None:
    good = material(1024)
    assert engine.import_material(attributes(KeyType.RSA_KEY_PAIR), good)[0].key_bits == 1024
    with refused(PsaStatus.INVALID_ARGUMENT):
        engine.import_material(attributes(KeyType.RSA_KEY_PAIR, 2048), good)
    broken = bytearray(good)
    broken[-200] ^= 4
    with refused(PsaStatus.INVALID_ARGUMENT):
        engine.import_material(attributes(KeyType.RSA_KEY_PAIR), bytes(broken))
