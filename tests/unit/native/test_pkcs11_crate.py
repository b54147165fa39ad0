"""The tests that the crate of the PKCS#11 module has of its own."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from peers.toolchains import search_path, tool
from tests.support.requirements import unavailable

CRATE = Path(__file__).parents[3] / "native/pkcs11"


def test_the_crate_passes_its_tests(tmp_path: Path) -> None:
    cargo = tool("cargo") or unavailable("there is no cargo: make native")
    command = [cargo, "test", "--release", "--locked", "--offline", "--target-dir", str(tmp_path)]
    # rustc is beside it.
    environment = {**os.environ, "PATH": search_path()}
    done = subprocess.run(command, cwd=CRATE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = sum(map(int, re.findall(r"(\d+) passed", done.stdout)))
    assert passed >= 23
    assert "warning" not in done.stderr


def test_only_a_few_modules_may_be_unsafe() -> None:
    """Which the compiler sees to: all others forbid it."""
    declared = re.findall(r"(#\[forbid\(unsafe_code\)\]\n)?pub mod (\w+);", (CRATE / "src/lib.rs").read_text())
    assert {name for forbids, name in declared if not forbids} == {"ffi", "pkcs11", "secret", "socket"}
    assert {name for _, name in declared} == {one.stem for one in (CRATE / "src").iterdir()} - {"lib"}
    assert "unsafe" not in (CRATE / "src/pkcs11.rs").read_text()
