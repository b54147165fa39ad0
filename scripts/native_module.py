"""The PKCS#11 module in a system's folders: where programs look for such modules, and where p11-kit does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BUILT: Final = ROOT / "native/pkcs11/target/release/libedgeroot_pkcs11.so"
REGISTRATION: Final = ROOT / "deploy/debian/edgeroot.module"


def built_module() -> Path:
    """SystemExit if it has not been built."""
    if not BUILT.exists():
        raise SystemExit("the PKCS#11 module is not built: make native")
    return BUILT


def place_module(tree: Path) -> None:
    triplet = subprocess.run(["gcc", "-print-multiarch"], check=True, capture_output=True, text=True).stdout.strip()
    copy(built_module(), tree / "usr/lib" / triplet / "pkcs11/edgeroot-pkcs11.so")
    copy(REGISTRATION, tree / "usr/share/p11-kit/modules/edgeroot.module")


def copy(source: Path, target: Path, *, mode: int = 0o644) -> None:
    """A file into a tree, in folders that are made for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    target.chmod(mode)
