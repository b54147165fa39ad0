"""Install into a folder what a lock of deploy/locks names, and edgeroot itself, the same on every day."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
_LOCKED: Final = ("--require-hashes", "--requirement")


def lock_file(name: str) -> Path:
    return ROOT / "deploy/locks" / f"{name}.txt"


def install_libraries(lock: Path, target: Path) -> None:
    """None whose digest the lock does not have: CalledProcessError."""
    with _build_tools() as tools:
        _pip("--prefer-binary", *_LOCKED, str(lock), target=target, tools=tools)


def install_edgeroot(target: Path) -> None:
    """Without what it stands on."""
    with _build_tools() as tools:
        _pip("--no-deps", str(ROOT), target=target, tools=tools)


def compile_modules(folder: Path, root: Path) -> None:
    """What Python would keep of the modules in a folder of the tree ``root``. It trusts it unseen."""
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    # Sets come in one order.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([*command, "-s", root, "-p", "/", folder], check=True, env=environment, stdout=subprocess.DEVNULL)


@contextmanager
def _build_tools() -> Iterator[Path]:
    """By which edgeroot is built, and the libraries that nobody has compiled for this machine."""
    with tempfile.TemporaryDirectory(prefix="edgeroot-build-") as folder:
        tools = Path(folder)
        _pip("--only-binary", ":all:", *_LOCKED, str(lock_file("build")), target=tools, tools=tools)
        yield tools


def _pip(*arguments: str, target: Path, tools: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--no-warn-conflicts", "--no-build-isolation", "--target", str(target), *arguments]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(tools)})
    shutil.rmtree(target / "bin", ignore_errors=True)
