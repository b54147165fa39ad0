"""Compile the bridge where it is wanted: there is no binary of it in the package."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

_COMPILERS: Final = ("cc", "gcc", "clang")
_SOURCES: Final = ("teebridge.c", "world.c")
_FLAGS: Final = ("-shared", "-fPIC", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-fvisibility=hidden", "-pthread")
_MODE: Final = 0o755


class BridgeError(Exception):
    """The bridge cannot be built; the message says what to do."""


def build_bridge(target: Path) -> Path:
    """Write the library to this file, in one step, and give its absolute path: what LD_PRELOAD takes. BridgeError."""
    compiler = next((found for name in _COMPILERS if (found := shutil.which(name))), None)
    if compiler is None:
        raise BridgeError("the bridge is compiled where it is used, and there is no C compiler: install gcc or clang")
    target = target.absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            as_file(files(__package__)) as folder,
            tempfile.TemporaryDirectory(prefix=".teebridge-", dir=target.parent) as scratch,
        ):
            built = Path(scratch, target.name)
            sources = [str(folder / name) for name in _SOURCES]
            arguments = [compiler, *_FLAGS, "-o", str(built), *sources, "-ldl"]
            done = subprocess.run(arguments, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BridgeError(
                    f"{compiler} cannot compile the bridge (it needs the header files of the C library and of Linux; "
                    f"Debian: libc6-dev):\n{done.stderr.strip()}"
                )
            built.chmod(_MODE)
            built.replace(target)
    except OSError as error:
        raise BridgeError(f"cannot write {target}: {error.strerror or error}") from error
    return target
