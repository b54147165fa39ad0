from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from edgeroot import __version__
from edgeroot.cli.errors import CommandError, SeveralErrors, exit_code_of
from edgeroot.cli.frame import Root
from tests.unit.cli.command_line import COMMANDS, CommandLine


def test_the_version(edgeroot: CommandLine) -> None:
    assert edgeroot.out("--version") == f"edgeroot {__version__}\n"


def test_help_lists_every_command_under_a_heading(edgeroot: CommandLine) -> None:
    text = edgeroot.out("--help")

    for name in COMMANDS:
        assert f"\n  {name} " in text, name
    assert "\nKeys:\n" in text


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_shows_examples_of_itself(edgeroot: CommandLine, name: str) -> None:
    text = edgeroot.out(name, "--help")

    assert f"edgeroot {name}" in text.partition("Examples:")[2]


def leaves(command: click.Command) -> list[click.Command]:
    if not isinstance(command, click.Group):
        return [command]
    return [leaf for one in command.commands.values() for leaf in leaves(one)]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_offers_json(name: str) -> None:
    found = Root(COMMANDS).get_command(click.Context(Root({})), name)
    assert found is not None
    for command in leaves(found):
        assert "--json" in {option for parameter in command.params for option in parameter.opts}, command.name


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_command_has_two_options_of_one_name(name: str) -> None:
    found = Root(COMMANDS).get_command(click.Context(Root({})), name)
    assert found is not None
    for command in leaves(found):
        options = [option for parameter in command.params for option in parameter.opts]
        assert len(options) == len(set(options)), command.name


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "missing command; see 'edgeroot --help'"),
        (["sing"], "'sing': did you mean 'sign'?; see 'edgeroot --help'"),
        (["qqqq"], "'qqqq': there is no such command; see 'edgeroot --help'"),
        (["ping", "--nope"], "--nope"),
        (["delete-key", "-k"], "option '-k' requires an argument; see 'edgeroot delete-key --help'"),
        (["delete-key"], "missing option '-k' / '--key-name'; see 'edgeroot delete-key --help'"),
        (["--timeout", "-1", "ping"], "'--timeout'"),
        (["create-ecc-key", "-k", "a", "--curve", "p-257"], "choose one of p-192, p-224, p-256"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(edgeroot: CommandLine, args: list[str], message: str) -> None:
    assert message in edgeroot.error(*args, code=2)


def test_a_broken_command_costs_its_own_line_only() -> None:
    root = Root({"broken": "no.such.module:command", "ping": COMMANDS["ping"]})

    shown = CliRunner().invoke(root, ["--help"])
    called = CliRunner().invoke(root, ["broken"])

    assert shown.exit_code == 0
    assert "No module named" in shown.stdout
    assert "Ask the service" in shown.stdout
    assert called.exit_code == 1
    assert called.stderr.startswith("edgeroot: the command broken cannot be loaded")


def test_what_is_no_command_is_refused() -> None:
    result = CliRunner().invoke(Root({"path": "pathlib:Path"}), ["path"])

    assert result.exit_code == 1
    assert "is not one" in result.stderr


@pytest.mark.parametrize("args", [["--json", "ping"], ["ping", "--json"], ["-t", "5", "ping", "--json", "-p", "1"]])
def test_common_options_stand_before_or_behind_the_command(edgeroot: CommandLine, args: list[str]) -> None:
    assert edgeroot.out(*args) == '{\n  "wire_protocol_version": "1.0"\n}\n'


def _raise(error: BaseException) -> object:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (CommandError("it\n  failed"), 1, "edgeroot: it failed\n"),
        (SeveralErrors("this\n  and", "that"), 1, "edgeroot: this and\nedgeroot: that\n"),
        (FileNotFoundError(2, "No such file or directory", "a.bin"), 1, "edgeroot: a.bin: No such file or directory\n"),
        (OSError(28, "No space left on device"), 1, "edgeroot: No space left on device\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (BrokenPipeError(), 1, ""),
    ],
)
def test_expected_errors(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeroot.cli.errors._discard_output", lambda: None)

    assert exit_code_of(lambda: _raise(error)) == code
    assert capsys.readouterr() == ("", line)


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code_of(lambda: 1 // 0)


def test_a_closed_pipe_is_quiet() -> None:
    program = f"from edgeroot.cli.frame import Root\nRoot({COMMANDS!r}).main(['--help'], 'edgeroot')"
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    done = subprocess.run([sys.executable, "-c", program], stdout=reader.stdin, stderr=subprocess.PIPE, check=False)
    assert reader.stdin is not None
    reader.stdin.close()

    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("args", "unwanted"),
    [
        (["--version"], "rich cryptography google.protobuf edgeroot.client importlib.metadata edgeroot.daemon"),
        (["--help"], "rich cryptography google.protobuf importlib.metadata edgeroot.keystore edgeroot.service"),
        (["ping"], "rich cryptography importlib.metadata asyncio edgeroot.daemon"),
    ],
)
def test_small_commands_load_nothing_heavy(args: list[str], unwanted: str) -> None:
    program = (
        f"import sys\nfrom edgeroot.cli.frame import Root\n"
        f"try: Root({COMMANDS!r}).main({args!r}, 'edgeroot')\nexcept SystemExit: pass\n"
        f"print(*sorted(set({unwanted.split()!r}) & set(sys.modules)), file=sys.stderr)"
    )
    environment = {"PARSEC_SERVICE_ENDPOINT": "unix:/nonexistent/socket", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)

    assert done.stderr.splitlines()[-1] == ""
