"""What a release is called, and what of it lies where.

A target of the repository is ``PRODUCT/VERSION/NAME.img``, with the custom field ``{"image-type": UUID}``. ``NAME`` is
for people; the type is what a device looks for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from edgeroot.abi.firmware import IMAGE_SUFFIX, IMAGE_TYPES
from edgeroot.abi.mcuboot import Version

IMAGE_TYPE: Final = "image-type"
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_PRODUCT: Final = re.compile(_NAME)
_VERSION: Final = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,5})(?:\+(\d{1,10}))?", re.ASCII)
_TARGET: Final = re.compile(rf"({_NAME})/([0-9.+]+)/({_NAME}){re.escape(IMAGE_SUFFIX)}")
_MOST: Final = (0xFF, 0xFF, 0xFFFF, 0xFFFFFFFF)
_NAMES: Final = {image_type: name for name, image_type in IMAGE_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Release:
    """The images of one version, as paths of targets by their types."""

    product: str
    version: Version
    images: Mapping[UUID, str]


def is_product(text: str) -> bool:
    return _PRODUCT.fullmatch(text) is not None


def read_version(text: str) -> Version | None:
    """``1.2.3`` or ``1.2.3+4``; None for anything else."""
    found = _VERSION.fullmatch(text)
    if found is None:
        return None
    numbers = [int(part or 0) for part in found.groups()]
    if any(number > most for number, most in zip(numbers, _MOST, strict=True)):
        return None
    version = Version(*numbers)
    return version if version.short == text else None


def target_path(product: str, version: Version, name: str) -> str:
    return f"{product}/{version.short}/{name}{IMAGE_SUFFIX}"


def image_name(image_type: UUID) -> str:
    """What people call the type; the UUID itself of one that is not known here."""
    return _NAMES.get(image_type, str(image_type))


def releases_of(targets: Iterable[tuple[str, object]]) -> list[Release]:
    """The releases in the targets' paths and custom fields, oldest first. What has not the form of one is none."""
    found: dict[tuple[str, Version], dict[UUID, str]] = {}
    for path, custom in targets:
        parts = _TARGET.fullmatch(path)
        version = None if parts is None else read_version(parts[2])
        image_type = _image_type(custom)
        if parts is not None and version is not None and image_type is not None:
            found.setdefault((parts[1], version), {})[image_type] = path
    return [
        Release(product, version, images) for (product, version), images in sorted(found.items(), key=lambda i: i[0])
    ]


def _image_type(custom: object) -> UUID | None:
    try:
        return UUID(custom[IMAGE_TYPE]) if isinstance(custom, Mapping) else None
    except (KeyError, ValueError, AttributeError, TypeError):
        return None
