"""What a verified image's interpreter runs first, as ``-c`` and by its text: from here on it imports verified bytes.

Arguments: the descriptor of the archive, ``NAME=PATH`` for each native module, whose file is a private copy of verified
bytes, ``--``, and those of the main module. Nothing is imported here that is not built into the interpreter; a future
statement would be, from the disk.

Archive: ``ERCODE2`` and NUL, then entries: kind (1 byte), size of the name (u16, little-endian), size of the data
(u32), name, data. Kinds: ``N`` what the image is for (first, once; its data is the kind of machine, as the interpreter
names it, or nothing for any), ``B`` this text (second, once), ``E`` the main module (third, once; its data is ``lazy``
if native modules are loaded when they are asked for), ``M`` a module and ``P`` a package as the content of a .pyc file,
``D`` a file beside the modules (``PACKAGE/PATH``), ``X`` a native module, ``H`` the SHA-256 of a native module that the
partition manager's image holds. Behind them there may be up to 15 bytes of zero, which imgtool adds where it encrypts.
"""

import sys
from _frozen_importlib import BuiltinImporter, FrozenImporter, ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader, SourcelessFileLoader
from posix import set_inheritable

MAGIC = b"ERCODE2\0"
_ROOT = "<image>/"
_DESCRIPTORS = "/proc/self/fd/"
_SIZES = (2, 4)
_PADDING_MAX = 15


def read_entries(data: bytes | memoryview) -> list[tuple[str, str, memoryview]]:
    """Kind, name and data of each entry, which is not copied. ValueError for what is no archive."""
    view = memoryview(data)
    if view[: len(MAGIC)] != MAGIC:
        raise ValueError("it is no archive of code")
    entries = []
    at = len(MAGIC)
    while at < len(view) and (view[at] or len(view) - at > _PADDING_MAX or any(view[at:])):
        kind = chr(view[at])
        name_at = at + 1 + sum(_SIZES)
        name_bytes = int.from_bytes(view[at + 1 : at + 3], "little")
        data_bytes = int.from_bytes(view[at + 3 : name_at], "little")
        at = name_at + name_bytes + data_bytes
        if at > len(data):
            raise ValueError("the archive of code is cut off")
        entries.append((kind, str(view[name_at : name_at + name_bytes], "utf-8"), view[at - data_bytes : at]))
    return entries


class _Code(SourcelessFileLoader):
    """Loads one module from the content of its .pyc file, which the interpreter checks to be for itself."""

    def __init__(self, name: str, path: str, entries: dict[str, tuple[str, memoryview]]) -> None:
        super().__init__(name, path)
        self._entries = entries

    def get_data(self, path: str) -> bytes:
        """Its code, or a file beside it. OSError."""
        wanted = self.name if path == self.path else path.removeprefix(_ROOT)
        if wanted not in self._entries:
            raise OSError(f"{path} is not in the image")
        return bytes(self._entries[wanted][1])


class VerifiedImporter:
    """Finds what is in the archive and nothing else."""

    def __init__(self, entries: list[tuple[str, str, memoryview]], native: dict[str, str]) -> None:
        self._entries = {name: (kind, data) for kind, name, data in entries if kind in ("M", "P", "D")}
        self._native = native

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        kind, _ = self._entries.get(name, ("", None))
        if name in self._native:
            place = self._native[name]
            return ModuleSpec(name, ExtensionFileLoader(name, place), origin=place)
        if kind not in ("M", "P"):
            return None
        is_package = kind == "P"
        place = f"{_ROOT}{name}/__init__" if is_package else f"{_ROOT}{name}"
        spec = ModuleSpec(name, _Code(name, place, self._entries), origin=place, is_package=is_package)
        spec.has_location = True
        return spec


def start(arguments: list[str]) -> int:
    """Shut out the file system, then run the main module; the exit code."""
    with open(int(arguments[0]), "rb", buffering=0) as file:
        data = file.readall()
    border = arguments.index("--")
    native = dict(one.split("=", 1) for one in arguments[1:border])
    entries = read_entries(data)
    main, lazy = next((name, bytes(data) == b"lazy") for kind, name, data in entries if kind == "E")
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, VerifiedImporter(entries, native)]
    for name, place in native.items():
        if not lazy:
            __import__(name)  # while their files can be opened
        elif place.startswith(_DESCRIPTORS):
            set_inheritable(int(place.removeprefix(_DESCRIPTORS)), False)
    __import__(main)
    return int(sys.modules[main].main(arguments[border + 1 :]))


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
