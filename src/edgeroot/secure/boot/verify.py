"""Whether an image was signed with a root key, whose hash is all that the device knows of it.

The image holds its public key (as MCUboot has it with keys in hardware): RSA keys as PKCS#1, others as
SubjectPublicKeyInfo, in DER. Its SHA-256 is the root key's hash. RSA-PSS (salt of 32 bytes) and ECDSA sign the SHA-256
of what is hashed, Ed25519 signs that hash as its message.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from edgeroot.abi.mcuboot import (
    Description,
    Image,
    ImageError,
    OldImageError,
    RevokedKeyError,
    TlvKind,
    UntrustedImageError,
    decode_image,
)
from edgeroot.secure.boot.encryption import TLVS, ImageKey, decrypt_body
from edgeroot.secure.boot.root_keys import RootKeys

SALT_BYTES: Final = 32
_SIGNATURES: Final = frozenset({TlvKind.RSA2048_PSS, TlvKind.RSA3072_PSS, TlvKind.ECDSA, TlvKind.ED25519})
RootKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedImage:
    """What may run. ``digest`` is the image's SHA-256, which measures it; ``signer_id`` names its signer by the key."""

    image: Image
    digest: bytes
    signer_id: bytes


def verify_image(
    data: bytes, *, root_keys: RootKeys, least_security_counter: int, image_key: ImageKey | None = None
) -> VerifiedImage:
    """ImageError if it is malformed, not signed with a valid root key, or older than the security counter allows.

    An encrypted one is decrypted with ``image_key``: the image that is returned has its body in the clear.
    """
    image = decode_image(data)
    tlvs = _tlvs(image)
    if image.encryption_key_bytes:
        image = replace(image, body=memoryview(decrypt_body(image, image_key)))
    digest = _digest(data, image)
    if not hmac.compare_digest(digest, tlvs[TlvKind.SHA256]):
        raise UntrustedImageError("its hash is another one: it was changed, or damaged on the way")
    signer_id = _verify_signer(tlvs, digest, root_keys)
    _verify_counter(image, least_security_counter)
    return VerifiedImage(image=image, digest=digest, signer_id=signer_id)


def verify_unread(data: bytes, *, root_keys: RootKeys, least_security_counter: int) -> None:
    """What can be verified of an encrypted image by those who cannot read it. ImageError.

    The signature is that of the hash which the image claims, and nobody here knows whether it is the image's.
    """
    image = decode_image(data)
    tlvs = _tlvs(image)
    _verify_signer(tlvs, tlvs[TlvKind.SHA256], root_keys)
    _verify_counter(image, least_security_counter)


def _tlvs(image: Image) -> dict[TlvKind, bytes]:
    tlvs = dict(image.unprotected)
    keys = int(image.encryption_key_bytes > 0)
    each_once = {TlvKind.SHA256, TlvKind.PUBLIC_KEY} <= tlvs.keys() and len(_SIGNATURES & tlvs.keys()) == 1
    if not each_once or len(TLVS & tlvs.keys()) != keys or len(image.unprotected) != 3 + keys:
        raise ImageError("it has not exactly one SHA-256, one public key, one signature and, if encrypted, one key")
    return tlvs


def _digest(data: bytes, image: Image) -> bytes:
    """The SHA-256 of what was signed."""
    view = memoryview(data)
    if not image.encryption_key_bytes:
        return sha256(view[: image.hashed_bytes]).digest()
    digest = sha256(view[: image.body_at])
    digest.update(image.body)
    digest.update(view[image.body_at + len(image.body) : image.hashed_bytes])
    return digest.digest()


def _verify_signer(tlvs: Mapping[TlvKind, bytes], digest: bytes, root_keys: RootKeys) -> bytes:
    """The hash of its key."""
    public_key = tlvs[TlvKind.PUBLIC_KEY]
    signer_id = sha256(public_key).digest()
    slot = root_keys.find(signer_id)
    if slot is None:
        raise UntrustedImageError("it is signed with a key that is not this device's root key")
    if slot.is_revoked:
        raise RevokedKeyError(f"it is signed by a revoked key, root key {slot.number} of this device")
    (kind,) = _SIGNATURES & tlvs.keys()
    _verify(public_key, kind, tlvs[kind], digest)
    return signer_id


def _verify_counter(image: Image, least_security_counter: int) -> None:
    if image.security_counter < least_security_counter:
        raise OldImageError(
            f"its security counter {image.security_counter} is below the device's, {least_security_counter}: it is an "
            "old image, which is not to run again"
        )


def check_dependencies(images: Mapping[int, tuple[str, Description]]) -> None:
    """``images`` are names and what the images say, by image index; ImageError for a dependency that is not met."""
    for name, image in images.values():
        for needed in image.dependencies:
            other_name, other = images.get(needed.image_index, ("", None))
            if other is None:
                raise ImageError(f"{name} needs an image with index {needed.image_index}, and there is none")
            if other.version < needed.version:
                raise ImageError(f"{name} needs {other_name} {needed.version} or later, and it is {other.version}")


def encode_root_key(key: object) -> bytes:
    """The public key as an image holds it; ImageError for a kind or size that images are not signed with."""
    signature_kind(key)
    assert isinstance(key, RootKey)
    form = PublicFormat.PKCS1 if isinstance(key, rsa.RSAPublicKey) else PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(Encoding.DER, form)


def signature_kind(key: object) -> TlvKind:
    """How images are signed with this key; ImageError if they are not."""
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in (2048, 3072):
        return TlvKind.RSA2048_PSS if key.key_size == 2048 else TlvKind.RSA3072_PSS
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return TlvKind.ECDSA
    if isinstance(key, ed25519.Ed25519PublicKey):
        return TlvKind.ED25519
    raise ImageError(
        "images are signed with RSA of 2048 or 3072 bits, ECDSA on P-256 or Ed25519, and not with this key"
    )


def _verify(public_key: bytes, kind: TlvKind, signature: bytes, digest: bytes) -> None:
    try:
        key = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UntrustedImageError("its public key cannot be read") from error
    if signature_kind(key) is not kind:
        raise UntrustedImageError("its signature is of another kind than its key")
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, PSS(MGF1(SHA256()), SALT_BYTES), Prehashed(SHA256()))
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(Prehashed(SHA256())))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, digest)
    except InvalidSignature as error:
        raise UntrustedImageError("its signature is not one of its key") from error
