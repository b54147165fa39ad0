"""The second stage of the boot: the verified manager verifies its partitions, and keeps them unchangeable.

Each image is read once, and those bytes are verified. They lie in sealed memory files from then on: a partition that is
started anew takes nothing from the disk.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from edgeroot.abi.firmware import IMAGE_INDEXES, MANAGER
from edgeroot.abi.mcuboot import ImageError
from edgeroot.evidence import DigestAlgorithm, Lifecycle, Measurement, extend_measurements
from edgeroot.secure.boot.archive import Archive, check_pins, decode_archive
from edgeroot.secure.boot.encryption import ImageKey
from edgeroot.secure.boot.fuses import FusesError
from edgeroot.secure.boot.handover import Handover, Measured
from edgeroot.secure.boot.root_keys import RootKeys
from edgeroot.secure.boot.trial import MAX_TRIAL_BOOTS
from edgeroot.secure.boot.verify import VerifiedImage, check_dependencies, verify_image
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE, LAYOUT
from edgeroot.secure.platform.flash import FileFlash, FlashError
from edgeroot.secure.platform.sealed import SealedOnce, seal
from edgeroot.secure.spm.manifest import Manifest
from edgeroot.secure.spm.sandbox import sandbox_program
from edgeroot.secure.spm.state import State
from edgeroot.secure.stage.attempts import write_attempts
from edgeroot.secure.stage.device_fuses import read_fuses
from edgeroot.secure.stage.image_key import read_image_key
from edgeroot.secure.stage.measure import loaded_libraries, measure_libraries
from edgeroot.secure.stage.places import ENTRY, FLASH, TRIAL_BOOTS
from edgeroot.secure.stage.sources import BankSource, FolderSource, Source

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedImage:
    """A verified partition: descriptors of sealed memory files with its code and its native modules, by name.

    ``bootstrap`` is the text that its interpreter runs first.
    """

    bootstrap: str = field(repr=False)
    code: int
    native: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPartitions:
    """What may run, by the partitions' names, the log of what was measured in the order of starting, by whom each part
    of it was signed, and with which root keys in which state of the device.

    ``counter`` is the lowest security counter of all that runs: what the device's may be raised to once this boot is
    good. ``bank`` is where it came from, None for a folder.
    """

    images: Mapping[str, LoadedImage]
    event_log: bytes
    lifecycle: Lifecycle
    root_keys: RootKeys
    signers: Mapping[str, bytes]
    counter: int
    least_counter: int
    bank: int | None = None
    is_trial: bool = False
    trial_boots: int = 0


def read_handover(descriptor: int) -> Handover:
    """What the first stage says."""
    with open(descriptor, "rb") as file:
        return Handover.decode(file.read())


def boot(handover: Handover, state: State, manifests: Iterable[Manifest]) -> VerifiedPartitions:
    """Verify the partitions' images. ImageError names the image that is not to run.

    If what boots was accepted, the device's security counter is what it should be afterwards: an acceptance may have
    been interrupted before.
    """
    outside = (*loaded_libraries(), *sandbox_program())
    with ThreadPoolExecutor() as pool:
        below = pool.submit(measure_libraries, outside)
        image_key = read_image_key(state.image_key)
        images, measured, counter = _verify(_source(handover, state), tuple(manifests), handover, image_key, pool.map)
        components = (*handover.measured, below.result(), *measured)
    verified = VerifiedPartitions(
        images=images,
        event_log=extend_measurements(b"", map(_measurement, components)),
        lifecycle=handover.lifecycle,
        root_keys=handover.root_keys,
        signers={one.name: one.signer_id for one in components if one.signer_id},
        counter=min(counter, handover.manager.security_counter),
        least_counter=handover.security_counter,
        bank=handover.bank,
        is_trial=handover.is_trial,
        trial_boots=handover.attempts,
    )
    if handover.bank is not None and not handover.is_trial:
        try:
            BootedFirmware(state, verified).accept()
        except FusesError as error:  # the device is to boot also when no older firmware can be shut out any more
            _log.warning("the security counter stays: %s", error)
    return verified


def begin_anew(handover: Handover) -> NoReturn:
    """Boot again without the bank whose partitions are not to run."""
    assert handover.bank is not None
    failed = (f"--failed-bank={bank}" for bank in (*handover.failed, handover.bank))
    arguments = [*handover.arguments, *failed]
    os.execv(sys.executable, [sys.executable, "-I", "-m", ENTRY, *arguments])


class BootedFirmware:
    """What this boot came from, as the manager sees it."""

    def __init__(self, state: State, verified: VerifiedPartitions) -> None:
        self._state = state
        self._verified = verified
        self._is_trial = verified.is_trial

    def accept(self) -> int:
        """What is older than what runs runs no more. FusesError if the memory has no word left for it."""
        fuses = read_fuses(self._state.one_time_memory)
        if fuses is None:
            raise FusesError("the one-time-programmable memory is gone")
        if fuses.security_counter() < self._verified.counter:
            fuses.raise_counter(self._verified.counter)
        self._is_trial = False
        return fuses.security_counter()

    def settle(self) -> None:
        """The update agent runs, so it has written down where this boot came from.

        Trial boots of an update that it fell back from count no more: the next update in that bank has its own.
        """
        if self._verified.bank is None or self._verified.is_trial:
            return
        try:
            write_attempts(self._state.path / TRIAL_BOOTS, None)
        except OSError as error:
            _log.warning("the count of trial boots stays: %s", error)

    def status(self) -> dict[str, object]:
        """``bank`` is None where a folder of images boots."""
        return {
            "bank": self._verified.bank,
            "on_trial": self._is_trial,
            "trial_boots": self._verified.trial_boots if self._is_trial else 0,
            "trial_boots_at_most": MAX_TRIAL_BOOTS,
            "lifecycle": self._verified.lifecycle.words,
            "root_keys": self._verified.root_keys.describe(),
        }


def _source(handover: Handover, state: State) -> Source:
    if handover.bank is None:
        return FolderSource(Path(handover.folder))
    try:
        flash = FileFlash(state.path / FLASH / FLASH_FILE, size_bytes=LAYOUT.size_bytes, read_only=True)
    except FlashError as error:  # somebody has exchanged it since the first stage
        raise ImageError(str(error)) from error
    return BankSource(flash, handover.bank)


def _verify(
    source: Source,
    manifests: tuple[Manifest, ...],
    handover: Handover,
    image_key: ImageKey | None,
    in_parallel: Callable[..., Iterable[tuple[VerifiedImage, Archive]]],
) -> tuple[dict[str, LoadedImage], list[Measured], int]:
    """The partitions, what was measured, and their lowest security counter."""

    def verify(manifest: Manifest) -> tuple[VerifiedImage, Archive]:
        try:
            verified = verify_image(
                source.read(manifest.name),
                root_keys=handover.root_keys,
                least_security_counter=handover.security_counter,
                image_key=image_key,
            )
            return verified, decode_archive(verified.image.body, partition=manifest.name)
        except ImageError as error:
            place = source.place(manifest.name)
            raise ImageError(f"the image {place} does not run: {error}. Put a good image there") from error

    found = list(in_parallel(verify, manifests))
    described = {IMAGE_INDEXES[MANAGER]: (MANAGER, handover.manager)}
    for manifest, (verified, _) in zip(manifests, found, strict=True):
        described[IMAGE_INDEXES[manifest.name]] = (manifest.name, verified.image.described())
    check_dependencies(described)
    images, measured, shared = {}, [], SealedOnce()
    for manifest, (verified, archive) in zip(manifests, found, strict=True):
        check_pins(manifest.name, archive, handover.digests)
        version = verified.image.version.short
        measured.append(
            Measured(name=manifest.name, digest=verified.digest, version=version, signer_id=verified.signer_id)
        )
        images[manifest.name] = LoadedImage(
            bootstrap=archive.bootstrap,
            code=seal(verified.image.body),
            native={name: shared.seal(name, data) for name, data in archive.native.items()}
            | {name: handover.native[name] for name in archive.pinned},
        )
    return images, measured, min(verified.image.security_counter for verified, _ in found)


def _measurement(one: Measured) -> Measurement:
    is_verified = bool(one.signer_id)
    return Measurement(one.name, DigestAlgorithm.SHA256, one.digest, version=one.version, is_verified=is_verified)
