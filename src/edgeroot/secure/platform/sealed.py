"""Memory files that nobody can change any more, whoever holds a descriptor of them."""

from __future__ import annotations

import fcntl
import os
from errno import EBUSY
from time import monotonic, sleep
from typing import Final

_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_PATIENCE_S: Final = 10.0
_PAUSE_S: Final = 0.01


def seal(data: bytes | memoryview) -> int:
    """A descriptor of a memory file with this content, which stays, at its beginning.

    It is closed where a program is executed.
    """
    descriptor = os.memfd_create("edgeroot-image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    _add_seals(descriptor)
    return descriptor


def _add_seals(descriptor: int) -> None:
    """The kernel says EBUSY while it has a page in use itself, as it may for a while where there is much to do."""
    until_s = monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        except OSError as error:
            if error.errno != EBUSY or monotonic() > until_s:
                raise
        else:
            return
        sleep(_PAUSE_S)


class SealedOnce:
    """Seals content by name, once for all that have the same under this name."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[bytes | memoryview, int]] = {}

    def seal(self, name: str, data: bytes | memoryview) -> int:
        """The descriptor of a memory file with ``data``."""
        if name in self._kept and self._kept[name][0] == data:
            return self._kept[name][1]
        self._kept[name] = (data, seal(data))
        return self._kept[name][1]
