"""Runs the first stage: find out what may boot, verify the partition manager, become it.

What it has to know comes from the one-time-programmable memory, the flash's metadata and its arguments. The manager is
this same process from then on, executed anew: an interpreter without a site and without a path, which runs the verified
image's first text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import NoReturn

from edgeroot.abi.firmware import MANAGER
from edgeroot.abi.mcuboot import ImageError
from edgeroot.psa import Lifecycle
from edgeroot.secure.boot.archive import Archive, decode_archive
from edgeroot.secure.boot.choice import choose
from edgeroot.secure.boot.encryption import ImageKey
from edgeroot.secure.boot.errors import BootError
from edgeroot.secure.boot.fuses import FusesError
from edgeroot.secure.boot.handover import Handover, Measured
from edgeroot.secure.boot.root_keys import RootKeys
from edgeroot.secure.boot.trial import Attempts
from edgeroot.secure.boot.verify import VerifiedImage, verify_image
from edgeroot.secure.partitions.firmware_update.banks import fits
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE, LAYOUT
from edgeroot.secure.partitions.firmware_update.layout import BANKS
from edgeroot.secure.partitions.firmware_update.metadata_store import MetadataStore
from edgeroot.secure.platform.files import FileLock, LockedError
from edgeroot.secure.platform.flash import FileFlash, FlashError
from edgeroot.secure.platform.one_time_memory import OneTimeMemoryError
from edgeroot.secure.platform.sealed import seal
from edgeroot.secure.stage.attempts import read_attempts, write_attempts
from edgeroot.secure.stage.device_fuses import read_fuses
from edgeroot.secure.stage.image_key import read_image_key
from edgeroot.secure.stage.measure import loaded_modules, measure_first_stage
from edgeroot.secure.stage.options import Options, read_options
from edgeroot.secure.stage.places import ENTRY, FLASH, IMAGE_KEY, LOCK, ONE_TIME_MEMORY, TRIAL_BOOTS
from edgeroot.secure.stage.sources import BankSource, FolderSource


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the images come from that may boot, and of a bank how often it has been tried."""

    source: FolderSource | BankSource
    is_trial: bool = False
    attempts: Attempts | None = None


def main(arguments: Sequence[str]) -> int | None:
    """Become the partition manager. The exit code if that is refused; None where unverified code may run."""
    try:
        _boot(arguments)
    except (BootError, ImageError, FlashError, LockedError, OneTimeMemoryError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return None


def _boot(arguments: Sequence[str]) -> None:
    options = read_options(arguments)
    fuses = read_fuses(options.state / ONE_TIME_MEMORY)
    state = Lifecycle.ASSEMBLY_AND_TEST if fuses is None else fuses.lifecycle()
    if state > Lifecycle.SECURED:
        raise FusesError(f"the device is {state.words}: its secure world does not start any more")
    failed = set(options.failed_banks)
    while True:
        place = _place(options, frozenset(failed))
        if place is None:
            if failed:
                raise ImageError("no bank holds firmware that may run: provision the device anew, or repair it")
            if state is Lifecycle.SECURED:
                raise FusesError(
                    "the device is secured and runs signed images only: name their folder with --images, or have them "
                    "written to the device when it is provisioned"
                )
            return
        root_keys = None if fuses is None else fuses.root_keys()
        if fuses is None or root_keys is None:
            raise FusesError("the device has no root key to verify images with: `edgeroot device provision`")
        source = place.source
        if source.bank is not None:
            FileLock.acquire(options.state / LOCK).release()  # no boot, and not to be counted, while another one runs
            if not _count(options.state / TRIAL_BOOTS, place):
                failed.add(source.bank)
                continue
        try:
            image_key = read_image_key(options.state / IMAGE_KEY)
            image, archive, measured = _verified(source, root_keys, fuses.security_counter(), image_key)
        except ImageError as error:
            reason = f"the image {source.place(MANAGER)} does not run: {error}"
            if source.bank is None:
                raise ImageError(f"{reason}. Put a good image there") from error
            print(f"WARNING boot: {reason}; trying the other bank", file=sys.stderr)
            failed.add(source.bank)
            continue
        handover = Handover(
            lifecycle=state,
            root_keys=root_keys,
            security_counter=fuses.security_counter(),
            manager=image.image.described(),
            measured=measured,
            folder="" if options.images is None else str(options.images.absolute()),
            bank=source.bank,
            is_trial=place.is_trial,
            attempts=place.attempts.count if place.is_trial and place.attempts is not None else 0,
            failed=tuple(sorted(failed)),
            arguments=tuple(arguments),
        )
        _become(archive, handover, arguments)


def _count(path: Path, place: _Place) -> bool:
    """Remember this boot before anything of it runs. False if it may not run, as a trial that is not counted."""
    if place.attempts == read_attempts(path):
        return True
    try:
        write_attempts(path, place.attempts)
    except OSError as error:
        print(f"WARNING boot: {path} cannot be written: {error.strerror}", file=sys.stderr)
        return not place.is_trial
    return True


def _place(options: Options, failed: frozenset[int]) -> _Place | None:
    """None if there is nothing to boot. FlashError."""
    if options.images is not None:
        return _Place(source=FolderSource(options.images))
    path = options.state / FLASH / FLASH_FILE
    if not path.exists():
        return None
    flash = FileFlash(path, size_bytes=LAYOUT.size_bytes, read_only=True)
    stored = MetadataStore(flash).peek()
    if stored is None or not fits(stored.metadata, LAYOUT):
        return None
    if not any(BankSource(flash, bank).begins_with_image(MANAGER) for bank in range(BANKS)):
        return None  # the update agent has made the flash, and nobody has written firmware to it
    choice = choose(stored.metadata, read_attempts(options.state / TRIAL_BOOTS), failed=failed)
    if choice is None:
        return None
    return _Place(source=BankSource(flash, choice.bank), is_trial=choice.is_trial, attempts=choice.attempts)


def _verified(
    source: FolderSource | BankSource, root_keys: RootKeys, security_counter: int, image_key: ImageKey | None
) -> tuple[VerifiedImage, Archive, tuple[Measured, ...]]:
    """The manager's image, and everything that is measured so far. ImageError."""
    below: list[Measured] = []
    modules = loaded_modules(f"{ENTRY}.__main__")
    measuring = Thread(target=lambda: below.extend(measure_first_stage(modules)))
    measuring.start()
    try:
        image = verify_image(
            source.read(MANAGER),
            root_keys=root_keys,
            least_security_counter=security_counter,
            image_key=image_key,
        )
        archive = decode_archive(image.image.body, partition=MANAGER)
    finally:
        measuring.join()
    if not below:
        raise BootError("what the first stage stands on cannot be measured (see above)")
    version = image.image.version.short
    manager = Measured(name=MANAGER, digest=image.digest, version=version, signer_id=image.signer_id)
    return image, archive, (*below, manager)


def _become(archive: Archive, handover: Handover, arguments: Sequence[str]) -> NoReturn:
    """Execute the interpreter anew, on what was verified."""
    native = {name: seal(data) for name, data in archive.native.items()}
    given = (
        seal(archive.code_only().encode()),
        seal(replace(handover, native=native, digests=archive.pinned).encode()),
    )
    for descriptor in (*given, *native.values()):
        os.set_inheritable(descriptor, True)
    places = (f"{name}=/proc/self/fd/{descriptor}" for name, descriptor in native.items())
    line = [sys.executable, "-I", "-S", "-c", archive.bootstrap, str(given[0]), *places, "--"]
    line += [*arguments, "--handover", str(given[1])]  # the last one counts, whatever was given before
    os.execv(sys.executable, line)
