"""The first stage for the partitions: reads each image once, verifies those bytes, and keeps them unchangeable.

What is verified lies in sealed memory files from then on. Starting a partition anew takes nothing from the disk.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgeroot.abi.mcuboot import ImageError
from edgeroot.evidence import Lifecycle, write_measurements
from edgeroot.secure.boot.archive import Archive, decode_archive
from edgeroot.secure.boot.fuses import WORDS, Fuses, FusesError
from edgeroot.secure.boot.verify import VerifiedImage, check_dependencies, verify_image
from edgeroot.secure.platform.one_time_memory import FileOneTimeMemory
from edgeroot.secure.spm.manifest import Manifest

SUFFIX: Final = ".img"
_INDEX_MASK: Final = 0xFF
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


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
    """What may run, by the partitions' names, the log of what was measured in the order of starting, and by whom it was
    signed in which state of the device.
    """

    images: Mapping[str, LoadedImage]
    event_log: bytes
    lifecycle: Lifecycle
    signer_id: bytes


def boot(memory_path: Path, folder: Path | None, manifests: Iterable[Manifest]) -> VerifiedPartitions | None:
    """Verify the partitions' images in ``folder``; None where unverified code may run and ``folder`` is None.

    ImageError names the image that is not to run; FusesError or OneTimeMemoryError say why the device does not boot.
    """
    fuses = read_fuses(memory_path)
    state = Lifecycle.ASSEMBLY_AND_TEST if fuses is None else fuses.lifecycle()
    if state > Lifecycle.SECURED:
        raise FusesError(f"the device is {state.words}: its secure world does not start any more")
    if folder is None:
        if state is Lifecycle.SECURED:
            raise FusesError("the device is secured and runs signed images only: name their folder with --images")
        return None
    root_key_hash = None if fuses is None else fuses.root_key_hash()
    if fuses is None or root_key_hash is None:
        raise FusesError("the device has no root key to verify images with: `edgeroot device provision`")
    images, event_log = _verify(folder, tuple(manifests), root_key_hash, fuses.security_counter())
    return VerifiedPartitions(images=images, event_log=event_log, lifecycle=state, signer_id=root_key_hash)


def read_fuses(path: Path) -> Fuses | None:
    """The device's memory, if it has been written to."""
    return Fuses(FileOneTimeMemory(path, words=WORDS, create=False)) if path.exists() else None


def image_index(manifest: Manifest) -> int:
    """How dependencies name a partition: the low byte of its FF-A id."""
    return manifest.id & _INDEX_MASK


def _verify(
    folder: Path, manifests: tuple[Manifest, ...], root_key_hash: bytes, least_security_counter: int
) -> tuple[dict[str, LoadedImage], bytes]:
    """The partitions, and the event log."""

    def verify(manifest: Manifest) -> tuple[VerifiedImage, Archive]:
        path = folder / f"{manifest.name}{SUFFIX}"
        try:
            verified = verify_image(
                path.read_bytes(), root_key_hash=root_key_hash, least_security_counter=least_security_counter
            )
            return verified, decode_archive(bytes(verified.image.body), partition=manifest.name)
        except ImageError as error:
            raise ImageError(f"the image {path} does not run: {error}. Put a good image there") from error
        except OSError as error:
            raise ImageError(f"the image {path} cannot be read: {error.strerror}. Put a good image there") from error

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(verify, manifests))
    check_dependencies(
        {
            image_index(manifest): (manifest.name, verified.image)
            for manifest, (verified, _) in zip(manifests, found, strict=True)
        }
    )
    measured = {}
    images = {}
    kept: dict[str, tuple[bytes, int]] = {}
    for manifest, (verified, archive) in zip(manifests, found, strict=True):
        measured[manifest.name] = verified.digest
        native = {name: _keep(name, data, kept) for name, data in archive.native.items()}
        code = Archive(partition=archive.partition, code=archive.code, packages=archive.packages)
        loaded = LoadedImage(bootstrap=archive.bootstrap, code=_seal(code.encode()), native=native)
        images[manifest.name] = loaded
    return images, write_measurements(measured)


def _keep(name: str, data: bytes, kept: dict[str, tuple[bytes, int]]) -> int:
    """A sealed memory file with this native module, one for all images that have the same."""
    if name in kept and kept[name][0] == data:
        return kept[name][1]
    kept[name] = (data, _seal(data))
    return kept[name][1]


def _seal(data: bytes) -> int:
    """A memory file with this content, which stays."""
    descriptor = os.memfd_create("edgeroot-image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor
