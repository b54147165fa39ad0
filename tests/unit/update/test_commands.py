"""The commands: what they say, how they end, and what each failure is called."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgeroot.abi.firmware import IMAGE_TYPES
from edgeroot.abi.mcuboot import Version
from edgeroot.cli import verdict
from edgeroot.tee.psa import FwuComponentState
from edgeroot.update import errors, health
from edgeroot.update.commands import fetching, trial, update
from tests.unit.update.agent import MemoryAgent
from tests.unit.update.releases import FIRST, SECOND, Publisher, image_data


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(update, list(map(str, arguments)))


def said(result: Result) -> dict[str, Any]:
    assert result.exit_code in (0, 100), result.output
    return dict(json.loads(result.stdout))


class Device(MemoryAgent):
    """It also attests, though to nothing that anybody could read."""

    def psa_initial_attest_get_token(self, auth_challenge: bytes) -> bytes:
        return auth_challenge


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device(version=FIRST)

    @contextmanager
    def secure_world(_given: Path | None) -> Iterator[Device]:
        yield made

    monkeypatch.setattr(fetching, "secure_world", secure_world)
    monkeypatch.setattr(trial, "secure_world", secure_world)
    return made


def images(folder: Path, version: Version) -> Path:
    made = folder / version.short
    made.mkdir()
    for name in IMAGE_TYPES:
        (made / f"{name}.img").write_bytes(image_data(name, version, size_bytes=3000))
    return made


@pytest.fixture
def www(tmp_path: Path) -> Path:
    for version in (FIRST, SECOND):
        assert publish(tmp_path, images(tmp_path, version)).exit_code == 0
    return tmp_path / "www"


def publish(folder: Path, source: Path, *options: str | Path) -> Result:
    places = ("--repository", folder / "www", "--keys", folder / "keys", "--images", source)
    return run("publish", "--json", *places, "--product", "gateway", *options)


def first_time(folder: Path, **changed: str | Path) -> list[str | Path]:
    root = folder / "www" / "metadata" / "1.root.json"
    options: dict[str, str | Path] = {"repository": folder / "www", "root": root, "product": "gateway", **changed}
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def test_published_checked_installed(www: Path, agent: Device, tmp_path: Path) -> None:
    state = ("--state", tmp_path / "seen")
    found = run("check", "--json", *state, *first_time(tmp_path))
    assert found.exit_code == 100
    assert said(found) == {
        "product": "gateway",
        "running": "1.0.0",
        "offered": ["1.0.0", "1.1.0"],
        "newer": "1.1.0",
    }
    result = run("install", *state)
    assert result.exit_code == 0
    assert "fetched manager: " in result.stderr
    assert "written manager: " in result.stderr
    assert agent.all_are(FwuComponentState.STAGED)
    again = run("install", *state)
    assert again.exit_code == 1
    assert "restart the secure world" in again.output
    assert www.exists()


def test_what_runs_is_not_installed_again(www: Path, agent: Device, tmp_path: Path) -> None:
    agent.infos = list(MemoryAgent(version=SECOND).infos)
    result = run("install", "--json", "--state", tmp_path / "seen", *first_time(tmp_path))

    assert said(result) == {"installed": None, "running": "1.1.0"}
    assert www.exists()


def test_a_root_that_was_a_slip_is_not_kept(www: Path, agent: Device, tmp_path: Path) -> None:
    other = Publisher(tmp_path / "other")
    other.publish(FIRST)
    state = ("--state", tmp_path / "seen")

    slip = run("check", *state, *first_time(tmp_path, root=other.metadata / "1.root.json"))
    assert slip.exit_code == 1
    assert "not signed as this device's root says" in slip.output
    assert run("check", *state, *first_time(tmp_path)).exit_code == 100
    assert "trusts another root" in run("check", *state, "--root", other.metadata / "1.root.json").output


def test_each_wrong_command_line_says_what_is_missing(tmp_path: Path) -> None:
    source = images(tmp_path, FIRST)
    for result, complaint in (
        (publish(tmp_path, source, "--version", "1.2"), "MAJOR.MINOR.REVISION"),
        (publish(tmp_path, source, "--corim", "x.corim"), "--implementation-id"),
        (publish(tmp_path, source, "--implementation-id", "zz"), "hexadecimal"),
        (publish(tmp_path, source, "--product", "../gateway"), "a product's name"),
        (run("check", "--state", tmp_path / "seen"), "--product"),
        (run("check", "--state", tmp_path / "seen", "--product", "gateway"), "--repository"),
        (run("accept"), "--without-verdict"),
        (run("accept", "--verifier", "https://v/", "--without-verdict"), "either"),
    ):
        assert result.exit_code == 2, result.output
        assert complaint in result.output


@pytest.mark.parametrize(
    ("statuses", "accepted"),
    [
        ({"PSA_IOT": "affirming"}, True),
        ({"PSA_IOT": "warning"}, False),
        ({"PSA_IOT": "affirming", "other": "contraindicated"}, False),
        ({}, False),
    ],
)
def test_only_an_affirming_verdict_is_followed_by_acceptance(
    agent: Device, monkeypatch: pytest.MonkeyPatch, statuses: dict[str, str], accepted: bool
) -> None:
    def ask(_url: str, attest: Callable[[bytes], bytes], _ca_path: Path | None) -> tuple[str, dict[str, str]]:
        assert attest(b"challenge") == b"challenge"
        return "", statuses

    monkeypatch.setattr(verdict, "ask_verdict", ask)
    monkeypatch.setattr(health, "check_health", lambda _agent: ("crypto",))
    agent.put(FwuComponentState.TRIAL)

    result = run("accept", "--verifier", "https://verifier.example/")

    assert (result.exit_code == 0) == accepted
    assert agent.all_are(FwuComponentState.UPDATED if accepted else FwuComponentState.TRIAL)
    assert accepted or "edgeroot update reject" in result.output


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, errors.NoSpaceError), (errno.EACCES, errors.AccessError), (errno.EIO, errors.UpdateError)],
)
def test_what_a_disk_says_is_an_error_of_its_own(number: int, error: type[errors.UpdateError]) -> None:
    with pytest.raises(error) as caught, errors.file_errors("the folder"):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is error
