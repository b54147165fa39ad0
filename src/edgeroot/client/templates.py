"""Attributes of the keys that are wanted most often, for ``generate_key`` and ``import_key``.

All of them permit what the algorithm is for, and none permits export unless ``exportable`` says so.
"""

from __future__ import annotations

from typing import Final

from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, UsageFlags

_SIGN: Final = UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_HASH | UsageFlags.VERIFY_MESSAGE
_MAC: Final = UsageFlags.SIGN_MESSAGE | UsageFlags.VERIFY_MESSAGE
_CRYPT: Final = UsageFlags.ENCRYPT | UsageFlags.DECRYPT
_R1_SIZES: Final = (192, 224, 256, 384, 521)


def _key(
    key_type: KeyType, key_bits: int, usage: UsageFlags, algorithm: Algorithm, *, exportable: bool
) -> KeyAttributes:
    return KeyAttributes(key_type, key_bits, usage | UsageFlags.EXPORT if exportable else usage, algorithm)


def _r1(key_bits: int) -> KeyType:
    if key_bits not in _R1_SIZES:
        raise ValueError(f"the NIST curves have {', '.join(map(str, _R1_SIZES))} bits, not {key_bits}")
    return KeyType.ecc_key_pair(EccFamily.SECP_R1)


def ecdsa(key_bits: int, hash_alg: Hash = Hash.SHA_256, *, exportable: bool = False) -> KeyAttributes:
    """ECDSA on a NIST curve; ``Hash.ANY`` permits every hash."""
    return _key(_r1(key_bits), key_bits, _SIGN, Algorithm.ecdsa(hash_alg), exportable=exportable)


def ecdsa_p256(hash_alg: Hash = Hash.SHA_256, *, exportable: bool = False) -> KeyAttributes:
    return ecdsa(256, hash_alg, exportable=exportable)


def ecdsa_p384(hash_alg: Hash = Hash.SHA_384, *, exportable: bool = False) -> KeyAttributes:
    return ecdsa(384, hash_alg, exportable=exportable)


def ecdsa_p521(hash_alg: Hash = Hash.SHA_512, *, exportable: bool = False) -> KeyAttributes:
    return ecdsa(521, hash_alg, exportable=exportable)


def rsa_signing(key_bits: int = 2048, hash_alg: Hash = Hash.SHA_256, *, exportable: bool = False) -> KeyAttributes:
    """RSASSA-PKCS1-v1_5."""
    return _key(KeyType.RSA_KEY_PAIR, key_bits, _SIGN, Algorithm.rsa_pkcs1v15_sign(hash_alg), exportable=exportable)


def rsa_pss(key_bits: int = 2048, hash_alg: Hash = Hash.SHA_256, *, exportable: bool = False) -> KeyAttributes:
    """RSASSA-PSS with a salt as long as the hash."""
    return _key(KeyType.RSA_KEY_PAIR, key_bits, _SIGN, Algorithm.rsa_pss(hash_alg), exportable=exportable)


def rsa_oaep(key_bits: int = 2048, hash_alg: Hash = Hash.SHA_256, *, exportable: bool = False) -> KeyAttributes:
    """RSAES-OAEP encryption."""
    return _key(KeyType.RSA_KEY_PAIR, key_bits, _CRYPT, Algorithm.rsa_oaep(hash_alg), exportable=exportable)


def rsa_pkcs1v15_crypt(key_bits: int = 2048, *, exportable: bool = False) -> KeyAttributes:
    """RSAES-PKCS1-v1_5 encryption, for peers that know nothing better."""
    return _key(KeyType.RSA_KEY_PAIR, key_bits, _CRYPT, Algorithm.RSA_PKCS1V15_CRYPT, exportable=exportable)


def ecdh(key_bits: int = 256, *, exportable: bool = False) -> KeyAttributes:
    """Raw ECDH on a NIST curve."""
    return _key(_r1(key_bits), key_bits, UsageFlags.DERIVE, Algorithm.ECDH, exportable=exportable)


def x25519(*, exportable: bool = False) -> KeyAttributes:
    pair = KeyType.ecc_key_pair(EccFamily.MONTGOMERY)
    return _key(pair, 255, UsageFlags.DERIVE, Algorithm.ECDH, exportable=exportable)


def x448(*, exportable: bool = False) -> KeyAttributes:
    pair = KeyType.ecc_key_pair(EccFamily.MONTGOMERY)
    return _key(pair, 448, UsageFlags.DERIVE, Algorithm.ECDH, exportable=exportable)


def aes_gcm(key_bits: int = 256, *, exportable: bool = False) -> KeyAttributes:
    return _key(KeyType.AES, key_bits, _CRYPT, Algorithm.GCM, exportable=exportable)


def aes_ccm(key_bits: int = 256, *, exportable: bool = False) -> KeyAttributes:
    return _key(KeyType.AES, key_bits, _CRYPT, Algorithm.CCM, exportable=exportable)


def chacha20_poly1305(*, exportable: bool = False) -> KeyAttributes:
    return _key(KeyType.CHACHA20, 256, _CRYPT, Algorithm.CHACHA20_POLY1305, exportable=exportable)


def aes_cipher(algorithm: Algorithm, key_bits: int = 256, *, exportable: bool = False) -> KeyAttributes:
    """AES in an unauthenticated mode such as ``Algorithm.CTR`` or ``Algorithm.CBC_PKCS7``."""
    if not algorithm.is_cipher:
        raise ValueError(f"{algorithm!r} is no cipher: choose one such as Algorithm.CTR, or use aes_gcm()")
    return _key(KeyType.AES, key_bits, _CRYPT, algorithm, exportable=exportable)


def hmac(hash_alg: Hash = Hash.SHA_256, *, exportable: bool = False) -> KeyAttributes:
    """HMAC with a key as long as the hash."""
    return _key(KeyType.HMAC, hash_alg.length_bytes * 8, _MAC, Algorithm.hmac(hash_alg), exportable=exportable)


def aes_cmac(key_bits: int = 256, *, exportable: bool = False) -> KeyAttributes:
    return _key(KeyType.AES, key_bits, _MAC, Algorithm.CMAC, exportable=exportable)
