"""The firmware update partition's entry for its process."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from edgeroot.secure.partitions.firmware_update.agent import UpdateAgent
from edgeroot.secure.partitions.firmware_update.boot import boot_info
from edgeroot.secure.partitions.firmware_update.layout import FirmwareImage, FlashLayout
from edgeroot.secure.partitions.firmware_update.service import FirmwareUpdateService
from edgeroot.secure.platform.flash import FileFlash
from edgeroot.secure.runtime.api import Service
from edgeroot.secure.runtime.environment import Environment

# The emulated device has one image, the firmware. (Random UUIDs: its type, its two areas, and the flash.)
LAYOUT: Final = FlashLayout(
    location=UUID("08bae363-18b8-4f52-9e2a-92e76b145fe9"),
    images=(
        FirmwareImage(
            image_type=UUID("52f891b9-5846-4dc7-b25e-842bd68ca10a"),
            areas=(UUID("00958e2d-9132-4011-8248-c2b5b78bd2ad"), UUID("ced5ea5b-963b-4483-bf47-c244c6339234")),
            max_size_bytes=4 << 20,
        ),
    ),
)


def create(environment: Environment) -> tuple[Service, ...]:
    """The update agent over the flash in its folder. FlashError."""
    if environment.flash_folder is None:
        raise ValueError("the manifest of the firmware update partition asks for no flash")
    flash = FileFlash(environment.flash_folder / "flash", size_bytes=LAYOUT.size_bytes)
    return (FirmwareUpdateService(UpdateAgent(flash, LAYOUT, boot_info(flash, LAYOUT, environment.boot_seed))),)
