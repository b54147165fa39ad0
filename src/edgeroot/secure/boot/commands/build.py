"""Makes the content of images from the packages that are installed here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from edgeroot.abi.mcuboot import ImageError
from edgeroot.secure.boot.archive import Archive, compile_module
from edgeroot.secure.runtime import importer

_RECORD: Final = "edgeroot.secure.spm.record"


def build_archive(partition: str, module: str) -> bytes:
    """The content of the partition's image. ImageError if what it imports cannot be found out or read."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", _RECORD, module], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ImageError(f"the partition {partition} does not load here: {reason}")
    recorded: dict[str, tuple[str, str]] = json.loads(done.stdout)
    code, native = {}, {}
    try:
        for name, (kind, place) in recorded.items():
            content = Path(place).read_bytes() if place else b""
            if kind == "X":
                native[name] = content
            else:
                code[name] = compile_module(content, name)
    except OSError as error:
        raise ImageError(f"{error.filename} cannot be read: {error.strerror}") from error
    packages = frozenset(name for name, (kind, _) in recorded.items() if kind == "P")
    bootstrap = Path(importer.__file__).read_text(encoding="utf-8")
    return Archive(partition=partition, code=code, packages=packages, native=native, bootstrap=bootstrap).encode()
