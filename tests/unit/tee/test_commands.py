"""``edgeroot secure-world``: what it prints, what it starts, and how it says what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeroot.abi.emulation import MANAGER_STATUS
from edgeroot.abi.ffa import FfaError
from tests.support.scripted_world import ScriptedWorld, error, scripted_world
from tests.unit.cli.command_line import CommandLine
from tests.unit.client.key_service import KeyService

SERVICES = ["d9df52d5-16a2-4bb2-9aa4-d26d3b84e8c0", "6ba9de75-393e-4c7f-aabb-7f71cc6b142e"]
CRYPTO = {
    "name": "crypto",
    "id": 0x8002,
    "services": SERVICES,
    "callers": ["normal-world"],
    "state": "ready",
    "pid": 4711,
    "user": 65001,
    "execution_contexts": 2,
    "slow_contexts": 1,
    "channels": 3,
    "restarts": 5,
    "last_end": None,
    "shared_regions": 6,
}
DOWN = {**CRYPTO, "name": "storage", "id": 0x8001, "state": "down", "pid": None, "user": None, "services": []}
DOWN["last_end"] = "was killed by SIGSEGV"
FIRMWARE = {"bank": 1, "on_trial": True, "trial_boots": 2, "trial_boots_at_most": 3, "lifecycle": "secured"}
ON_TRIAL = ", on trial (boot 2 of 3): `edgeroot update accept` or `edgeroot update reject`"
STATUS = {
    "emulated": True,
    "manager": {"pid": 4242, "uptime_s": 3725.4},
    "partitions": [DOWN, CRYPTO],
    "users": [{"uid": 998, "id": 1}, {"uid": 0, "id": 2}],
    "not_in_force": ["memory may be swapped out: have no swap"],
    "firmware": None,
}


class ReplacedError(Exception):
    """A program has taken this one's place: ``os.execv`` does not return."""

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(arguments)
        self.arguments = arguments


@pytest.fixture
def edgeroot(monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(KeyService(), monkeypatch)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedWorld]:
    monkeypatch.setenv("EDGEROOT_SECURE_WORLD", str(tmp_path / "spm.sock"))
    with scripted_world(tmp_path / "spm.sock") as running:
        running.status = json.dumps(STATUS).encode()
        yield running


@pytest.fixture
def user_id(monkeypatch: pytest.MonkeyPatch) -> int:
    """An ordinary user with a runtime directory."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    return 1000


def started(edgeroot: CommandLine, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[str]:
    """The arguments of the manager that a command starts in its own place."""

    def execv(program: str, arguments: list[str]) -> None:
        assert program == sys.executable
        raise ReplacedError(arguments)

    monkeypatch.setattr(os, "execv", execv)
    result = edgeroot.run("secure-world", "run", *arguments)
    assert isinstance(result.exception, ReplacedError), result.output
    assert result.exception.arguments[:4] == [sys.executable, "-I", "-m", "edgeroot.secure.spm"]
    return result.exception.arguments[4:]


class TestStatus:
    @pytest.mark.usefixtures("world")
    def test_for_people(self, edgeroot: CommandLine) -> None:
        assert edgeroot.out("secure-world", "status") == (
            "emulated secure world, up 1:02:05\n"
            "storage: down, restarted 5 times (the last time it was killed by SIGSEGV)\n"
            "crypto: ready, restarted 5 times\n"
            "firmware: what is installed, and nothing of it was verified\n"
            "users: 998 (FF-A id 1), 0 (FF-A id 2)\n"
            "not in force: memory may be swapped out: have no swap\n"
        )

    @pytest.mark.parametrize(
        ("changed", "line"),
        [
            ({}, f"firmware: verified, from bank 1; the device is secured{ON_TRIAL}"),
            ({"on_trial": False}, "firmware: verified, from bank 1; the device is secured"),
            ({"on_trial": False, "bank": None}, "firmware: verified, from a folder of images; the device is secured"),
        ],
    )
    def test_where_firmware_comes_from(
        self, edgeroot: CommandLine, world: ScriptedWorld, changed: dict[str, object], line: str
    ) -> None:
        world.status = json.dumps({**STATUS, "firmware": {**FIRMWARE, **changed}}).encode()
        assert edgeroot.out("secure-world", "status").splitlines()[3] == line

    @pytest.mark.usefixtures("world")
    def test_for_programs(self, edgeroot: CommandLine) -> None:
        assert edgeroot.json("secure-world", "status") == STATUS

    def test_without_users_it_says_how_to_list_one(self, edgeroot: CommandLine, world: ScriptedWorld) -> None:
        world.status = json.dumps({**STATUS, "users": [], "not_in_force": []}).encode()
        assert edgeroot.out("secure-world", "status").splitlines()[4:] == [
            "users: none; list one with `edgeroot secure-world run --allow USER`"
        ]

    @pytest.mark.usefixtures("world")
    def test_of_another_world_than_the_usual(self, edgeroot: CommandLine, tmp_path: Path) -> None:
        with scripted_world(tmp_path / "other.sock") as other:
            other.status = json.dumps({**STATUS, "partitions": []}).encode()
            found = edgeroot.json("secure-world", "status", "--world-socket", str(other.path))
        assert found["partitions"] == []

    @pytest.mark.parametrize("command", ["status", "partitions"])
    def test_none_runs(
        self, edgeroot: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        monkeypatch.setenv("EDGEROOT_SECURE_WORLD", str(tmp_path / "none"))
        said = edgeroot.error("secure-world", command)
        assert f"no secure world answers at {tmp_path}/none" in said
        assert "edgeroot secure-world run" in said

    def test_a_user_who_may_not_ask(self, edgeroot: CommandLine, world: ScriptedWorld) -> None:
        world.answers[MANAGER_STATUS] = lambda _asked: error(FfaError.DENIED)
        assert "refuses this user" in edgeroot.error("secure-world", "status")


class TestPartitions:
    @pytest.mark.usefixtures("world")
    def test_for_people_and_scripts(self, edgeroot: CommandLine) -> None:
        services = ",".join(SERVICES)
        assert edgeroot.out("secure-world", "partitions").splitlines() == [
            "storage 0x8001 down - - 2 5 ",
            f"crypto 0x8002 ready 4711 65001 2 5 {services}",
        ]

    @pytest.mark.usefixtures("world")
    def test_for_programs(self, edgeroot: CommandLine) -> None:
        assert edgeroot.json("secure-world", "partitions") == {"partitions": [DOWN, CRYPTO]}


class TestLog:
    def test_its_last_lines(self, edgeroot: CommandLine, tmp_path: Path) -> None:
        lines = [f"line {number}" for number in range(100)]
        (tmp_path / "log").write_bytes("\n".join(lines).encode() + b"\n\xff")
        found: dict[str, Any] = edgeroot.json("secure-world", "log", "--runtime", str(tmp_path), "--lines", "3")
        assert found == {"log": f"{tmp_path}/log", "lines": ["line 98", "line 99", "\N{REPLACEMENT CHARACTER}"]}
        assert len(edgeroot.out("secure-world", "log", "--runtime", str(tmp_path)).splitlines()) == 50

    def test_there_is_none(self, edgeroot: CommandLine, tmp_path: Path) -> None:
        assert f"cannot read {tmp_path}/log" in edgeroot.error("secure-world", "log", "--runtime", str(tmp_path))

    def test_no_lines_make_no_sense(self, edgeroot: CommandLine) -> None:
        edgeroot.error("secure-world", "log", "--lines", "0", code=2)


class TestRun:
    def test_roots_places_are_the_systems_and_nobody_is_listed(
        self, edgeroot: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        places = ["--state", "/var/lib/edgeroot-secure-world", "--runtime", "/run/edgeroot-secure-world"]
        assert started(edgeroot, monkeypatch) == places

    @pytest.mark.usefixtures("user_id")
    def test_a_users_own_are_theirs_and_so_is_the_world(
        self, edgeroot: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        state, runtime = "/home/me/state/edgeroot-secure-world", "/run/user/1000/edgeroot-secure-world"
        assert started(edgeroot, monkeypatch) == ["--state", state, "--runtime", runtime, "--allow", "1000"]

    @pytest.mark.usefixtures("user_id")
    def test_who_is_listed_by_hand_replaces_oneself(
        self, edgeroot: CommandLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arguments = started(edgeroot, monkeypatch, "--allow", "parsec", "--allow", "998", "--strict")
        assert arguments[4:] == ["--allow", "parsec", "--allow", "998", "--strict"]

    def test_other_places(self, edgeroot: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        arguments = started(edgeroot, monkeypatch, "--state", "state", "--runtime", "/elsewhere")
        # Absolute, for the manager does not stay in this folder.
        assert arguments == ["--state", f"{tmp_path}/state", "--runtime", "/elsewhere"]

    def test_without_a_runtime_directory_one_has_to_be_named(
        self, edgeroot: CommandLine, monkeypatch: pytest.MonkeyPatch, user_id: int
    ) -> None:
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        assert "--runtime" in edgeroot.error("secure-world", "run")
        assert "/r" in started(edgeroot, monkeypatch, "--runtime", "/r", "--state", "/s")
        assert started(edgeroot, monkeypatch, "--runtime", "/r", "--state", "/s")[-1] == str(user_id)


class TestBridge:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        asked: list[list[str]] = []

        def run(arguments: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
            asked.append(arguments[1:])
            failed = arguments[-1].startswith("/nowhere")
            return subprocess.CompletedProcess(
                arguments, int(failed), "" if failed else f"{arguments[-1]}\n", "no C compiler\n" if failed else ""
            )

        monkeypatch.setattr(subprocess, "run", run)
        return asked

    def test_it_prints_what_was_built(self, edgeroot: CommandLine, asked: list[list[str]]) -> None:
        assert edgeroot.out("secure-world", "bridge", "--build", "lib.so") == "lib.so\n"
        assert edgeroot.json("secure-world", "bridge", "--build", "lib.so") == {"library": "lib.so"}
        assert asked == [["-I", "-m", "edgeroot.secure.bridge", "lib.so"]] * 2

    @pytest.mark.usefixtures("asked")
    def test_what_the_compiler_says_is_told(self, edgeroot: CommandLine) -> None:
        assert edgeroot.error("secure-world", "bridge", "--build", "/nowhere/lib.so") == "edgeroot: no C compiler\n"


@pytest.mark.parametrize("command", ["run", "status", "partitions", "log", "bridge"])
def test_each_command_has_help_with_an_example(edgeroot: CommandLine, command: str) -> None:
    assert f"edgeroot secure-world {command}" in edgeroot.out("secure-world", command, "--help")
