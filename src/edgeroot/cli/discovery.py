"""Entry points of installed packages, read without ``importlib.metadata``.

Importing that package takes longer than everything else that a small command does, because it parses metadata with
the email package. All that is needed of it is one small file per distribution (packaging.python.org, "Entry points
specification").
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from typing import Final

_METADATA_FOLDERS: Final = (".dist-info", ".egg-info")


def entry_points(group: str, path: Iterable[str] | None = None) -> dict[str, str]:
    """Name to ``module:attribute`` for each entry point of the group; the first on ``path`` (sys.path) wins."""
    found: dict[str, str] = {}
    for folder in sys.path if path is None else path:
        for text in _declarations(folder or os.curdir):
            for name, value in _parse(text, group):
                found.setdefault(name, value)
    return found


def module_of(value: str) -> str:
    """The module's name in ``module:attribute``."""
    return value.partition(":")[0].strip()


def load(value: str) -> object:
    """What ``module:attribute`` names. Raises ImportError or AttributeError."""
    attribute = value.partition(":")[2]
    target: object = import_module(module_of(value))
    for name in filter(None, attribute.split("[")[0].strip().split(".")):
        target = getattr(target, name)
    return target


def load_all(points: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    """Each entry point's name and what it leads to, or the exception that loading it raised."""
    for name, value in sorted(points.items()):
        try:
            yield name, load(value)
        except (ImportError, AttributeError) as error:
            yield name, error


def _declarations(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.path for entry in entries if entry.name.endswith(_METADATA_FOLDERS))
    except OSError:
        return  # sys.path may name what is not there, or a zip file
    for name in names:
        try:
            with open(f"{name}{os.sep}entry_points.txt", encoding="utf-8") as file:
                yield file.read()
        except (OSError, UnicodeDecodeError):
            continue  # most distributions declare none


def _parse(text: str, group: str) -> Iterator[tuple[str, str]]:
    if f"[{group}]" not in text:
        return
    section = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section == group and line and line[0] not in "#;":
            name, separator, value = line.partition("=")
            if separator:
                yield name.strip(), value.strip()
