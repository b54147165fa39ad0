"""Whether images fit together that are each good by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from edgeroot.abi.firmware import IMAGE_INDEXES, MANAGER
from edgeroot.abi.mcuboot import Description, ImageError
from edgeroot.secure.boot.archive import Archive, check_pins
from edgeroot.secure.boot.verify import check_dependencies


def check_together(described: Mapping[str, Description], archives: Mapping[str, Archive]) -> None:
    """ImageError for a dependency that is not met, or a native module that is pinned and not there.

    Pins are checked in the archives that can be read: none of them are if the manager's cannot.
    """
    check_dependencies({IMAGE_INDEXES[name]: (name, one) for name, one in described.items()})
    if MANAGER in archives:
        manager = archives[MANAGER]
        digests = {name: sha256(native).digest() for name, native in manager.native.items()}
        if digests != manager.pinned:
            raise ImageError("the manager's image does not say the SHA-256 of each of its native modules")
        for name, archive in archives.items():
            check_pins(name, archive, digests)
