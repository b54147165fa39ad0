"""``python -I -m edgeroot.secure.spm.record [--tpm] MODULE...``: what a process imports that runs these, as JSON.

Imports what the partition's process does, and what the functions in there import when they are called. Whatever is
missed is missing in the image, and then that import fails in the partition: it never reaches for the disk.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from typing import Final

# Whose functions' imports are followed. The interpreter's own follow the module that asks, or are in the list below.
_FOLLOWED: Final = ("edgeroot.", "cryptography.")
# Codecs are found by name. What partitions reach in other set-ups only: vendors' libraries.
_ALWAYS: Final = ("encodings.ascii", "encodings.latin_1", "encodings.idna", "traceback")
_NEVER: Final = frozenset({"cryptoauthlib", "PyKCS11"})
_TPM: Final = "tpm2_pytss"
# What runs when an interpreter starts that has a site, which a partition's has not.
_OF_THE_SITE: Final = frozenset({"sitecustomize", "usercustomize", "_distutils_hack"})


def record(*modules: str, tpm: bool = False) -> dict[str, tuple[str, str]]:
    """``tpm``: with the TPM's library, if it is installed.

    Name to kind (as of :mod:`edgeroot.secure.runtime.importer`) and file, empty for a package without one.
    """
    for name in (*modules, *_ALWAYS):
        import_module(name)
    seen: set[str] = set()
    while new := {name for name in sys.modules if name.startswith(_FOLLOWED)} - seen:
        seen |= new
        for name in sorted(new):
            for wanted in _deferred(name):
                if tpm or wanted.partition(".")[0] != _TPM:
                    _try(wanted)
    found = {}
    for name in sorted(sys.modules):
        place = _place(name)
        if place is not None and name.partition(".")[0] not in _OF_THE_SITE:
            found[name] = place
    return found


def _place(name: str) -> tuple[str, str] | None:
    """None for what is in the interpreter, or made by another module."""
    spec: ModuleSpec | None = getattr(sys.modules[name], "__spec__", None)
    if spec is None:
        # Packages may put another object in the place of a module that they have loaded.
        folders = getattr(sys.modules.get(name.rpartition(".")[0]), "__path__", None)
        spec = None if folders is None else PathFinder.find_spec(name, folders)
    if spec is None or spec.origin in ("built-in", "frozen") or name == "__main__":
        return None
    is_package = spec.submodule_search_locations is not None
    if spec.origin is None:
        return ("P", "") if is_package else None
    if not spec.origin.endswith(".py"):
        return ("X", spec.origin)
    return ("P" if is_package else "M", spec.origin)


def _deferred(name: str) -> Iterator[str]:
    """What functions of the module import."""
    place = _place(name)
    if place is None or not place[1].endswith(".py"):
        return
    with open(place[1], "rb") as file:
        tree = ast.parse(file.read())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    for node in (inner for function in functions for inner in ast.walk(function)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _try(name: str) -> None:
    if name.partition(".")[0] in _NEVER:
        return
    try:
        import_module(name)
    except ImportError:
        # A package that is not installed and so not used; or an attribute, which may load its module first (PEP 562).
        parent, _, attribute = name.rpartition(".")
        getattr(sys.modules.get(parent), attribute, None)


def main() -> int:
    """Print what was found; the exit code."""
    options, modules = sys.argv[1:], [one for one in sys.argv[1:] if not one.startswith("--")]
    found = record(*modules, tpm="--tpm" in options)
    import json

    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
