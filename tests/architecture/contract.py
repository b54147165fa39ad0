"""Which room may import which, what it may use from outside, and which rooms touch the machine.

Reads source text only. Every import counts: inside functions, under TYPE_CHECKING, in `from package import module`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

PACKAGE: Final = "edgeroot"


@dataclass(frozen=True, slots=True)
class Room:
    """What a room may import. ``io`` names its modules that may touch the machine: all of it for True."""

    knows: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()
    io: bool | tuple[str, ...] = False


def _room(knows: str = "", *, outside: str = "", io: bool | tuple[str, ...] = False) -> Room:
    return Room(frozenset(knows.split()), frozenset(outside.split()), io)


# `providers` is the contract itself (api and what lies beside it); each back end is a room of its own.
_BACK_END: Final = _room(
    "psa engine sealing tee evidence confinement providers",
    outside="cryptography PyKCS11 tpm2_pytss",
    io=("_native", "native"),
)
ROOMS: Final[Mapping[str, Room]] = {
    "psa": _room(),
    "wire": _room("psa", outside="google"),
    "abi": _room("psa", outside="google"),
    "engine": _room("psa", outside="cryptography"),
    "evidence": _room("psa", outside="cbor2 cryptography"),
    "sealing": _room("psa", outside="cryptography tpm2_pytss", io=True),
    "tee": _room("psa abi", io=("transports",)),
    "element": _room("psa engine confinement", outside="cryptoauthlib", io=("native",)),
    "providers": _room("psa engine sealing tee evidence"),
    "providers.software": _BACK_END,
    "providers.tpm": _BACK_END,
    "providers.pkcs11": _BACK_END,
    "providers.trusted_services": replace(_BACK_END, knows=_BACK_END.knows | {"abi"}),
    "providers.secure_element": replace(_BACK_END, knows=_BACK_END.knows | {"element"}),
    "keystore": _room("psa", outside="cryptography", io=True),
    "auth": _room(outside="jwt cryptography"),
    "service": _room("wire psa providers keystore auth"),
    "confinement": _room("psa", outside="pyseccomp", io=True),
    "daemon": _room(
        "service wire psa providers keystore auth identity sealing tee confinement",
        outside="prometheus_client",
        io=True,
    ),
    "secure": _room(
        "psa abi engine element evidence sealing confinement",
        outside="cryptography",
        io=("platform", "stage", "spm", "runtime", "bridge"),
    ),
    "update": _room("psa tee abi evidence verifier", outside="cryptography securesystemslib tuf", io=True),
    "verifier": _room(
        "evidence psa", outside="cbor2 cryptography jwt prometheus_client uvicorn", io=("server", "store")
    ),
    "migration": _room("daemon keystore providers engine psa", io=("records", "take_over")),
    "client": _room("wire psa", outside="cryptography joserfc securesystemslib", io=True),
    "kubelet": _room(outside="google grpc"),
    "identity": _room("auth kubelet", outside="grpc spiffe", io=True),
    "edge": _room(
        "client verifier evidence kubelet psa",
        outside="cryptography google grpc httpx2 jwt lightkube msgspec prometheus_client uvicorn",
        io=True,
    ),
    "cli": _room(outside="click rich", io=True),
    "testing": _room("psa wire providers keystore auth", outside="pytest hypothesis cryptography", io=True),
}
# A room's commands (a module or a folder) are its face on the command line, its doctor what `edgeroot doctor` asks.
_COMMANDS: Final = _room("cli", outside="click rich", io=True)
_FACES: Final = frozenset({"commands", "doctor"})
# What everybody may import: the package itself says its version and nothing else.
_COMMON: Final = frozenset({PACKAGE, f"{PACKAGE}._version"})

_IO_MODULES: Final = frozenset(
    """
    asyncio cffi ctypes fcntl glob http mmap multiprocessing os.path pty resource sched select selectors shutil signal
    socket socketserver sqlite3 ssl subprocess tempfile termios time tty urllib.request wsgiref
    """.split()
)
# Reading no file and no clock: names and pure text.
_OS_PURE: Final = frozenset({"PathLike", "fspath", "fsencode", "fsdecode", "sep", "urandom"})
_DATETIME_CLOCK: Final = frozenset({"now", "utcnow", "today"})
# Of pathlib, the methods whose names nothing else has.
_PATH_IO: Final = frozenset(
    {"read_bytes", "read_text", "write_bytes", "write_text", "iterdir", "mkdir", "unlink", "is_file", "is_dir"}
)


@dataclass(frozen=True, slots=True)
class Import:
    """One imported module: the longest known prefix inside the package, or the full name of a foreign one."""

    target: str
    line: int


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the package, read but not run."""

    name: str
    path: Path
    tree: ast.Module
    imports: tuple[Import, ...] = field(default=())

    @property
    def room(self) -> str:
        """The room that the module lies in; empty for the package itself."""
        return room_of(self.name)


def room_of(module: str) -> str:
    parts = module.split(".")[1:]
    if parts[:1] == ["providers"] and len(parts) > 1 and ".".join(parts[:2]) in ROOMS:
        return ".".join(parts[:2])
    return parts[0] if parts and not parts[0].startswith("_") else ""


def read_package(source: Path, package: str = PACKAGE) -> dict[str, Module]:
    """Every module under ``source/package``."""
    found: dict[str, tuple[Path, ast.Module]] = {}
    for path in sorted((source / package).rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = (path, ast.parse(path.read_text(), str(path)))
    known = frozenset(found)
    return {
        name: Module(name, path, tree, tuple(_imports(name, path.name == "__init__.py", tree, known)))
        for name, (path, tree) in found.items()
    }


def _imports(module: str, is_package: bool, tree: ast.Module, known: frozenset[str]) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".") if is_package else module.split(".")[:-1]
                kept = parents[: len(parents) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            for alias in node.names:
                # `from a import b` is the module a.b if there is one, and a name in a if not.
                full = f"{base}.{alias.name}"
                yield Import(full if full in known or full in _IO_MODULES else base, node.lineno)


def broken_arrows(modules: Mapping[str, Module]) -> list[str]:
    """Imports against the rooms' ``knows`` and ``outside``, one sentence each."""
    return [
        f"{module.name}:{imported.line} imports {imported.target}: {problem}"
        for module in modules.values()
        for imported in dict.fromkeys(module.imports)
        if (problem := _arrow_problem(module, imported.target))
    ]


def _arrow_problem(module: Module, target: str) -> str | None:
    top = target.partition(".")[0]
    if target in _COMMON or top in sys.stdlib_module_names:
        return None
    if module.name == f"{PACKAGE}.__main__":
        return None if room_of(target) == "cli" else "python -m edgeroot is the command line"
    if module.room == "":
        return None if target in _COMMON else "the package itself imports nothing but its version"
    room = ROOMS.get(module.room)
    if room is None:
        return f"the room {module.room} is not in the table"
    extra = _COMMANDS if _is_face(module) else Room()
    if top != PACKAGE:
        return None if top in room.outside | extra.outside else f"{module.room} may not use {top}"
    other = room_of(target)
    if other == module.room or other in room.knows | extra.knows:
        return None
    return f"{module.room} does not know {other}"


def _is_face(module: Module) -> bool:
    return not _FACES.isdisjoint(module.name.split(".")[2:])


def cycles(modules: Mapping[str, Module]) -> list[list[str]]:
    """Groups of modules that import each other, however many steps around (Tarjan's components)."""
    graph = {
        name: sorted({i.target for i in module.imports if i.target in modules and i.target != name})
        for name, module in modules.items()
    }
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in graph[name]:
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            at = stack.index(name)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in graph:
        if name not in order:
            visit(name)
    return groups


def forbidden_io(modules: Mapping[str, Module]) -> list[str]:
    """Uses of sockets, files, processes, clocks and native code in modules that are to be pure."""
    return [
        f"{module.name}:{line} uses {what}"
        for module in modules.values()
        if not _may_do_io(module)
        for line, what in sorted(set(_io_uses(module)))
    ]


def _may_do_io(module: Module) -> bool:
    room = ROOMS.get(module.room, Room())
    if _is_face(module) or room.io is True:
        return True
    inside = module.name.removeprefix(f"{PACKAGE}.{module.room}.").split(".")
    return room.io is not False and inside[0] in room.io


def _io_uses(module: Module) -> Iterator[tuple[int, str]]:
    for imported in module.imports:
        if imported.target in _IO_MODULES or imported.target.partition(".")[0] in _IO_MODULES:
            yield imported.line, imported.target
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            for alias in node.names:
                if alias.name not in _OS_PURE:
                    yield node.lineno, f"os.{alias.name}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            yield node.lineno, "open()"
        elif isinstance(node, ast.Attribute):
            yield from _io_attribute(node)


def _io_attribute(node: ast.Attribute) -> Iterable[tuple[int, str]]:
    owner = ast.unparse(node.value)
    if owner == "os" and node.attr not in _OS_PURE:
        return [(node.lineno, f"os.{node.attr}")]
    if owner.rpartition(".")[2] in {"datetime", "date"} and node.attr in _DATETIME_CLOCK:
        return [(node.lineno, f"{owner}.{node.attr}")]
    if node.attr in _PATH_IO:
        return [(node.lineno, f".{node.attr}()")]
    return []
