"""Images of the firmware with next to nothing in them: whole and signed, and made in no time."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.abi.mcuboot import Version
from edgeroot.secure.boot.archive import Archive, compile_module
from edgeroot.secure.boot.encryption import ImagePublicKey
from edgeroot.secure.boot.signing import sign_image
from edgeroot.secure.boot.verify import encode_root_key

FIRST: Final = ed25519.Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
NEXT: Final = ed25519.Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
_CODE: Final = compile_module(b"x = 1", "m")


def key_hash(key: ed25519.Ed25519PrivateKey) -> bytes:
    return sha256(encode_root_key(key.public_key())).digest()


def small_image(
    name: str, key: ed25519.Ed25519PrivateKey, *, counter: int = 1, encrypt_to: ImagePublicKey | None = None
) -> bytes:
    archive = Archive(partition=name, main="m", code={"m": _CODE}, packages=frozenset(), bootstrap="pass")
    return sign_image(archive.encode(), key, version=Version(1), security_counter=counter, encrypt_to=encrypt_to)


def small_release(key: ed25519.Ed25519PrivateKey, *, encrypt_to: ImagePublicKey | None = None) -> dict[str, bytes]:
    return {name: small_image(name, key, encrypt_to=encrypt_to) for name in IMAGE_TYPES}


def write_images(folder: Path, images: Mapping[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in images.items():
        (folder / f"{name}.img").write_bytes(data)
    return folder


def write_public_key(path: Path, key: ed25519.Ed25519PrivateKey) -> str:
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(path)
