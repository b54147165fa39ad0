"""What a request violates, in the order in which it is looked for (PSA Crypto API 1.2, clause 9.7).

These functions say *what* is wrong; each protocol says with which of its statuses that is answered.
"""

from __future__ import annotations

from enum import Enum, auto
from functools import lru_cache
from typing import Final

from edgeroot.psa.algorithm import Algorithm, Hash
from edgeroot.psa.attributes import KeyAttributes, UsageFlags
from edgeroot.psa.key_type import EccFamily, KeyType


class Violation(Enum):
    """The first rule that a request breaks."""

    USAGE = auto()  # the key may not be used for this kind of operation
    ALGORITHM = auto()  # the key's policy does not permit the algorithm
    KEY_TYPE = auto()  # the algorithm cannot work with a key of this type
    ARGUMENT = auto()  # an argument has an impossible shape


def permits(policy: Algorithm, requested: Algorithm) -> bool:
    """Whether a policy's algorithm admits the requested one: equal, or the same signature with a concrete hash."""
    if policy == requested:
        return not requested.is_wildcard
    return (
        policy.is_wildcard
        and requested.is_sign
        and policy & ~0xFF == requested & ~0xFF
        and requested.hash not in (None, Hash.ANY)
    )


def compatible(key_type: KeyType, algorithm: Algorithm) -> bool:
    """Whether a key of this type can serve this algorithm at all."""
    if key_type.is_rsa:
        return algorithm.is_rsa_sign or algorithm.is_asymmetric_encryption
    if key_type.is_ecc:
        return algorithm.is_ecdsa or (algorithm.is_key_agreement and algorithm.raw_key_agreement == Algorithm.ECDH)
    if key_type.is_dh:
        return algorithm.is_key_agreement and algorithm.raw_key_agreement == Algorithm.FFDH
    rule = _SYMMETRIC.get(key_type)
    return rule is not None and rule(algorithm)


@lru_cache(maxsize=4096)  # few kinds of keys are used in few ways, by everybody and all the time
def check_use(attributes: KeyAttributes, usage: UsageFlags, algorithm: Algorithm) -> Violation | None:
    """Usage, then policy, then type. ``usage`` names alternatives: any one of its flags will do."""
    if not attributes.usage & usage:
        return Violation.USAGE
    if not permits(attributes.algorithm, algorithm):
        return Violation.ALGORITHM
    if not compatible(attributes.key_type, algorithm):
        return Violation.KEY_TYPE
    return None


def check_hash_length(algorithm: Algorithm, hash_length_bytes: int) -> Violation | None:
    """A hash to be signed has the length of the algorithm's hash, where the algorithm names one."""
    expected = _hash_length_bytes(algorithm)
    return None if expected in (None, hash_length_bytes) else Violation.ARGUMENT


@lru_cache(maxsize=256)
def _hash_length_bytes(algorithm: Algorithm) -> int | None:
    hash_alg = algorithm.hash
    return None if hash_alg is None else hash_alg.length_bytes


@lru_cache(maxsize=256)
def is_deprecated(attributes: KeyAttributes) -> bool:
    """Whether generating such a key is discouraged: DES, ARC4, weak curves, algorithms over MD2, MD4, MD5 or SHA-1."""
    if attributes.algorithm.hash in _DEPRECATED_HASHES or attributes.key_type in (KeyType.DES, KeyType.ARC4):
        return True
    if attributes.key_type.is_ecc and attributes.key_type.is_public_key:
        sizes = _DEPRECATED_CURVES.get(attributes.key_type.ecc_family)
        return sizes is not None and (not sizes or attributes.key_bits in sizes)
    return False


def _block_cipher_without_aead(algorithm: Algorithm) -> bool:
    return algorithm.is_block_cipher_mac or (algorithm.is_cipher and algorithm != Algorithm.STREAM_CIPHER)


def _block_cipher(algorithm: Algorithm) -> bool:
    return _block_cipher_without_aead(algorithm) or (
        algorithm.is_aead and algorithm.aead_default in (Algorithm.CCM, Algorithm.GCM)
    )


def _chacha20(algorithm: Algorithm) -> bool:
    return algorithm == Algorithm.STREAM_CIPHER or (
        algorithm.is_aead and algorithm.aead_default == Algorithm.CHACHA20_POLY1305
    )


_SYMMETRIC: Final = {
    KeyType.HMAC: lambda algorithm: algorithm.is_hmac,
    KeyType.DERIVE: lambda algorithm: algorithm.is_key_derivation,
    KeyType.AES: _block_cipher,
    KeyType.CAMELLIA: _block_cipher,
    KeyType.DES: _block_cipher_without_aead,
    KeyType.ARC4: lambda algorithm: algorithm == Algorithm.STREAM_CIPHER,
    KeyType.CHACHA20: _chacha20,
}
_DEPRECATED_HASHES: Final = (Hash.MD2, Hash.MD4, Hash.MD5, Hash.SHA_1)
# An empty tuple means every size. Upstream lists public variants only; its clients rely on the pairs being generated.
_DEPRECATED_CURVES: Final[dict[EccFamily, tuple[int, ...]]] = {
    EccFamily.SECP_R2: (),
    EccFamily.SECT_R2: (),
    EccFamily.SECT_K1: (163,),
    EccFamily.SECT_R1: (163,),
    EccFamily.BRAINPOOL_P_R1: (160,),
}
