"""Runs a command of edgeroot's over an emulated ATECC608A: ``element_launcher.py FILE python -m edgeroot …``.

``FILE`` has the part's memory; while there is a file of that name with ``.away`` behind it, nothing answers. The bus is
put beneath Microchip's library here; the command and what it forks are the product, which knows nothing of it.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from edgeroot.testing.atecc import Model
from tests.support.secure_element import on_a_bus, roomy

if __name__ == "__main__":
    file, _python, _module, program, *arguments = sys.argv[1:]
    sys.argv = [program, *arguments]
    away = Path(f"{file}.away")
    with on_a_bus(roomy(Model.ATECC608A, Path(file))) as bus:
        bus.on_write = lambda data: None if away.exists() else data
        runpy.run_module(program, run_name="__main__", alter_sys=True)
