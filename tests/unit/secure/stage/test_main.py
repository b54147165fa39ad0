"""The first stage decides by the arguments of the manager: no way of writing them gets round it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.psa import Lifecycle
from edgeroot.secure.boot.commands import device
from edgeroot.secure.boot.fuses import WORDS, Fuses
from edgeroot.secure.platform.files import FileLock
from edgeroot.secure.platform.one_time_memory import FileOneTimeMemory
from edgeroot.secure.stage.options import is_provisioned
from edgeroot.secure.stage.places import LOCK, ONE_TIME_MEMORY


def provision(state: Path, *, is_secured: bool = True) -> Path:
    state.mkdir()
    fuses = Fuses(FileOneTimeMemory(state / ONE_TIME_MEMORY, words=WORDS, create=True))
    fuses.provision([bytes(32)], security_counter=0)
    if is_secured:
        fuses.advance(Lifecycle.SECURED)
    return state


def refusal(folder: Path, *arguments: str, status: int = 1) -> str:
    """Why the manager does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeroot.secure.spm", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "state" / "device-secret").exists()
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--state", "state"),
        ("--state=state",),
        ("--state", "elsewhere", "--state", "state"),
        ("--state", "state", "--handover", "0"),
    ],
)
def test_a_secured_device_runs_no_installed_manager_however_that_is_said(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    provision(tmp_path / "state")

    assert "the device is secured and runs signed images only" in refusal(tmp_path, "--runtime", "run", *arguments)


@pytest.mark.parametrize("option", ["--stat", "--st=state", "--hand", "--image"])
def test_an_option_is_not_abbreviated(tmp_path: Path, option: str) -> None:
    """What argparse would take for ``--state`` the first stage would not."""
    provision(tmp_path / "state")

    refusal(tmp_path, "--runtime", "run", option, "state", status=2)


@pytest.mark.parametrize("is_provisioned", [False, True])
def test_a_handover_by_hand_is_refused(tmp_path: Path, *, is_provisioned: bool) -> None:
    if is_provisioned:
        provision(tmp_path / "state", is_secured=False)
    said = refusal(tmp_path, "--runtime", "run", "--state", "state", "--handover", "0")

    assert said == "Error: --handover is what the first stage says to a verified manager, and this is none"


def test_there_is_something_to_decide_where_a_device_was_told_something_or_images_are_named(tmp_path: Path) -> None:
    state = str(provision(tmp_path / "state"))

    assert is_provisioned(["--state", state])
    assert is_provisioned([f"--state={state}"])
    assert is_provisioned(["--images", "x", "--state", str(tmp_path)])
    assert is_provisioned(["--state", str(tmp_path), "--images=x"])
    assert not is_provisioned(["--state", str(tmp_path)])
    assert not is_provisioned(["--state", str(tmp_path), "--allow", "images"])


def test_a_device_whose_secure_world_runs_is_not_provisioned(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    (tmp_path / "key.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    state = tmp_path / "state"
    state.mkdir()
    arguments = ["provision", "--root-key", str(tmp_path / "key.pem"), "--state", str(state)]
    lock = FileLock.acquire(state / LOCK)
    refused = CliRunner().invoke(device, arguments)
    assert refused.exit_code != 0
    assert not (state / ONE_TIME_MEMORY).exists()

    lock.release()
    assert CliRunner().invoke(device, arguments).exit_code == 0
    assert (state / ONE_TIME_MEMORY).exists()
