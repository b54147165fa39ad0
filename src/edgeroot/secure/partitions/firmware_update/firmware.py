"""The flash of the emulated device: both banks have an area for each image of its firmware."""

from __future__ import annotations

from typing import Final
from uuid import UUID, uuid5

from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.secure.partitions.firmware_update.layout import FirmwareImage, FlashLayout

FLASH_FILE: Final = "flash"
_AREA_BYTES: Final = 32 << 20

LAYOUT: Final = FlashLayout(
    location=UUID("08bae363-18b8-4f52-9e2a-92e76b145fe9"),
    images=tuple(
        FirmwareImage(
            image_type=image_type,
            areas=(uuid5(image_type, "bank 0"), uuid5(image_type, "bank 1")),
            max_size_bytes=_AREA_BYTES,
        )
        for image_type in IMAGE_TYPES.values()
    ),
)
