"""The secure world's command: what it refuses to start with, in one sentence, and to whom it says that it is ready."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgeroot.secure.platform.files import FileLock
from edgeroot.secure.spm.run import _notify
from tests.support.requirements import require_root


def start(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    places = ("--state", str(folder / "state"), "--runtime", str(folder / "run"))
    return subprocess.run(
        [sys.executable, "-m", "edgeroot.secure.spm", *places, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """What it says last, which is the reason."""
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_a_user_that_there_is_not_is_named(tmp_path: Path) -> None:
    done = start(tmp_path, "--allow", "no-such-user")
    assert refused(done) == "Error: there is no user no-such-user: name another one, or a number"
    assert not (tmp_path / "state" / "users.json").exists()


def test_a_damaged_table_of_users_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    table = tmp_path / "state" / "users.json"
    table.write_text("{")
    assert refused(start(tmp_path, "--allow", "0")).startswith("Error: the table of users is damaged")
    assert table.read_text() == "{"


def test_two_do_not_share_a_place(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    lock = FileLock.acquire(tmp_path / "state" / "lock")
    try:
        assert refused(start(tmp_path)).startswith("Error: ")
        assert not (tmp_path / "run" / "spm.sock").exists()
    finally:
        lock.release()


def test_as_root_a_state_that_partitions_cannot_reach_is_refused(tmp_path: Path) -> None:
    require_root("have partitions run as other users")
    tmp_path.chmod(0o700)
    assert refused(start(tmp_path)).startswith("Error: the state lies in /")


def test_registers_without_a_tpm_are_a_mistake(tmp_path: Path) -> None:
    assert "--pcrs are of a TPM" in refused(start(tmp_path, "--pcrs", "0,7"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("device_type = ", "Invalid value"),
        ('device_type = "atecc204"\niface_type = "i2c"', 'must be "atecc508a" or "atecc608a"'),
        ('device_type = "atecc608a"', "iface_type"),
        ('device_type = "atecc608a"\niface_type = "i2c"\ncolour = 1', "colour"),
    ],
)
def test_an_element_that_is_not_described_is_a_mistake(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "element.toml"
    path.write_text(text)
    said = refused(start(tmp_path, "--secure-element", str(path)))
    assert said.startswith(f"Error: --secure-element: {path}: ")
    assert reason in said


def test_a_description_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "No such file" in refused(start(tmp_path, "--secure-element", str(tmp_path / "none.toml")))


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(tmp_path: Path, abstract: bool) -> None:
    name = f"edgeroot-notify-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name if abstract else name)
        listener.settimeout(10)
        _notify("@" + name if abstract else name)
        assert listener.recv(100) == b"READY=1"
    _notify("@" + name if abstract else name)  # which is gone: nobody is to be told
