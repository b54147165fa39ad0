"""Which bank this boot came from: the emulation's part of the first boot stages.

A partition that is started anew is no new boot. So the choice is made once for each boot, and then remembered.
"""

from __future__ import annotations

from hashlib import sha256

from edgeroot.secure.partitions.firmware_update import banks
from edgeroot.secure.partitions.firmware_update.agent import BootInfo
from edgeroot.secure.partitions.firmware_update.layout import FlashLayout
from edgeroot.secure.partitions.firmware_update.metadata_store import MetadataStore
from edgeroot.secure.partitions.firmware_update.ports import Flash


def boot_info(flash: Flash, layout: FlashLayout, boot_seed: bytes, *, booted_bank: int | None = None) -> BootInfo:
    """``boot_seed`` is random and another one in each boot; ``booted_bank`` is known where a boot stage has chosen."""
    boot_id = sha256(boot_seed).digest()
    if booted_bank is not None:
        return BootInfo(boot_id, booted_bank)
    stored = MetadataStore(flash).load()
    if stored is None or not banks.fits(stored.metadata, layout):
        return BootInfo(boot_id, 0)
    if stored.boot is not None and stored.boot.boot_id == boot_id:
        return BootInfo(boot_id, stored.boot.bank)
    return BootInfo(boot_id, banks.bank_to_boot(stored.metadata))
