from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import open_output, write_output
from edgeroot.cli.output import printable, refuse_terminal
from tests.unit.cli.command_line import CommandLine


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _stream: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.usefixtures("terminal")
def test_lists_are_tables_on_a_terminal(edgeroot: CommandLine) -> None:
    edgeroot.run("create-ecc-key", "-k", "device [red]")

    text = edgeroot.out("list-keys")

    assert "Algorithm" in text
    assert "device [red]" in text
    assert "EccKeyPair" not in text


@pytest.mark.usefixtures("terminal")
def test_binary_and_secrets_do_not_go_to_a_terminal(edgeroot: CommandLine) -> None:
    edgeroot.run("create-ecc-key", "-k", "a", "--exportable")

    assert "--force" in edgeroot.error("export-key", "-k", "a")
    assert "PRIVATE KEY" in edgeroot.out("export-key", "-k", "a", "--force")


def test_no_terminal_no_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)

    refuse_terminal("a key", force=False)


def test_a_file_appears_whole_with_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "secret"
    with open_output(str(target), what="x", force=False, mode=0o600) as file:
        file.write(b"half")
        assert not target.exists()
        file.write(b" and half")

    assert target.read_bytes() == b"half and half"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["secret"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def interrupted() -> None:
        with open_output(str(target), what="x", force=True) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_output(str(target), b"1", what="x", force=False)

    with pytest.raises(CommandError, match="--force"):
        write_output(str(target), b"2", what="x", force=False)
    assert target.read_bytes() == b"1"
    write_output(str(target), b"3", what="x", force=True)
    assert target.read_bytes() == b"3"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "file"

    def overtaken() -> None:
        with open_output(str(target), what="x", force=False) as file:
            file.write(b"ours")
            target.write_bytes(b"theirs")

    with pytest.raises(CommandError, match="exists"):
        overtaken()
    assert target.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["file"]


def test_a_device_is_written_not_replaced() -> None:
    write_output(os.devnull, b"1", what="x", force=True)

    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_names_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nü") == "a\\x1b[2Jb\\nü"
