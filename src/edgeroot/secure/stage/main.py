"""Runs the first stage: find out what may boot, verify the partition manager, become it.

What it has to know comes from the one-time-programmable memory, the flash's metadata and its arguments. The manager is
this same process from then on, executed anew: an interpreter without a site and without a path, which runs the verified
image's first text.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from edgeroot.abi.firmware import MANAGER
from edgeroot.abi.mcuboot import ImageError
from edgeroot.psa import Lifecycle
from edgeroot.secure.boot.archive import Archive, decode_archive
from edgeroot.secure.boot.choice import Attempts, choose
from edgeroot.secure.boot.errors import BootError
from edgeroot.secure.boot.fuses import WORDS, Fuses, FusesError
from edgeroot.secure.boot.handover import Handover, Measured
from edgeroot.secure.boot.verify import VerifiedImage, verify_image
from edgeroot.secure.partitions.firmware_update.banks import fits
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE, LAYOUT
from edgeroot.secure.partitions.firmware_update.metadata_store import MetadataStore
from edgeroot.secure.platform.flash import FileFlash, FlashError
from edgeroot.secure.platform.one_time_memory import FileOneTimeMemory, OneTimeMemoryError
from edgeroot.secure.platform.sealed import seal
from edgeroot.secure.stage.attempts import read_attempts, write_attempts
from edgeroot.secure.stage.measure import measure_first_stage
from edgeroot.secure.stage.places import FLASH, ONE_TIME_MEMORY, TRIAL_BOOTS
from edgeroot.secure.stage.sources import BankSource, FolderSource

ENTRY: Final = "edgeroot.secure.spm"
"""The module that is started, whose first stage this is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the images come from that may boot, and of a bank how often it has been tried."""

    source: FolderSource | BankSource
    is_trial: bool = False
    attempts: Attempts | None = None


def is_provisioned(arguments: Sequence[str]) -> bool:
    """Whether the device was told anything, or images are named, so that the first stage has something to decide."""
    options = _options(arguments)
    return options.images is not None or (options.state / ONE_TIME_MEMORY).exists()


def main(arguments: Sequence[str]) -> int | None:
    """Become the partition manager. The exit code if that is refused; None where unverified code may run."""
    try:
        _boot(arguments)
    except (BootError, ImageError, FlashError, OneTimeMemoryError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return None


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--state", type=Path, default=Path())
    parser.add_argument("--images", type=Path)
    parser.add_argument("--failed-bank", type=int, action="append", default=[])
    return parser.parse_known_args(arguments)[0]


def _boot(arguments: Sequence[str]) -> None:
    options = _options(arguments)
    memory_path = options.state / ONE_TIME_MEMORY
    fuses = Fuses(FileOneTimeMemory(memory_path, words=WORDS, create=False)) if memory_path.exists() else None
    state = Lifecycle.ASSEMBLY_AND_TEST if fuses is None else fuses.lifecycle()
    if state > Lifecycle.SECURED:
        raise FusesError(f"the device is {state.words}: its secure world does not start any more")
    failed = set(options.failed_bank)
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
        root_key_hash = None if fuses is None else fuses.root_key_hash()
        if fuses is None or root_key_hash is None:
            raise FusesError("the device has no root key to verify images with: `edgeroot device provision`")
        source = place.source
        if source.bank is not None:
            write_attempts(options.state / TRIAL_BOOTS, place.attempts)  # before anything of it runs
        try:
            image, archive, measured = _verified(source, root_key_hash, fuses.security_counter())
        except ImageError as error:
            reason = f"the image {source.place(MANAGER)} does not run: {error}"
            if source.bank is None:
                raise ImageError(f"{reason}. Put a good image there") from error
            print(f"WARNING boot: {reason}; trying the other bank", file=sys.stderr)
            failed.add(source.bank)
            continue
        handover = Handover(
            lifecycle=state,
            root_key_hash=root_key_hash,
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


def _place(options: argparse.Namespace, failed: frozenset[int]) -> _Place | None:
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
    choice = choose(stored.metadata, read_attempts(options.state / TRIAL_BOOTS), failed=failed)
    if choice is None:
        return None
    return _Place(source=BankSource(flash, choice.bank), is_trial=choice.is_trial, attempts=choice.attempts)


def _verified(
    source: FolderSource | BankSource, root_key_hash: bytes, security_counter: int
) -> tuple[VerifiedImage, Archive, tuple[Measured, ...]]:
    """The manager's image, and everything that is measured so far. ImageError."""
    with ThreadPoolExecutor(1) as pool:
        below = pool.submit(measure_first_stage, f"{ENTRY}.__main__")
        image = verify_image(source.read(MANAGER), root_key_hash=root_key_hash, least_security_counter=security_counter)
        archive = decode_archive(bytes(image.image.body), partition=MANAGER)
        manager = Measured(name=MANAGER, digest=image.digest, version=image.image.version.short)
        return image, archive, (*below.result(), manager)


def _become(archive: Archive, handover: Handover, arguments: Sequence[str]) -> NoReturn:
    """Execute the interpreter anew, on what was verified."""
    native = {name: seal(data) for name, data in archive.native.items()}
    given = (seal(archive.code_only().encode()), seal(handover.encode()))
    for descriptor in (*given, *native.values()):
        os.set_inheritable(descriptor, True)
    places = (f"{name}=/proc/self/fd/{descriptor}" for name, descriptor in native.items())
    line = [sys.executable, "-I", "-S", "-c", archive.bootstrap, str(given[0]), *places, "--"]
    line += ["--handover", str(given[1]), *arguments]
    os.execv(sys.executable, line)
