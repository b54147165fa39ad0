"""The firmware update partition's entry for its process."""

from __future__ import annotations

from edgeroot.secure.partitions.firmware_update.agent import UpdateAgent
from edgeroot.secure.partitions.firmware_update.boot import boot_info
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE, LAYOUT
from edgeroot.secure.partitions.firmware_update.service import FirmwareUpdateService
from edgeroot.secure.platform.flash import FileFlash
from edgeroot.secure.runtime.api import Service
from edgeroot.secure.runtime.environment import Environment


def create(environment: Environment) -> tuple[Service, ...]:
    """The update agent over the flash in its folder. FlashError."""
    if environment.flash_folder is None:
        raise ValueError("the manifest of the firmware update partition asks for no flash")
    flash = FileFlash(environment.flash_folder / FLASH_FILE, size_bytes=LAYOUT.size_bytes)
    return (FirmwareUpdateService(UpdateAgent(flash, LAYOUT, boot_info(flash, LAYOUT, environment.boot_seed))),)
