"""What all keys of the engine have in common, and the rows in which a family tells what it can do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from edgeroot.engine.errors import invalid_argument
from edgeroot.psa import Algorithm, KeyAttributes, KeyType, PsaError, Secret

FunctionName = Literal[
    "generate_key",
    "import_key",
    "destroy_key",
    "export_key",
    "export_public_key",
    "sign_hash",
    "verify_hash",
    "sign_message",
    "verify_message",
    "asymmetric_encrypt",
    "asymmetric_decrypt",
    "aead_encrypt",
    "aead_decrypt",
    "cipher_encrypt",
    "cipher_decrypt",
    "mac_compute",
    "mac_verify",
    "hash_compute",
    "hash_compare",
    "raw_key_agreement",
    "generate_random",
]


@dataclass(frozen=True, slots=True)
class Row:
    """With keys of this type and one of these sizes, these functions work under these algorithms.

    ``key_type`` is NONE for functions without a key; ``algorithms`` is empty where none takes part.
    """

    functions: tuple[FunctionName, ...]
    key_type: KeyType = KeyType.NONE
    key_bits: Collection[int] = ()
    algorithms: frozenset[Algorithm] = frozenset()


class EngineKey:
    """A parsed key. A family overrides what its keys can do; everything else is a type and algorithm mismatch.

    Whether the key's policy permits an operation is the caller's business. Every method raises only PsaError.
    """

    __slots__ = ("attributes",)

    def __init__(self, attributes: KeyAttributes) -> None:
        self.attributes = attributes

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.attributes.key_type!r} {self.attributes.key_bits} bits>"

    def _mismatch(self, what: str) -> PsaError:
        return invalid_argument(f"a key of type {self.attributes.key_type!r} cannot {what}")

    def export_public(self) -> bytes:
        """The public key in the format of psa_export_public_key."""
        raise self._mismatch("export a public key")

    def sign_hash(self, alg: Algorithm, hash_value: bytes) -> bytes:
        raise self._mismatch(f"sign with {alg!r}")

    def verify_hash(self, alg: Algorithm, hash_value: bytes, signature: bytes) -> None:
        """Returns if the signature is right, raises INVALID_SIGNATURE if not."""
        raise self._mismatch(f"verify with {alg!r}")

    def sign_message(self, alg: Algorithm, message: bytes) -> bytes:
        raise self._mismatch(f"sign with {alg!r}")

    def verify_message(self, alg: Algorithm, message: bytes, signature: bytes) -> None:
        """Returns if the signature is right, raises INVALID_SIGNATURE if not."""
        raise self._mismatch(f"verify with {alg!r}")

    def asymmetric_encrypt(self, alg: Algorithm, plaintext: bytes, salt: bytes) -> bytes:
        """``salt`` is the label of OAEP; empty for none."""
        raise self._mismatch(f"encrypt with {alg!r}")

    def asymmetric_decrypt(self, alg: Algorithm, ciphertext: bytes, salt: bytes) -> Secret:
        raise self._mismatch(f"decrypt with {alg!r}")

    def aead_encrypt(self, alg: Algorithm, *, nonce: bytes, additional_data: bytes, plaintext: bytes) -> bytes:
        """The ciphertext followed by the tag."""
        raise self._mismatch(f"encrypt with {alg!r}")

    def aead_decrypt(self, alg: Algorithm, *, nonce: bytes, additional_data: bytes, ciphertext: bytes) -> Secret:
        """The plaintext of ciphertext and tag; raises INVALID_SIGNATURE if the tag does not match."""
        raise self._mismatch(f"decrypt with {alg!r}")

    def cipher_encrypt(self, alg: Algorithm, plaintext: bytes) -> bytes:
        """A fresh random IV, where the mode has one, followed by the ciphertext."""
        raise self._mismatch(f"encrypt with {alg!r}")

    def cipher_decrypt(self, alg: Algorithm, ciphertext: bytes) -> Secret:
        raise self._mismatch(f"decrypt with {alg!r}")

    def mac_compute(self, alg: Algorithm, data: bytes) -> bytes:
        raise self._mismatch(f"compute a MAC with {alg!r}")

    def mac_verify(self, alg: Algorithm, data: bytes, mac: bytes) -> None:
        """Returns if the MAC is right, raises INVALID_SIGNATURE if not."""
        raise self._mismatch(f"verify a MAC with {alg!r}")

    def raw_key_agreement(self, alg: Algorithm, peer_key: bytes) -> Secret:
        """The shared secret with the public key ``peer_key``, which has the format of psa_export_public_key."""
        raise self._mismatch(f"agree with {alg!r}")
