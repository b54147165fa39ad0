"""The images of a release, as far as they can be looked at without the device's keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import UUID

from edgeroot.abi.firmware import IMAGE_SUFFIX, IMAGE_TYPES, MANAGER
from edgeroot.abi.mcuboot import Image, ImageError, TlvKind, Version, decode_image
from edgeroot.update.errors import UnfitImagesError

_SIGNATURES: Final = frozenset({TlvKind.RSA2048_PSS, TlvKind.RSA3072_PSS, TlvKind.ECDSA, TlvKind.ED25519})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseImage:
    """One image. ``digest`` is its SHA-256 TLV, which tokens report, ``signer_id`` the SHA-256 of its public key."""

    name: str
    image_type: UUID
    version: Version
    digest: bytes
    signer_id: bytes
    data: bytes


def read_image(name: str, data: bytes) -> ReleaseImage:
    """ImageError unless it is a whole image of a known name, signed by somebody."""
    image_type = IMAGE_TYPES.get(name)
    if image_type is None:
        raise ImageError(f"there is no image of this name: {', '.join(IMAGE_TYPES)}")
    image = decode_image(data)
    digest, key = _only(image, TlvKind.SHA256), _only(image, TlvKind.PUBLIC_KEY)
    if not any(kind in _SIGNATURES for kind, _ in image.unprotected):
        raise ImageError("nobody has signed it")
    # What is hashed of an encrypted one is what it was before.
    if not image.encryption_key_bytes and digest != sha256(data[: image.hashed_bytes]).digest():
        raise ImageError("its hash is another one: it was changed, or damaged on the way")
    return ReleaseImage(
        name=name,
        image_type=image_type,
        version=image.version,
        digest=digest,
        signer_id=sha256(key).digest(),
        data=data,
    )


def read_images(folder: Path) -> tuple[ReleaseImage, ...]:
    """Every image in the folder, by name. UnfitImagesError names the one that is none; OSError."""
    found = tuple(_each(folder))
    if not found:
        raise UnfitImagesError(f"there is no image in {folder}: make them with `edgeroot device build-images`")
    return found


def release_version(images: tuple[ReleaseImage, ...]) -> Version:
    """The manager's. UnfitImagesError if there is none among them."""
    versions: Mapping[str, Version] = {image.name: image.version for image in images}
    if MANAGER not in versions:
        raise UnfitImagesError("the release has no manager whose version could be its own: say --version")
    return versions[MANAGER]


def _each(folder: Path) -> Iterator[ReleaseImage]:
    for path in sorted(folder.iterdir()):
        if path.suffix == IMAGE_SUFFIX:
            try:
                yield read_image(path.stem, path.read_bytes())
            except ImageError as error:
                raise UnfitImagesError(f"{path} cannot be published: {error}. Sign it anew") from error


def _only(image: Image, wanted: TlvKind) -> bytes:
    values = [value for kind, value in image.unprotected if kind is wanted]
    if len(values) != 1:
        raise ImageError(f"it has not exactly one TLV of kind {wanted.name}")
    return values[0]
