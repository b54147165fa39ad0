"""The content of a partition's image: all modules that it may import, for :mod:`edgeroot.secure.runtime.importer`.

The same code gives the same bytes: entries are sorted, and code is written without references, which depend on chance.
"""

from __future__ import annotations

import marshal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import MAGIC_NUMBER
from struct import Struct
from typing import Final

from edgeroot.abi.mcuboot import ImageError
from edgeroot.secure.runtime.importer import MAGIC, read_entries

_ENTRY: Final = Struct("<cHI")
_PYC_HEADER: Final = MAGIC_NUMBER + bytes(12)
_DIGEST_BYTES: Final = 32
MACHINE: Final[str] = getattr(sys.implementation, "_multiarch", "")
"""This kind of machine, as the interpreter names it: ``x86_64-linux-gnu``. Empty if it does not."""
_LAZY: Final = b"lazy"
_MARSHAL_WITHOUT_REFERENCES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """``machine`` is the kind of machine that it is for, empty for any. ``code`` is .pyc content of modules,
    ``packages`` the names among them that are packages.

    ``bootstrap`` is the text that the interpreter runs first, which runs ``main`` and imports the rest. ``resources``
    are files beside modules (``PACKAGE/PATH``). ``lazy``: native modules are loaded when they are asked for. ``pinned``
    are the SHA-256 of native modules that the image shares with the manager's, which holds them; that one says so of
    each of its native modules, so that nobody who has verified it has to hash them again. Contents may be views of what
    they were read from.
    """

    partition: str
    main: str
    machine: str = ""
    code: Mapping[str, bytes | memoryview]
    packages: frozenset[str]
    native: Mapping[str, bytes | memoryview] = field(default_factory=dict)
    pinned: Mapping[str, bytes] = field(default_factory=dict)
    resources: Mapping[str, bytes | memoryview] = field(default_factory=dict)
    bootstrap: str = field(default="", repr=False)
    lazy: bool = False

    def code_only(self) -> Archive:
        """What the importer needs: no native module and no text, which are handed over in other ways."""
        return replace(self, native={}, pinned={}, bootstrap="")

    def encode(self) -> bytes:
        entries: list[tuple[bytes, str, bytes | memoryview]] = [
            (b"N", self.partition, self.machine.encode()),
            (b"B", "", self.bootstrap.encode()),
            (b"E", self.main, _LAZY if self.lazy else b""),
        ]
        entries += ((b"D", name, data) for name, data in sorted(self.resources.items()))
        entries += ((b"P" if name in self.packages else b"M", name, data) for name, data in sorted(self.code.items()))
        entries += ((b"X", name, data) for name, data in sorted(self.native.items()))
        entries += ((b"H", name, data) for name, data in sorted(self.pinned.items()))
        return MAGIC + b"".join(
            _ENTRY.pack(kind, len(name.encode()), len(data)) + name.encode() + data for kind, name, data in entries
        )


def decode_archive(data: bytes | memoryview, *, partition: str) -> Archive:
    """ImageError if it is none, is for something or some machine else, or is for another interpreter than this one."""
    try:
        entries = read_entries(data)
        bootstrap = str(entries[1][2], "utf-8") if len(entries) > 1 and entries[1][0] == "B" else None
        machine = str(entries[0][2], "utf-8") if entries else ""
        main, how = (entries[2][1], bytes(entries[2][2])) if len(entries) > 2 and entries[2][0] == "E" else ("", b"")
    except ValueError as error:
        raise ImageError(f"its content is not a partition's: {error}") from error
    if not entries or entries[0][0] != "N":
        raise ImageError("its content does not say which partition it is for")
    if entries[0][1] != partition:
        raise ImageError(f"it is the image of the partition {entries[0][1]}")
    if machine not in ("", MACHINE):
        raise ImageError(f"it is for another kind of machine, {machine}, and this one is {MACHINE}")
    if bootstrap is None or not main or how not in (b"", _LAZY):
        raise ImageError("its content does not say what its interpreter runs first")
    for kind, name, content in entries[3:]:
        if kind not in ("M", "P", "D", "X", "H"):
            raise ImageError(f"its content has an entry of kind {kind!r}")
        if kind == "H" and len(content) != _DIGEST_BYTES:
            raise ImageError(f"its native module {name} is pinned by no SHA-256")
        if kind in ("M", "P") and content[: len(MAGIC_NUMBER)] != MAGIC_NUMBER:
            raise ImageError(f"its module {name} is for another version of Python: build the images with this one")
    return Archive(
        partition=partition,
        main=main,
        machine=machine,
        code={name: content for kind, name, content in entries if kind in ("M", "P")},
        packages=frozenset(name for kind, name, _ in entries if kind == "P"),
        native={name: content for kind, name, content in entries if kind == "X"},
        pinned={name: bytes(content) for kind, name, content in entries if kind == "H"},
        resources={name: content for kind, name, content in entries if kind == "D"},
        bootstrap=bootstrap,
        lazy=how == _LAZY,
    )


def check_pins(name: str, archive: Archive, digests: Mapping[str, bytes]) -> None:
    """``digests`` are those that the manager's image says; ImageError if one does not match."""
    for module, digest in archive.pinned.items():
        if digests.get(module) != digest:
            raise ImageError(
                f"{name} needs the native module {module}, and the manager's image has another one or none"
            )


def compile_module(source: bytes, name: str) -> bytes:
    """The content of a .pyc file for this source, the same wherever the source lies. SyntaxError."""
    code = compile(source, f"<image>/{name}", "exec", dont_inherit=True, optimize=0)
    return _PYC_HEADER + marshal.dumps(code, _MARSHAL_WITHOUT_REFERENCES)
