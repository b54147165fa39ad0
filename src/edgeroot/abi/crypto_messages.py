"""What the crypto service is asked and answers, as values; packed-c and protobuf carry the same ones.

Operations with equal layouts share their classes. Fields are in packed-c's order. Numbers are u32, with their PSA
encodings where there are any; ``op_handle`` names an operation under way and is the service's choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeroot.abi.key_attributes import AbiKeyAttributes


@dataclass(frozen=True, slots=True)
class EmptyResponse:
    """No fields: the service's status says all."""


# Keys


@dataclass(frozen=True, slots=True)
class GenerateKeyRequest:
    attributes: AbiKeyAttributes


@dataclass(frozen=True, slots=True)
class KeyIdRequest:
    """Of destroy, export, export public key, purge, get attributes."""

    key_id: int


@dataclass(frozen=True, slots=True)
class ImportKeyRequest:
    attributes: AbiKeyAttributes
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CopyKeyRequest:
    source_key_id: int
    attributes: AbiKeyAttributes


@dataclass(frozen=True, slots=True)
class KeyIdResponse:
    """The new key."""

    key_id: int


@dataclass(frozen=True, slots=True)
class KeyAttributesResponse:
    attributes: AbiKeyAttributes


@dataclass(frozen=True, slots=True)
class DataResponse:
    """The one result: a key, a signature, ciphertext or plaintext, random bytes, a digest, an IV, a nonce, a secret."""

    data: bytes = field(repr=False)


# Asymmetric cryptography and random numbers


@dataclass(frozen=True, slots=True)
class SignRequest:
    """``data`` is the hash (SIGN_HASH) or the message (SIGN_MESSAGE)."""

    key_id: int
    algorithm: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """``data`` is the hash (VERIFY_HASH) or the message (VERIFY_MESSAGE)."""

    key_id: int
    algorithm: int
    data: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AsymmetricDecryptRequest:
    key_id: int
    algorithm: int
    ciphertext: bytes = field(repr=False)
    salt: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class AsymmetricEncryptRequest:
    key_id: int
    algorithm: int
    plaintext: bytes = field(repr=False)
    salt: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class GenerateRandomRequest:
    """``size_bytes`` is u32 in packed-c and u64 in protobuf."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class VerifyPkcs7Request:
    """All DER. Without a certificate the one inside the signature counts."""

    signature: bytes = field(repr=False)
    hash: bytes = field(repr=False)
    public_key_certificate: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UefiFingerprintRequest:
    """A PKCS #7 signature, DER, of an authenticated variable."""

    signature: bytes = field(repr=False)


# Operations of several parts


@dataclass(frozen=True, slots=True)
class AlgorithmRequest:
    """Set-up of a hash or a key derivation."""

    algorithm: int


@dataclass(frozen=True, slots=True)
class KeyAlgorithmRequest:
    """Set-up of a cipher, a MAC or an AEAD."""

    key_id: int
    algorithm: int


@dataclass(frozen=True, slots=True)
class HandleResponse:
    op_handle: int


@dataclass(frozen=True, slots=True)
class HandleRequest:
    """Finish, abort, clone, generate an IV or a nonce, get a capacity."""

    op_handle: int


@dataclass(frozen=True, slots=True)
class HandleDataRequest:
    """Update with input, or set or verify with the IV, nonce, digest, MAC or tag."""

    op_handle: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CapacityResponse:
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class SetCapacityRequest:
    op_handle: int
    capacity_bytes: int


@dataclass(frozen=True, slots=True)
class InputBytesRequest:
    op_handle: int
    step: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class InputKeyRequest:
    op_handle: int
    step: int
    key_id: int


@dataclass(frozen=True, slots=True)
class OutputBytesRequest:
    op_handle: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class OutputKeyRequest:
    op_handle: int
    attributes: AbiKeyAttributes


@dataclass(frozen=True, slots=True)
class KeyAgreementRequest:
    """The shared secret is input for a derivation under way."""

    op_handle: int
    step: int
    private_key_id: int
    peer_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RawKeyAgreementRequest:
    algorithm: int
    private_key_id: int
    peer_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SetLengthsRequest:
    op_handle: int
    additional_data_bytes: int
    plaintext_bytes: int


@dataclass(frozen=True, slots=True)
class AeadFinishResponse:
    """``ciphertext`` is what was left of it."""

    ciphertext: bytes = field(repr=False)
    tag: bytes = field(repr=False)
