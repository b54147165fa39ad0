"""What all key objects share: the client, the key's name and policy, its public part, and signing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, KeySerializationEncryption, PrivateFormat
from cryptography.utils import Buffer

from edgeroot.client.errors import KeyPolicyError, NotExportableError
from edgeroot.client.keys.public import load_public_key
from edgeroot.psa import Algorithm, Hash, KeyAttributes, Secret, UsageFlags
from edgeroot.psa.policy import permits

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

ExportedKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey | x448.X448PrivateKey
_HASHES: Final = {
    "md5": Hash.MD5,
    "sha1": Hash.SHA_1,
    "sha224": Hash.SHA_224,
    "sha256": Hash.SHA_256,
    "sha384": Hash.SHA_384,
    "sha512": Hash.SHA_512,
    "sha512-224": Hash.SHA_512_224,
    "sha512-256": Hash.SHA_512_256,
    "sha3-224": Hash.SHA3_224,
    "sha3-256": Hash.SHA3_256,
    "sha3-384": Hash.SHA3_384,
    "sha3-512": Hash.SHA3_512,
}


class KeyHolder(Protocol):
    """What key objects need of a client; :class:`edgeroot.client.Client` has it."""

    def export_key(self, key_name: str) -> Secret: ...

    def export_public_key(self, key_name: str) -> bytes: ...

    def sign_hash(self, key_name: str, alg: Algorithm, hash_value: bytes) -> bytes: ...

    def sign_message(self, key_name: str, alg: Algorithm, message: bytes) -> bytes: ...

    def asymmetric_decrypt(self, key_name: str, alg: Algorithm, ciphertext: bytes, salt: bytes = b"") -> Secret: ...

    def raw_key_agreement(self, alg: Algorithm, private_key_name: str, peer_key: bytes) -> Secret: ...


class ServiceKey(ABC):
    """A key pair in the service. ``key_name`` and ``attributes`` are those that the service lists."""

    def __init__(self, client: KeyHolder, key_name: str, attributes: KeyAttributes) -> None:
        self._client = client
        self.key_name = key_name
        self.attributes = attributes
        self._public: PublicKeyTypes | None = None

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.key_name!r} {self.attributes.key_bits} bits {self.attributes.algorithm!r}>"
        )

    def private_bytes(
        self,
        encoding: Encoding,
        format: PrivateFormat,  # noqa: A002 - the name that cryptography's callers use
        encryption_algorithm: KeySerializationEncryption,
    ) -> bytes:
        """The private key as ``cryptography`` writes keys; NotExportableError unless it may be exported."""
        return self._exported().private_bytes(encoding, format, encryption_algorithm)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    @abstractmethod
    def _exported(self) -> ExportedKey:
        """The private key itself; NotExportableError unless it may be exported."""

    def _load_public_key(self) -> PublicKeyTypes:
        if self._public is None:
            self._public = load_public_key(self.attributes, self._client.export_public_key(self.key_name))
        return self._public

    def _export(self) -> Secret:
        if not self.attributes.usage & UsageFlags.EXPORT:
            raise NotExportableError(
                f"the private part of {self.key_name!r} does not leave the service: use the key as it is, or make one "
                "whose usage includes EXPORT"
            )
        return self._client.export_key(self.key_name)

    def _require(self, usage: UsageFlags, candidates: Sequence[Algorithm]) -> Algorithm:
        """The first of the candidates that the key's policy permits for this usage; KeyPolicyError if none is."""
        if not self.attributes.usage & usage:
            names = " or ".join(flag.name or "" for flag in usage)
            raise KeyPolicyError(f"{self.key_name!r} lacks the usage {names}: make a key that has it")
        for candidate in candidates:
            if permits(self.attributes.algorithm, candidate):
                return candidate
        raise KeyPolicyError(
            f"the policy of {self.key_name!r} is {self.attributes.algorithm!r}, not {candidates[0]!r}: "
            "choose hash and padding as the policy has them, or another key"
        )

    def _sign(
        self, candidates: Sequence[Algorithm], data: Buffer, algorithm: Prehashed | hashes.HashAlgorithm
    ) -> bytes:
        alg = self._require(UsageFlags.SIGN_HASH | UsageFlags.SIGN_MESSAGE, candidates)
        if self.attributes.usage & UsageFlags.SIGN_HASH:
            return self._client.sign_hash(self.key_name, alg, digest(data, algorithm))
        if isinstance(algorithm, Prehashed):
            raise KeyPolicyError(f"{self.key_name!r} may sign messages only: pass the message and its hash algorithm")
        return self._client.sign_message(self.key_name, alg, bytes(data))


def psa_hash(algorithm: Prehashed | hashes.HashAlgorithm) -> Hash:
    """PSA's number of a hash of ``cryptography``; UnsupportedAlgorithm if PSA has none."""
    name = hash_algorithm(algorithm).name
    try:
        return _HASHES[name]
    except KeyError as error:
        raise UnsupportedAlgorithm(f"Parsec has no hash {name}: use SHA-256, SHA-384 or SHA-512") from error


def hash_algorithm(algorithm: Prehashed | hashes.HashAlgorithm) -> hashes.HashAlgorithm:
    # Prehashed tells its algorithm to nobody but the package itself.
    return algorithm._algorithm if isinstance(algorithm, Prehashed) else algorithm


def digest(data: Buffer, algorithm: Prehashed | hashes.HashAlgorithm) -> bytes:
    """The hash of ``data``, which is ``data`` itself if it was hashed before; ValueError if its length is wrong."""
    if isinstance(algorithm, Prehashed):
        prehashed = bytes(data)
        if len(prehashed) != algorithm.digest_size:
            raise ValueError(f"a prehashed message has {algorithm.digest_size} bytes, not {len(prehashed)}")
        return prehashed
    hashing = hashes.Hash(algorithm)
    hashing.update(data)
    return hashing.finalize()
