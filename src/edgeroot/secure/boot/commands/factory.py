"""A new device's firmware: whether all of it would run there, and how it gets into the first bank."""

from __future__ import annotations

import os
from typing import Final

from edgeroot.abi.firmware import IMAGE_TYPES, MANAGER
from edgeroot.abi.mcuboot import ImageError
from edgeroot.secure.boot.archive import decode_archive
from edgeroot.secure.boot.encryption import ImageKey
from edgeroot.secure.boot.root_keys import RootKeys
from edgeroot.secure.boot.together import check_together
from edgeroot.secure.boot.verify import verify_image
from edgeroot.secure.partitions.firmware_update.banks import fresh
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE, LAYOUT
from edgeroot.secure.partitions.firmware_update.metadata_store import MetadataStore
from edgeroot.secure.platform.flash import BLOCK_BYTES, FileFlash
from edgeroot.secure.spm.manifest import built_in_manifests
from edgeroot.secure.spm.state import State
from edgeroot.secure.stage.sources import Source

_BANK: Final = 0


def read_firmware(
    source: Source, *, root_keys: RootKeys, security_counter: int, image_key: ImageKey | None
) -> dict[str, bytes]:
    """The images by their names, verified as the device will. ImageError names the one that would not run."""
    images, described, archives = {}, {}, {}
    for name in IMAGE_TYPES:
        try:
            images[name] = source.read(name)
            verified = verify_image(
                images[name], root_keys=root_keys, least_security_counter=security_counter, image_key=image_key
            )
            archives[name] = decode_archive(verified.image.body, partition=name)
            described[name] = verified.image.described()
        except ImageError as error:
            raise ImageError(f"{source.place(name)} would not run on this device: {error}") from error
    try:
        check_together(described, archives)
    except ImageError as error:
        raise ImageError(f"the images beside {source.place(MANAGER)} do not fit together: {error}") from error
    return images


def write_firmware(state: State, images: dict[str, bytes]) -> None:
    """Fill the first bank. Interrupted, the device has no firmware and gets it by the same again.

    OSError, FlashError, StateError.
    """
    state.prepare_folders()
    owner = next(manifest for manifest in built_in_manifests() if manifest.flash)
    folders = state.folders_of(owner)
    assert folders.flash is not None
    path = folders.flash / FLASH_FILE
    flash = FileFlash(path, size_bytes=LAYOUT.size_bytes)
    flash.erase(0, 2 * BLOCK_BYTES)  # the metadata, without which nothing in the banks counts
    flash.sync()
    for name, data in images.items():
        area = LAYOUT.find(IMAGE_TYPES[name])
        assert area is not None
        if len(data) > area.max_size_bytes:
            raise ImageError(f"{name} has {len(data)} bytes, and its area in the flash {area.max_size_bytes}")
        flash.erase(LAYOUT.offset_of(area, _BANK), area.max_size_bytes)
        flash.write(LAYOUT.offset_of(area, _BANK), data)
    flash.sync()
    MetadataStore(flash).save(fresh(LAYOUT, _BANK), None)
    flash.close()
    if folders.user_id is not None:
        os.chown(path, folders.user_id, folders.user_id)
