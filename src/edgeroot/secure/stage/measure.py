"""Measuring what the first stage itself stands on, which nothing verifies: kernel, loader, libraries, interpreter.

A measurement is a SHA-256: of the text of ``/proc/version`` for the kernel, whose own bytes a process cannot see; of a
file; and for several files of one line each, sorted, ``NAME SHA-256-IN-HEXADECIMAL`` and a line feed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from edgeroot.secure.boot.handover import Measured

_CHUNK_BYTES: Final = 1 << 20


def measure_first_stage(modules: Mapping[str, str]) -> tuple[Measured, ...]:
    """Kernel, loader, interpreter, and the first stage's own modules (:func:`loaded_modules`)."""
    loader = [path for path in _mapped() if Path(path).name.startswith(("ld-linux", "ld-musl", "ld64"))]
    return (
        _unsigned("kernel", sha256(Path("/proc/version").read_bytes()).digest()),
        _unsigned("loader", _digest_of({Path(path).name: path for path in loader})),
        _unsigned("interpreter", _file(os.path.realpath(sys.executable))),
        _unsigned("boot-stage", _digest_of(modules)),
    )


def measure_libraries(files: Iterable[str]) -> Measured:
    """These (:func:`loaded_libraries`, and programs that are started), under ``libraries``."""
    return _unsigned("libraries", _digest_of({path: path for path in files}))


def loaded_modules(entry: str) -> dict[str, str]:
    """The files of all modules that are loaded now, by their names; ``entry`` is the one that runs.

    Asked for before there is another thread that may load more: a measurement is the same in every boot.
    """
    found = {}
    for name, module in sys.modules.items():
        place = getattr(getattr(module, "__spec__", None), "origin", None)
        if place is not None and Path(place).is_absolute():
            found[entry if name == "__main__" else name] = place
    return found


def loaded_libraries() -> list[str]:
    """The shared objects of the system that this process has loaded; when to ask is as for loaded_modules."""
    return [path for path in _mapped() if ".so" in Path(path).name]


def _unsigned(name: str, digest: bytes) -> Measured:
    return Measured(name=name, digest=digest)


def _digest_of(files: Mapping[str, str]) -> bytes:
    lines = (f"{name} {_file(path).hex()}\n" for name, path in sorted(files.items()))
    return sha256("".join(lines).encode()).digest()


def _file(path: str) -> bytes:
    digest = sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()


def _mapped() -> list[str]:
    """The files with code that this process has mapped, except memory files."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line.split(maxsplit=5) for line in file]
    return sorted(
        {
            row[5].rstrip("\n")
            for row in rows
            if len(row) == 6 and "x" in row[1] and row[5].startswith("/") and not row[5].startswith("/memfd:")
        }
    )
