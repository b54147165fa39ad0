"""A wall clock of some processes that is set while they run; what only ever runs goes on for them."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_suffix(".c")


class SteppedClock:
    """Right at first. Takes a C compiler."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._library = folder / "clock.so"
        self._file = folder / "off-by"
        self._file.write_bytes(struct.pack("q", 0))
        build = ["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE)]
        subprocess.run(build, check=True)

    @property
    def environment(self) -> Mapping[str, str]:
        """For the processes that have this clock."""
        return {**os.environ, "LD_PRELOAD": str(self._library), "STEPPED_CLOCK": str(self._file)}

    def be_off(self, seconds: int) -> None:
        """From now on it is so many seconds ahead, or behind if they are below zero."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", seconds))
