"""Generate the protobuf modules of the contracts (Parsec's, the crypto service's, the kubelet's), or check them.

Run from anywhere: ``python scripts/generate_wire.py [--check]``. It needs exactly the versions named in ``GENERATORS``,
for other versions write other bytes and demand another protobuf runtime.
"""

from __future__ import annotations

import argparse
import difflib
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

GENERATORS: Final = {"grpcio-tools": "1.85.1", "mypy-protobuf": "5.1.0"}
ROOT: Final = Path(__file__).resolve().parent.parent
CONTRACTS: Final = ("edgeroot/wire/contract", "edgeroot/abi/contract", "edgeroot/kubelet/contract")
# Of these, the ones that define gRPC services.
WITH_SERVICES: Final = frozenset({"edgeroot/kubelet/contract"})


def generate(source_root: Path) -> None:
    """Write the modules, and their types, below ``source_root``, which stands for ``src``."""
    for name, wanted in GENERATORS.items():
        if version(name) != wanted:
            raise SystemExit(f"{name} {wanted} is needed, {version(name)} is installed")
    plugins = [
        f"--plugin={name}={Path(sys.executable).with_name(name)}"
        for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
    ]
    protoc = [sys.executable, "-m", "grpc_tools.protoc", *plugins]
    for contract in CONTRACTS:
        folder = ROOT / "src" / contract
        package = f"{contract}/generated"
        protos = [f"{package}/{path.name}" for path in sorted(folder.glob("*.proto"))]
        # A contract is mapped onto the package of its modules, so that these import one another by their full names.
        arguments = [f"-I{package}={folder}", f"--python_out={source_root}", f"--mypy_out=quiet:{source_root}"]
        if contract in WITH_SERVICES:
            arguments += [f"--grpc_python_out={source_root}", f"--mypy_grpc_out=quiet:{source_root}"]
        subprocess.run([*protoc, *arguments, *protos], check=True)


def differences() -> list[str]:
    """One unified diff for every module that is not what the contract gives; missing and surplus ones included."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = _modules(Path(folder))
    kept = _modules(ROOT / "src")
    return [
        "".join(
            difflib.unified_diff(
                kept.get(name, "").splitlines(keepends=True),
                fresh.get(name, "").splitlines(keepends=True),
                f"checked in/{name}",
                f"generated/{name}",
                n=1,
            )
        )
        for name in sorted(kept.keys() | fresh.keys())
        if kept.get(name) != fresh.get(name)
    ]


def _modules(source_root: Path) -> dict[str, str]:
    return {
        f"{contract}/generated/{path.name}": path.read_text()
        for contract in CONTRACTS
        for path in (source_root / contract / "generated").glob("*_pb2*.py*")
        if path.suffix in (".py", ".pyi")
    }


def main() -> int:
    """The command; exit status 1 if ``--check`` found a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the modules are out of date")
    if not parser.parse_args().check:
        generate(ROOT / "src")
        return 0
    found = differences()
    for diff in found:
        print(diff)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
