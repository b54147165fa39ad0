"""What this partition asks of the crypto partition: the initial attestation key (IAK), and what others' keys are."""

from __future__ import annotations

from typing import Final, Protocol

from edgeroot.evidence import StatedKey
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, Secret, UsageFlags

# The key's persistent id, among the keys that the crypto partition keeps for this partition alone.
IAK_KEY_ID: Final = 1
IAK_ATTRIBUTES: Final = KeyAttributes(
    key_type=KeyType.ecc_key_pair(EccFamily.SECP_R1),
    key_bits=256,
    usage=UsageFlags.SIGN_HASH | UsageFlags.VERIFY_HASH,
    algorithm=Algorithm.ecdsa(Hash.SHA_256),
)


class IakKeys(Protocol):
    """What the partition does with its key. Any call may raise PsaError."""

    def exists(self) -> bool:
        """Whether there is an IAK."""

    def generate(self) -> None:
        """Make the IAK; it is stored when this returns."""

    def import_(self, scalar: Secret) -> None:
        """Take this private key (a big-endian P-256 scalar) for the IAK. PsaError INVALID_ARGUMENT if it is none."""

    def public_key(self) -> bytes:
        """The public point: 04 || X || Y, 65 bytes. PsaError INVALID_HANDLE or DOES_NOT_EXIST if there is no IAK."""

    def sign_hash(self, hash_value: bytes) -> bytes:
        """The signature of a SHA-256 hash: r || s, 64 bytes."""


class KeyInspector(Protocol):
    """Tells what keys are, by a right that this partition has."""

    def inspect(self, source_id: int, key_id: int) -> StatedKey:
        """The source's key. PsaError INVALID_HANDLE if there is none, INVALID_ARGUMENT if it is no key pair."""
