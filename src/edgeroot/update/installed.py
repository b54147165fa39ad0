"""Which release runs: the one that was installed last, if it is what runs, else the one of the manager's version."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from edgeroot.abi.firmware import IMAGE_TYPES, MANAGER, pack_version, unpack_version
from edgeroot.abi.mcuboot import Version
from edgeroot.update.device import Agent, components
from edgeroot.update.files import write_file
from edgeroot.update.images import ReleaseImage
from edgeroot.update.releases import read_version

_FILE: Final = "installed.json"


def note_installed(state: Path, release: Version, images: Sequence[ReleaseImage]) -> None:
    """OSError."""
    packed = {str(image.image_type): pack_version(image.version) for image in images}
    write_file(state / _FILE, json.dumps({"release": release.short, "images": packed}).encode())


def running_release(state: Path, agent: Agent) -> Version | None:
    """None if the device does not say which versions it runs."""
    running = {one.location: one.version for one in components(agent)}
    return _noted(state, running) or _managers(running)


def _noted(state: Path, running: Mapping[UUID, int]) -> Version | None:
    try:
        found = json.loads((state / _FILE).read_bytes())
        versions = {UUID(kind): packed for kind, packed in found["images"].items()}
        release = read_version(found["release"])
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return release if versions and all(running.get(kind) == packed for kind, packed in versions.items()) else None


def _managers(running: Mapping[UUID, int]) -> Version | None:
    packed = running.get(IMAGE_TYPES[MANAGER], 0)
    return unpack_version(packed) if packed else None
