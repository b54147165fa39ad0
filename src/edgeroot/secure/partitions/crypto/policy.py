"""What a key may be used for, with the statuses that Mbed TLS gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from edgeroot.psa import Algorithm, KeyAttributes, PsaError, PsaStatus, UsageFlags
from edgeroot.psa.policy import Violation, check_use, permits
from edgeroot.secure.partitions.crypto.keys import LoadedKey

# Plain numbers: they are looked up in every call.
EXPORT: Final = int(UsageFlags.EXPORT)
COPY: Final = int(UsageFlags.COPY)
ENCRYPT: Final = int(UsageFlags.ENCRYPT)
DECRYPT: Final = int(UsageFlags.DECRYPT)
SIGN_MESSAGE: Final = int(UsageFlags.SIGN_MESSAGE)
VERIFY_MESSAGE: Final = int(UsageFlags.VERIFY_MESSAGE)
SIGN_HASH: Final = int(UsageFlags.SIGN_HASH)
VERIFY_HASH: Final = int(UsageFlags.VERIFY_HASH)
DERIVE: Final = int(UsageFlags.DERIVE)
VERIFY_DERIVATION: Final = 0x8000  # which the Parsec protocol does not know
_AT_LEAST: Final = 0x00008000  # PSA_MAC_, PSA_ALG_AEAD_AT_LEAST_THIS_LENGTH_FLAG


def require_usage(key: LoadedKey, usage: int) -> None:
    """NOT_PERMITTED unless the key has one of these usage flags."""
    if not int(key.attributes.usage) & usage:
        raise PsaError(PsaStatus.NOT_PERMITTED, "the key's usage flags do not permit this")


def require(key: LoadedKey, usage: int, algorithm: Algorithm) -> None:
    """NOT_PERMITTED unless the policy permits this use; INVALID_ARGUMENT for an algorithm that cannot be asked for."""
    if (usage, algorithm) in key.permitted:
        return
    violation = _check(key.attributes, UsageFlags(usage), algorithm)
    if violation is not None:
        raise _refused(violation, algorithm)
    key.permitted.add((usage, algorithm))


def require_derivation(key: LoadedKey, algorithm: Algorithm) -> None:
    """As :func:`require` for the input of a key derivation, which also takes keys of types that can do nothing else.

    A key for verifying is an input like one for deriving (PSA Crypto API 1.2, psa_key_derivation_input_key); what may
    come out is another question, see :func:`may_derive`.
    """
    require_usage(key, DERIVE | VERIFY_DERIVATION)
    if not permits(key.attributes.algorithm, algorithm):
        raise _refused(Violation.ALGORITHM, algorithm)


def may_derive(key: LoadedKey) -> bool:
    """Whether the output of a derivation with this input may be seen, or become a key (PSA_KEY_USAGE_DERIVE)."""
    return bool(key.attributes.usage & DERIVE)


def _check(attributes: KeyAttributes, usage: UsageFlags, algorithm: Algorithm) -> Violation | None:
    policy = attributes.algorithm
    if _is_at_least(algorithm):
        return Violation.ARGUMENT  # a minimum may stand in a policy only
    if _is_at_least(policy) and _reaches(attributes, algorithm):
        return check_use(replace(attributes, algorithm=algorithm), usage, algorithm)
    violation = check_use(attributes, usage, algorithm)
    if (
        violation is Violation.ALGORITHM
        and policy.is_raw_key_agreement
        and algorithm.is_key_agreement
        and algorithm.raw_key_agreement == policy
    ):
        # A key for an agreement may also be used for it with a derivation behind (PSA Crypto API 1.2, clause 10.9).
        return check_use(attributes, usage, policy)
    return violation


def _is_at_least(algorithm: Algorithm) -> bool:
    """PSA_ALG_AT_LEAST_THIS_LENGTH_MAC and PSA_ALG_AEAD_WITH_AT_LEAST_THIS_LENGTH_TAG (clauses 10.3.1 and 10.5.1)."""
    return (algorithm.is_mac or algorithm.is_aead) and bool(algorithm & _AT_LEAST)


def _reaches(attributes: KeyAttributes, algorithm: Algorithm) -> bool:
    """Whether this is the policy's algorithm with a MAC or tag that is not shorter than the policy's."""
    least = Algorithm(attributes.algorithm & ~_AT_LEAST)
    if least.is_aead:
        return algorithm.is_aead and (
            least.aead_default == algorithm.aead_default and algorithm.tag_length_bytes >= least.tag_length_bytes
        )
    return algorithm.is_mac and (
        least.full_length_mac == algorithm.full_length_mac
        and _mac_length_bytes(attributes, algorithm) >= _mac_length_bytes(attributes, least)
    )


def _mac_length_bytes(attributes: KeyAttributes, algorithm: Algorithm) -> int:
    """PSA_MAC_LENGTH."""
    hash_alg = algorithm.hash
    full = attributes.key_type.block_size_bytes if hash_alg is None else hash_alg.length_bytes or 0
    return algorithm.mac_length_bytes or full


def _refused(violation: Violation, algorithm: Algorithm) -> PsaError:
    if violation is Violation.USAGE:
        return PsaError(PsaStatus.NOT_PERMITTED, "the key's usage flags do not permit this")
    if violation is Violation.ALGORITHM and algorithm != Algorithm.NONE and not algorithm.is_wildcard:
        return PsaError(PsaStatus.NOT_PERMITTED, "the key's policy does not permit the algorithm")
    return PsaError(PsaStatus.INVALID_ARGUMENT, "the algorithm does not fit the key")


def intersection(source: KeyAttributes, wanted: KeyAttributes) -> KeyAttributes:
    """The attributes of a copy: what both the source's policy and the wanted one permit.

    INVALID_ARGUMENT if type or size are asked for and are others, or if no algorithm is left.
    """
    if wanted.key_type not in (0, source.key_type) or wanted.key_bits not in (0, source.key_bits):
        raise PsaError(PsaStatus.INVALID_ARGUMENT, "a copy has its source's type and size")
    return KeyAttributes(
        source.key_type, source.key_bits, source.usage & wanted.usage, _common(source.algorithm, wanted.algorithm)
    )


def _common(one: Algorithm, other: Algorithm) -> Algorithm:
    if one == other or permits(other, one):
        return one
    if permits(one, other):
        return other
    if Algorithm.NONE in (one, other):
        return Algorithm.NONE
    raise PsaError(PsaStatus.INVALID_ARGUMENT, "the copy's algorithm is not one that the source permits")
