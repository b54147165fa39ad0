"""Where things are in the flash: two copies of the metadata, then bank 0, then bank 1.

A bank has one area for each image. Areas begin at blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

BANKS: Final = 2
BLOCK_BYTES: Final = 4096
"""What is erased at once, and the room of one copy of the metadata."""
_IMAGES_MAX: Final = 20
_FIRST_BANK: Final = 2 * BLOCK_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class FirmwareImage:
    """One kind of image. ``areas`` are the GUIDs of its areas in bank 0 and 1; ``max_size_bytes`` is whole blocks."""

    image_type: UUID
    areas: tuple[UUID, UUID]
    max_size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashLayout:
    """``location`` is the GUID of the flash itself. ValueError for images that have no place."""

    location: UUID
    images: tuple[FirmwareImage, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.images) <= _IMAGES_MAX:
            raise ValueError(f"{len(self.images)} images, not 1 to {_IMAGES_MAX}")
        if len({image.image_type for image in self.images}) != len(self.images):
            raise ValueError("two images are of the same type")
        if any(image.max_size_bytes <= 0 or image.max_size_bytes % BLOCK_BYTES for image in self.images):
            raise ValueError("an image's area is no whole number of blocks")

    @property
    def bank_bytes(self) -> int:
        return sum(image.max_size_bytes for image in self.images)

    @property
    def size_bytes(self) -> int:
        """Of the flash."""
        return _FIRST_BANK + BANKS * self.bank_bytes

    def find(self, image_type: UUID) -> FirmwareImage | None:
        return next((image for image in self.images if image.image_type == image_type), None)

    def offset_of(self, image: FirmwareImage, bank: int) -> int:
        """Where the image's area in a bank begins."""
        before = self.images[: self.images.index(image)]
        return _FIRST_BANK + bank * self.bank_bytes + sum(one.max_size_bytes for one in before)
