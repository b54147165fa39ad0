from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeroot.abi.emulation import MANAGER_STATUS
from edgeroot.abi.ffa import FfaError, FunctionId
from edgeroot.cli.doctor import Finding, Subject
from edgeroot.cli.settings import Settings
from edgeroot.tee import doctor
from tests.support.forked import exit_code_of
from tests.support.scripted_world import ScriptedWorld, error, scripted_world

GRANTED = {"measure": "no network", "in_force": True, "consequence": "it talks", "remedy": "install bubblewrap"}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the process that tries the measures prints; one that was not given a line ends with an error."""
    lines: list[Any] = [GRANTED]

    def run(arguments: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        assert arguments[1:] == ["-I", "-m", "edgeroot.secure.spm.measures"]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        return subprocess.CompletedProcess(
            arguments, not lines, text, "" if lines else "Traceback\nImportError: gone\n"
        )

    monkeypatch.setattr(subprocess, "run", run)
    return lines


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEROOT_SECURE_WORLD", str(tmp_path / "spm.sock"))
    return tmp_path / "spm.sock"


@pytest.fixture
def world(path: Path) -> Iterator[ScriptedWorld]:
    with scripted_world(path) as running:
        yield running


def examined(check: str) -> list[Finding]:
    found = list(doctor.checks(Subject(Settings(), make_keys=False, config=None)))
    assert all(finding.fix for finding in found if finding.level != "ok")
    return [finding for finding in found if finding.check == check]


@pytest.mark.usefixtures("path")
def test_each_measure_is_told_by_the_process_that_tries_it() -> None:
    found = examined("isolation")
    assert len(found) == 11
    assert {finding.level for finding in found} <= {"ok", "note"}
    assert Finding("ok", "isolation", "no debugger: this system grants it to a secure world") in found


@pytest.mark.usefixtures("path")
def test_a_measure_that_lacks_is_told_with_what_follows_and_what_to_do(said: list[Any]) -> None:
    said.append({**GRANTED, "in_force": False, "remedy": "take a kernel with Landlock"})
    assert examined("isolation") == [
        Finding("ok", "isolation", "no network: this system grants it to a secure world"),
        Finding(
            "note",
            "isolation",
            "no network: not granted to a secure world, so it talks",
            "Take a kernel with Landlock.",
        ),
    ]


@pytest.mark.usefixtures("path")
def test_measures_that_cannot_be_tried(said: list[Any]) -> None:
    said.clear()
    [found] = examined("isolation")
    assert (found.level, found.message) == (
        "warning",
        "the measures of isolation could not be tried: ImportError: gone",
    )


@pytest.mark.usefixtures("said")
def test_no_secure_world(path: Path) -> None:
    [found] = examined("secure world")
    assert (found.level, found.message) == ("note", f"none runs at {path}")


@pytest.mark.usefixtures("said")
def test_a_socket_that_somebody_left(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
        left.bind(str(path))
    [found] = examined("secure world")
    assert found.level == "warning"
    assert "Connection refused" in found.message


@pytest.mark.usefixtures("said")
def test_a_folder_that_cannot_be_entered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch()
    monkeypatch.setenv("EDGEROOT_SECURE_WORLD", f"{path}/spm.sock")
    [found] = examined("secure world")
    assert (found.level, found.message) == ("note", f"{path}/spm.sock cannot be looked at: Not a directory")


@pytest.mark.usefixtures("said", "world")
def test_a_sound_secure_world(path: Path) -> None:
    assert examined("secure world") == [
        Finding("ok", "secure world", f"one answers at {path}; for it this user is 0x0007"),
        Finding("ok", "secure world", "every measure of isolation is in force there"),
    ]


@pytest.mark.usefixtures("said")
def test_a_secure_world_that_lacks_measures(world: ScriptedWorld) -> None:
    world.status = json.dumps({"not_in_force": ["memory may be swapped out", "partitions run as this user"]}).encode()
    found = examined("secure world")
    assert [finding.level for finding in found] == ["ok", "warning", "warning"]
    assert found[2].message == "it runs, but partitions run as this user"
    assert "--strict" in found[2].fix


@pytest.mark.usefixtures("said")
def test_a_secure_world_that_does_not_know_this_user(world: ScriptedWorld) -> None:
    world.answers[FunctionId.VERSION] = world.answers[MANAGER_STATUS] = lambda _asked: error(FfaError.DENIED)
    found = examined("secure world")
    assert [finding.level for finding in found] == ["note", "note"]
    assert "refuses this user" in found[0].message
    assert "as root" in found[1].fix


@pytest.mark.usefixtures("said", "as_root")
def test_somebody_else_in_the_place_of_the_secure_world(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        assert exit_code_of(lambda: _listen_as_another(listener)) == 0
        [found] = examined("secure world")
    assert (found.level, found.message) == (
        "failure",
        f"{path} belongs to user 60000, who is neither root nor this user",
    )


def _listen_as_another(listener: socket.socket) -> None:
    """The kernel keeps who called listen() as whoever is at the other end."""
    os.seteuid(60000)
    listener.listen()
