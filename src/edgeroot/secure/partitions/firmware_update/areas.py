"""What lies in the areas of the flash."""

from __future__ import annotations

from edgeroot.abi.mcuboot import image_bytes
from edgeroot.secure.partitions.firmware_update.layout import FirmwareImage, FlashLayout
from edgeroot.secure.partitions.firmware_update.ports import Flash


def read_image(flash: Flash, layout: FlashLayout, image: FirmwareImage, bank: int) -> bytes:
    """The image in a bank, without the erased flash behind it. ImageError if there is none."""
    offset = layout.offset_of(image, bank)

    def read(at: int, size_bytes: int) -> bytes:
        room_bytes = image.max_size_bytes - at  # a damaged header may point far beyond the flash
        return flash.read(offset + at, min(size_bytes, room_bytes)) if room_bytes > 0 else b""

    return read(0, image_bytes(read))
