"""Command lines of edgeroot that the documentation only names are ones that there are, with every option."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgeroot.cli.frame import root
from edgeroot.cli.settings import common_parameters
from scripts import check_docs

PROGRAM = re.compile(r"(?:^|[\s(])(?:/\S+/)?edgeroot(?= [a-z])")
# What may stand in front of a command: nothing, a prompt, another command, variables. A sentence may not.
BEFORE = re.compile(r"|[$#]|.*(?:[;|&$(!=]|\b(?:until|if|do|sudo|sh -c))|(?:[$#] )?(?:\w+=\S+ ?)+")
FENCED = re.compile(r"^```\w*\n.*?^```", re.MULTILINE | re.DOTALL)
# What is built lies in `target`.
OURS = re.compile(
    r"(?<![\w/.<-])(?:deploy|docs|examples|fuzz|meta-edgeroot|native|peers|scripts)/(?!\S*target/)[\w./-]+"
)
INLINE = re.compile(r"`([^`]+)`")
COMMON = {name for one in common_parameters(hidden=True) for name in one.opts} | {"-h", "--help", "--version"}


def command_lines(path: Path) -> Iterator[str]:
    """From blocks and from code in the text."""
    text = path.read_text()
    blocks = "\n".join(FENCED.findall(text)).replace("\\\n", " ")
    inline = [one.replace("\n", " ") for one in INLINE.findall(FENCED.sub("", text))]
    for line in [*blocks.splitlines(), *inline]:
        for found in PROGRAM.finditer(line):
            if BEFORE.fullmatch(line[: found.start()].strip()):
                yield line[found.end() :]


def fault(line: str) -> str | None:
    """What of the command line there is not."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    command: click.Command = root()
    context = click.Context(command)
    options = []
    for word in words:
        if re.fullmatch(r"[();<>|&]+", word):
            break
        if word.startswith("-"):
            options.append(word.partition("=")[0])
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z0-9-]*", word):
            found = command.get_command(context, word)
            if found is None:
                return f"there is no command {word}"
            command = found
    known = COMMON | {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    unknown = [one for one in options if one not in known and one != "-"]
    return f"{command.name} has no {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("path", check_docs.markdown_files(), ids=lambda path: str(path.relative_to(check_docs.ROOT)))
def test_commands_and_options_are_there(path: Path) -> None:
    found = {line: problem for line in command_lines(path) if (problem := fault(line)) is not None}
    assert found == {}


@pytest.mark.parametrize("path", check_docs.markdown_files(), ids=lambda path: str(path.relative_to(check_docs.ROOT)))
def test_files_of_the_repository_are_there(path: Path) -> None:
    named = {found.rstrip(".") for found in OURS.findall(path.read_text())}
    assert {one for one in named if not (check_docs.ROOT / one).exists()} == set()


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("`edgeroot create-ecc-key -k a` and the user `edgeroot`, in /opt/edgeroot", [None]),
        ("`edgeroot creat-ecc-key`", ["there is no command creat-ecc-key"]),
        ("`edgeroot sealing to-tmp FILE`", ["there is no command to-tmp"]),
        (
            "```sh\nx=1 edgeroot sign --key-name a \\\n    --fille b | edgeroot ping\n```\n",
            ["sign has no --fille", None],
        ),
        ("```console\n$ until edgeroot ping --wait; do sleep 1; done\n```\n", ["ping has no --wait"]),
    ],
)
def test_others_are_found(text: str, problems: list[str | None], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    assert [fault(line) for line in command_lines(page)] == problems
