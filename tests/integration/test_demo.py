"""`make demo` tells its story to the end, for root and for others, and leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"
NOBODYS_UID = 31003
TIMEOUT_S = 60


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo makes its temporary folder; the users that it plays can get there."""
    path = Path(tempfile.mkdtemp(prefix="demo-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def demo(folder: Path, *, uid: int | None = None, path: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(DEMO)],
        env={**os.environ, "TMPDIR": str(folder), "PATH": f"{path}{os.pathsep}{os.environ['PATH']}".strip(os.pathsep)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
        start_new_session=True,
    )


def left(folder: Path) -> list[str]:
    """What is left of a demo: files, and processes that were told of its folder."""
    found = os.listdir(folder)
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in command:
                found.append(command)
    return found


def can_run_python(uid: int) -> bool:
    """A virtual environment's interpreter may lie where only its owner gets to."""
    try:
        return subprocess.run([sys.executable, "-c", ""], user=uid, group=uid, check=False).returncode == 0
    except PermissionError:
        return False


def test_the_story_goes_as_told(folder: Path) -> None:
    begun_s = time.monotonic()
    process = demo(folder)
    output, _ = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 0, output
    assert time.monotonic() - begun_s < TIMEOUT_S
    assert ("needs root" in output) == (os.geteuid() != 0)
    assert ("stranger$" in output) == (os.geteuid() == 0)
    assert left(folder) == []


def test_without_root_the_second_user_is_left_out(folder: Path, as_root: None) -> None:
    if not can_run_python(NOBODYS_UID):
        pytest.skip(f"{sys.executable} can be run by its owner only")
    process = demo(folder, uid=NOBODYS_UID)
    output, _ = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 0, output
    assert "needs root" in output
    assert "stranger$" not in output
    assert left(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    process = demo(folder)
    assert process.stdout is not None
    for line in process.stdout:
        if "create-ecc-key" in line:
            process.send_signal(number)
            break
    output, _ = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 130, output
    assert "interrupted" in output
    assert left(folder) == []


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("echo Verification failure; exit 1", "ended with code 1"),
        ("echo all is well", "did not say 'Verified OK'"),
    ],
    ids=["a program fails", "a program says something else"],
)
def test_a_story_that_goes_otherwise_fails_and_leaves_nothing(folder: Path, program: str, complaint: str) -> None:
    programs = folder / "programs"
    programs.mkdir()
    (programs / "openssl").write_text(f"#!/bin/sh\n{program}\n")
    (programs / "openssl").chmod(0o755)
    process = demo(folder, path=str(programs))
    output, _ = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 1, output
    assert complaint in output
    assert left(folder) == ["programs"]
