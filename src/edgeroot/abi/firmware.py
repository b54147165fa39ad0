"""The firmware of the emulated secure world: which images it has, and how the update agent tells their versions.

An image directory (Trusted Services 1.2) has 32 bits for a version: major (8 bits), minor (8), revision (16), which
leaves out the build number.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from uuid import UUID

from edgeroot.abi.mcuboot import Version

IMAGE_SUFFIX: Final = ".img"
MANAGER: Final = "manager"
"""The partition manager, whose image is verified first and verifies the others."""
IMAGE_TYPES: Final[Mapping[str, UUID]] = MappingProxyType(
    {
        MANAGER: UUID("52f891b9-5846-4dc7-b25e-842bd68ca10a"),
        "storage": UUID("2b9e4c1d-6c53-4d0e-9d3f-0f1f6f6a5b11"),
        "crypto": UUID("c6f0a9be-1d43-47e2-8a50-3e7d2b0a9f12"),
        "attestation": UUID("7d41e3a2-9b0f-4c86-b7d5-5a8c4e2f1c13"),
        "firmware-update": UUID("e81b7f64-3a2d-4f59-a1c8-94d6b3e07d14"),
    }
)
"""What kind of image each part of the firmware is, in the order of the image directory. (Random UUIDs.)"""


IMAGE_INDEXES: Final[Mapping[str, int]] = MappingProxyType({name: index for index, name in enumerate(IMAGE_TYPES)})
"""How dependencies name the images: the manager is 0, a partition the low byte of its FF-A id."""


def pack_version(version: Version) -> int:
    return version.major << 24 | version.minor << 16 | version.revision


def unpack_version(packed: int) -> Version:
    return Version(packed >> 24, packed >> 16 & 0xFF, packed & 0xFFFF)
