"""What a partition's interpreter runs first, as ``-c`` and by its text: from here on it imports verified bytes only.

Arguments: the descriptor of the archive, that of the boot information, and ``NAME=PATH`` for each native module, whose
file is a private copy of verified bytes. Nothing is imported here that is not built into the interpreter; a future
statement would be, from the disk.

Archive: ``ERCODE1`` and NUL, then entries: kind (1 byte), size of the name (u16, little-endian), size of the data
(u32), name, data. Kinds: ``N`` the partition's name (first, once, without data), ``B`` this text (second, once), ``M``
a module and ``P`` a package as the content of a .pyc file, ``X`` a native module.
"""

import sys
from _frozen_importlib import BuiltinImporter, FrozenImporter, ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader, SourcelessFileLoader

MAGIC = b"ERCODE1\0"
MAIN = "edgeroot.secure.runtime.main"
_SIZES = (2, 4)


def read_entries(data: bytes) -> list[tuple[str, str, bytes]]:
    """Kind, name and data of each entry. ValueError for what is no archive."""
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError("it is no archive of code")
    view = memoryview(data)
    entries = []
    at = len(MAGIC)
    while at < len(data):
        kind = chr(data[at])
        name_at = at + 1 + sum(_SIZES)
        name_bytes = int.from_bytes(view[at + 1 : at + 3], "little")
        data_bytes = int.from_bytes(view[at + 3 : name_at], "little")
        at = name_at + name_bytes + data_bytes
        if at > len(data):
            raise ValueError("the archive of code is cut off")
        entries.append((kind, bytes(view[name_at : name_at + name_bytes]).decode(), bytes(view[at - data_bytes : at])))
    return entries


class _Code(SourcelessFileLoader):
    """Loads one module from the content of its .pyc file, which the interpreter checks to be for itself."""

    def __init__(self, name: str, data: bytes) -> None:
        super().__init__(name, f"<image>/{name}")
        self._data = data

    def get_data(self, path: str) -> bytes:
        return self._data


class VerifiedImporter:
    """Finds what is in the archive and nothing else."""

    def __init__(self, entries: list[tuple[str, str, bytes]], native: dict[str, str]) -> None:
        self._entries = {name: (kind, data) for kind, name, data in entries}
        self._native = native

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        kind, data = self._entries.get(name, ("", b""))
        if name in self._native:
            place = self._native[name]
            return ModuleSpec(name, ExtensionFileLoader(name, place), origin=place)
        if kind not in ("M", "P"):
            return None
        return ModuleSpec(name, _Code(name, data), origin=f"<image>/{name}", is_package=kind == "P")


def start(arguments: list[str]) -> int:
    """Shut out the file system, then run the partition; the exit code."""
    with open(int(arguments[0]), "rb", buffering=0) as file:
        data = file.readall()
    native = dict(one.split("=", 1) for one in arguments[2:])
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, VerifiedImporter(read_entries(data), native)]
    for name in native:
        __import__(name)  # while their files can be opened
    __import__(MAIN)
    return int(sys.modules[MAIN].main([arguments[1]]))


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
