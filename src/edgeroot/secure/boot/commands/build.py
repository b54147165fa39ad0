"""Makes the content of images from the packages that are installed here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from edgeroot.abi.firmware import MANAGER
from edgeroot.abi.mcuboot import ImageError
from edgeroot.secure.boot.archive import MACHINE, Archive, compile_module
from edgeroot.secure.runtime import importer
from edgeroot.secure.spm.manifest import BUILT_IN, built_in_manifests

_RECORD: Final = "edgeroot.secure.spm.record"
_MANAGER: Final = "edgeroot.secure.spm.run"
_PARTITION: Final = "edgeroot.secure.runtime.main"
_BY_NAME: Final = "pyseccomp"  # which is imported where no reader of the source sees it
_RESOURCES: Final = ("edgeroot.secure.spm", "manifests")


def build_archives() -> Iterator[tuple[str, bytes]]:
    """Name and content of each image, the partition manager's first. ImageError if one cannot be made.

    Native modules that several have lie in the manager's, and the others pin them.
    """
    manager = _build(MANAGER, _MANAGER, "--tpm", _BY_NAME)
    digests = {name: sha256(data).digest() for name, data in manager.native.items()}
    manager = replace(manager, lazy=True, resources=_manifests(), pinned=digests)
    yield MANAGER, manager.encode()
    for manifest in built_in_manifests():
        archive = _build(manifest.name, _PARTITION, manifest.module)
        shared = {name for name, data in archive.native.items() if manager.native.get(name) == data}
        yield (
            manifest.name,
            replace(
                archive,
                native={name: data for name, data in archive.native.items() if name not in shared},
                pinned={name: digests[name] for name in shared},
            ).encode(),
        )


def _build(name: str, main: str, *modules: str) -> Archive:
    """The content of one image with all native modules. ImageError if what it imports cannot be found out or read."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", _RECORD, main, *modules],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ImageError(f"{name} does not load here: {reason}")
    recorded: dict[str, tuple[str, str]] = json.loads(done.stdout)
    code, native = {}, {}
    try:
        for module, (kind, place) in recorded.items():
            content = Path(place).read_bytes() if place else b""
            if kind == "X":
                native[module] = content
            else:
                code[module] = compile_module(content, module)
    except OSError as error:
        raise ImageError(f"{error.filename} cannot be read: {error.strerror}") from error
    packages = frozenset(module for module, (kind, _) in recorded.items() if kind == "P")
    return Archive(
        partition=name,
        main=main,
        machine=MACHINE,
        code=code,
        packages=packages,
        native=native,
        bootstrap=Path(importer.__file__).read_text(encoding="utf-8"),
    )


def _manifests() -> dict[str, bytes]:
    package, folder = _RESOURCES
    place = Path(importer.__file__).parents[1] / "spm" / folder
    return {f"{package}/{folder}/{name}": (place / name).read_bytes() for name in BUILT_IN}
