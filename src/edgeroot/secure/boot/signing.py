"""Makes signed images, byte for byte as MCUboot's imgtool does."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from edgeroot.abi.mcuboot import (
    COUNTER,
    DEPENDENCY,
    HEADER,
    HEADER_BYTES,
    HEADER_MAGIC,
    INFO,
    INFO_MAGIC,
    PROTECTED_INFO_MAGIC,
    Dependency,
    TlvKind,
    Version,
)
from edgeroot.secure.boot.encryption import ImagePublicKey, encrypt_body
from edgeroot.secure.boot.verify import SALT_BYTES, encode_root_key, signature_kind

SigningKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def sign_image(
    body: bytes,
    key: SigningKey,
    *,
    version: Version,
    security_counter: int,
    dependencies: Iterable[Dependency] = (),
    encrypt_to: ImagePublicKey | None = None,
) -> bytes:
    """An image of this body, encrypted to a key of its devices if there is one. ImageError for keys of other kinds."""
    public_key = encode_root_key(key.public_key())
    tlvs = [(TlvKind.SECURITY_COUNTER, COUNTER.pack(security_counter))]
    tlvs += ((TlvKind.DEPENDENCY, _dependency(one)) for one in dependencies)
    protected = _area(PROTECTED_INFO_MAGIC, tlvs)
    numbers = (version.major, version.minor, version.revision, version.build)
    flags, encryption, content = 0, [], body
    if encrypt_to is not None:
        flags, tlv, content = encrypt_body(body, encrypt_to)
        encryption.append(tlv)
    header = HEADER.pack(HEADER_MAGIC, 0, HEADER_BYTES, len(protected), len(body), flags, *numbers, 0)
    digest = sha256(header + body + protected).digest()
    kind = signature_kind(key.public_key())
    signature = _sign(key, digest)
    tlvs = [(TlvKind.SHA256, digest), (TlvKind.PUBLIC_KEY, public_key), (kind, signature), *encryption]
    return header + content + protected + _area(INFO_MAGIC, tlvs)


def _area(magic: int, tlvs: Iterable[tuple[TlvKind, bytes]]) -> bytes:
    records = b"".join(INFO.pack(kind, len(value)) + value for kind, value in tlvs)
    return INFO.pack(magic, INFO.size + len(records)) + records


def _dependency(needed: Dependency) -> bytes:
    version = needed.version
    return DEPENDENCY.pack(needed.image_index, version.major, version.minor, version.revision, version.build)


def _sign(key: SigningKey, digest: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(digest, PSS(MGF1(SHA256()), SALT_BYTES), Prehashed(SHA256()))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(digest, ec.ECDSA(Prehashed(SHA256())))
    return key.sign(digest)
