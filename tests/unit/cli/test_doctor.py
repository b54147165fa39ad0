from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeroot.cli import discovery, doctor
from edgeroot.cli.doctor import Finding, Subject
from edgeroot.cli.settings import Settings
from edgeroot.client.commands.checks import checks as client_checks
from edgeroot.daemon import doctor as daemon_doctor
from edgeroot.testing.wire_simulator import refusal
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.status import ResponseStatus
from tests.unit.cli.command_line import CHECKS, CommandLine, FullKeyService


@pytest.fixture
def endpoint(edgeroot: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A socket that is there; what answers is the simulator."""
    assert edgeroot.service.requests == []
    tmp_path.chmod(0o755)
    path = tmp_path / "parsec.sock"
    monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        yield path


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "entry_points", lambda _group: CHECKS)


def _failures(edgeroot: CommandLine, *args: str) -> list[dict[str, str]]:
    result = edgeroot.run("doctor", "--json", *args)
    report = json.loads(result.stdout)
    failures: list[dict[str, str]] = [found for found in report["findings"] if found["level"] == "failure"]
    assert report["healthy"] is not bool(failures)
    assert result.exit_code == bool(failures)
    assert all(found["fix"] for found in report["findings"] if found["level"] != "ok")
    return failures


@pytest.mark.usefixtures("endpoint")
def test_a_sound_installation_has_no_failures(edgeroot: CommandLine, keys: FullKeyService) -> None:
    assert _failures(edgeroot) == []
    assert keys.keys == {}
    assert "ok      keys: a P-256 key was made, signed, verified and was destroyed\n" in edgeroot.out("doctor")


@pytest.mark.usefixtures("endpoint")
def test_no_key_is_made_if_that_is_not_wanted(edgeroot: CommandLine) -> None:
    edgeroot.out("doctor", "--no-keys")

    assert Opcode.PSA_GENERATE_KEY not in {request.opcode for request in edgeroot.service.requests}


def test_no_endpoint(edgeroot: CommandLine) -> None:
    (found,) = _failures(edgeroot, "--endpoint", "unix:/nonexistent/parsec.sock")

    assert found["check"] == "endpoint"
    assert "edgeroot up" in found["fix"]


def test_a_file_in_the_place_of_the_socket(edgeroot: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    (found,) = _failures(edgeroot, "--endpoint", f"unix:{tmp_path}/file")

    assert "not a socket" in found["message"]


def test_an_endpoint_that_is_none(edgeroot: CommandLine) -> None:
    (found,) = _failures(edgeroot, "--endpoint", "tcp:localhost")

    assert "--endpoint" in found["fix"]


def test_a_socket_that_everybody_may_replace(edgeroot: CommandLine, endpoint: Path) -> None:
    endpoint.parent.chmod(0o777)

    (found,) = _failures(edgeroot)

    assert "chmod o-w" in found["fix"]


@pytest.mark.usefixtures("endpoint")
def test_a_key_that_cannot_be_used_is_destroyed_all_the_same(edgeroot: CommandLine, keys: FullKeyService) -> None:
    keys.answers[Opcode.PSA_SIGN_HASH] = refusal(ResponseStatus.PSA_ERROR_HARDWARE_FAILURE)

    (found,) = _failures(edgeroot)

    assert "could not be used to sign" in found["message"]
    assert keys.keys == {}


@pytest.mark.usefixtures("endpoint")
def test_a_client_that_is_not_believed(edgeroot: CommandLine, keys: FullKeyService) -> None:
    keys.answers[Opcode.LIST_KEYS] = refusal(ResponseStatus.AUTHENTICATION_ERROR)

    (found,) = _failures(edgeroot)

    assert "AuthenticationError" in found["message"]


def test_a_check_that_breaks_is_a_finding_and_the_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_subject: Subject) -> list[Finding]:
        raise ZeroDivisionError

    def works(_subject: Subject) -> list[Finding]:
        return [Finding("ok", "z", "fine")]

    loaded = [("a", ImportError("gone")), ("b", fails), ("c", works)]
    monkeypatch.setattr(discovery, "load_all", lambda _points: iter(loaded))

    found = list(doctor.examine(Subject(Settings(), make_keys=False, config=None)))

    assert [finding.level for finding in found] == ["failure", "failure", "ok"]


def test_the_configuration_is_checked(edgeroot: CommandLine, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[core_settings]\nallow_rot = true\n")

    messages = [found["message"] for found in _failures(edgeroot, "-c", str(config), "--endpoint", "unix:/none")]

    assert any("allow_rot" in message for message in messages)


def test_a_missing_configuration_is_told(edgeroot: CommandLine, tmp_path: Path) -> None:
    messages = [found["message"] for found in _failures(edgeroot, "-c", str(tmp_path / "gone"))]

    assert any("cannot be read" in message for message in messages)


@pytest.mark.parametrize(
    ("swaps", "level"),
    [
        ("Filename Type Size Used Priority\n", "ok"),
        ("Filename Type Size Used Priority\n/dev/zram0 partition 1 0 100\n", "ok"),
        ("Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n", "warning"),
        ("", "ok"),
    ],
)
def test_swap(swaps: str, level: str) -> None:
    assert [finding.level for finding in daemon_doctor._swap(swaps)] == [level]


def test_folders_of_socket_and_store(tmp_path: Path) -> None:
    def level(mode: int) -> list[str]:
        tmp_path.chmod(mode)
        return [finding.level for finding in daemon_doctor._folder("socket", tmp_path)]

    assert level(0o755) == ["ok"]
    assert level(0o777) == ["failure"]
    assert level(0o777 | stat.S_ISVTX) == ["warning"]
    tmp_path.chmod(0o755)
    assert [finding.level for finding in daemon_doctor._folder("socket", tmp_path / "gone")] == ["failure"]


@pytest.mark.usefixtures("as_root")
def test_a_socket_that_is_closed_to_this_user(endpoint: Path) -> None:
    endpoint.chmod(0o600)
    for folder in (endpoint.parent, endpoint.parent.parent, endpoint.parent.parent.parent):
        folder.chmod(0o755)
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        found = list(client_checks(Subject(Settings(), make_keys=False, config=None)))
        os._exit(0 if any("may not connect" in finding.message for finding in found) else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
