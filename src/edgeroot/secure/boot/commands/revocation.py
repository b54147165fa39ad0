"""Whether a device still boots once a root key of it is revoked, looked at before it is."""

from __future__ import annotations

from pathlib import Path

from edgeroot.abi.firmware import MANAGER
from edgeroot.abi.fwu_objects import BankState
from edgeroot.abi.mcuboot import ImageError
from edgeroot.psa import Lifecycle
from edgeroot.secure.boot.commands.factory import read_firmware
from edgeroot.secure.boot.fuses import Fuses
from edgeroot.secure.boot.root_keys import RootKeys
from edgeroot.secure.partitions.firmware_update.banks import fits, is_accepted
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE, LAYOUT
from edgeroot.secure.partitions.firmware_update.layout import BANKS
from edgeroot.secure.partitions.firmware_update.metadata_store import MetadataStore
from edgeroot.secure.platform.flash import FileFlash
from edgeroot.secure.spm.state import State
from edgeroot.secure.stage.image_key import read_image_key
from edgeroot.secure.stage.places import FLASH
from edgeroot.secure.stage.sources import BankSource, FolderSource, Source


def check_still_boots(state: State, fuses: Fuses, left: RootKeys, folder: Path | None) -> None:
    """ImageError, with the reason, unless firmware by the keys that are left boots; OneTimeMemoryError, FlashError.

    From everywhere that the device may boot from: its flash, if that holds firmware, and ``folder``, if it is started
    with one. What is on trial does not count, as it may yet turn out not to boot.
    """
    image_key = read_image_key(state.image_key)
    counter = fuses.security_counter()

    def check(source: Source) -> None:
        read_firmware(source, root_keys=left, security_counter=counter, image_key=image_key)

    if folder is not None:
        check(FolderSource(folder))
    reasons = []
    for bank, is_good in _banks(state.path / FLASH / FLASH_FILE):
        try:
            if not is_good:
                raise ImageError(f"what lies in bank {bank.bank} was not accepted (edgeroot update accept)")
            check(bank)
        except ImageError as error:
            reasons.append(str(error))
        else:
            return
    if reasons:
        raise ImageError("; ".join(reasons))
    if folder is None and fuses.lifecycle() >= Lifecycle.SECURED:
        raise ImageError("its flash holds no firmware: name with --images the folder that it boots from")


def _banks(path: Path) -> list[tuple[BankSource, bool]]:
    """Each bank, and whether what it holds was accepted; none if the first stage would find no firmware there."""
    if not path.exists():
        return []
    flash = FileFlash(path, size_bytes=LAYOUT.size_bytes, read_only=True)
    stored = MetadataStore(flash).peek()
    found = [BankSource(flash, bank) for bank in range(BANKS)]
    if stored is None or not fits(stored.metadata, LAYOUT):
        return []
    if not any(one.begins_with_image(MANAGER) for one in found):
        return []
    states = stored.metadata.bank_states
    return [(one, states[one.bank] != BankState.INVALID and is_accepted(stored.metadata, one.bank)) for one in found]
