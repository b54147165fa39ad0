"""The firmware update partition's entry for its process."""

from __future__ import annotations

import logging
from typing import Final

from edgeroot.abi.rpc_status import RpcError
from edgeroot.secure.partitions.firmware_update.agent import UpdateAgent
from edgeroot.secure.partitions.firmware_update.boot import boot_info
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE, LAYOUT
from edgeroot.secure.partitions.firmware_update.judge import RootKeyJudge
from edgeroot.secure.partitions.firmware_update.service import FirmwareUpdateService
from edgeroot.secure.platform.flash import FileFlash
from edgeroot.secure.runtime.api import Service
from edgeroot.secure.runtime.environment import Environment

_log: Final = logging.getLogger(__name__)


def create(environment: Environment) -> tuple[Service, ...]:
    """The update agent over the flash in its folder. FlashError.

    On a device whose images are verified it installs nothing that would not be.
    """
    if environment.flash_folder is None:
        raise ValueError("the manifest of the firmware update partition asks for no flash")
    flash = FileFlash(environment.flash_folder / FLASH_FILE, size_bytes=LAYOUT.size_bytes)
    judge = None
    if environment.root_keys is not None:
        judge = RootKeyJudge(environment.root_keys, least_counter=environment.security_counter)

    def when_accepted() -> None:
        if environment.firmware_accepted is None or judge is None:
            return
        try:
            judge.least_counter = environment.firmware_accepted()
        except RpcError as error:  # what was accepted stays so, and the next boot finds that out
            _log.warning("%s", error)

    boot = boot_info(flash, LAYOUT, environment.boot_seed, booted_bank=environment.booted_bank)
    return (FirmwareUpdateService(UpdateAgent(flash, LAYOUT, boot, judge=judge, when_accepted=when_accepted)),)
