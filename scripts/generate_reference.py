"""Write the parts of the reference that the code knows best: docs/commands.md, docs/statuses.md, and the tables of the
configuration and of the metrics in pages that are otherwise written by hand.

Usage: generate_reference.py [--check]    (with --check nothing is written; 1 if a page is not as it would be written)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from edgeroot.cli.frame import root
from edgeroot.cli.settings import common_parameters
from edgeroot.client.errors import ServiceError
from edgeroot.daemon.assembly import provider_types
from edgeroot.wire.opcodes import BY_OPERATION
from edgeroot.wire.status import ResponseStatus

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
_MADE: Final = "<!-- Written by scripts/generate_reference.py: change what it is made of, and run it. -->\n"
_PSA: Final = 1000


def commands() -> str:
    """Every command with its arguments and options, as its help has them."""
    lines = [_MADE, "# Every command", ""]
    lines += [
        "What is behind them is in [Command line](cli.md). Options of every command that talks to the service:",
        "",
    ]
    lines += _options(common_parameters(hidden=False))
    top = root()
    context = click.Context(top, info_name="edgeroot")
    for name in sorted(top.list_commands(context)):
        command = top.get_command(context, name)
        if command is not None:
            lines += _command(command, click.Context(command, info_name=name, parent=context))
    return "\n".join(lines) + "\n"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    common = {name for parameter in common_parameters(hidden=True) for name in parameter.opts}
    yield from ("", f"## {context.command_path}", "")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from (f"`{context.command_path} {usage}`".replace(" `", "`"), "")
    yield from (line.rstrip() for line in click.HelpFormatter.getvalue(_prose(command.help or "")).splitlines())
    own = [one for one in command.params if isinstance(one, click.Option) and common.isdisjoint(one.opts)]
    own = [one for one in own if not one.hidden]
    if own:
        yield ""
        yield from _options(own)
    examples: tuple[str, ...] = getattr(command, "examples", ())
    if examples:
        yield from ("", "```sh", *examples, "```")
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            child = command.commands[name]
            yield from _command(child, click.Context(child, info_name=name, parent=context))


def _prose(text: str) -> click.HelpFormatter:
    formatter = click.HelpFormatter(width=120)
    for paragraph in text.partition("\f")[0].strip().split("\n\n"):
        formatter.write(" ".join(paragraph.split()).replace("<", "&lt;") + "\n\n")
    return formatter


def _options(options: list[click.Option] | list[click.Parameter]) -> list[str]:
    rows = ["| option | meaning |", "|---|---|"]
    for one in options:
        assert isinstance(one, click.Option)
        context = click.Context(click.Command("none"))
        kind = "" if one.is_flag else f" {one.make_metavar(context)}"
        names = ", ".join(f"`{name}`" for name in one.opts + one.secondary_opts)
        said = (one.help or "").replace("|", "\\|").replace("<", "&lt;")
        notes = []
        if one.envvar:
            notes.append(f"environment: `{one.envvar if isinstance(one.envvar, str) else ', '.join(one.envvar)}`")
        if one.show_default and isinstance(one.default, str | int):
            notes.append(f"default: `{one.default}`")
        if one.required:
            notes.append("required")
        rows.append(
            f"| {names}{kind.replace('|', chr(92) + '|')} | {said}{f' ({chr(59).join(notes)})' if notes else ''} |"
        )
    return rows


def statuses() -> str:
    """Every status and every operation of the wire protocol, by number."""
    lines = [_MADE, "# Statuses and operations", ""]
    lines += ["What an answer of the service says. Above 1000 it is PSA's error of the negative number less 1000.", ""]
    lines += ["| status | name | PSA | in Python | what to do |", "|---|---|---|---|---|"]
    for status in ResponseStatus:
        psa = f"-{status - _PSA}" if status > _PSA else ""
        row = f"| {status.value} | `{status.name}` | {psa} |"
        if status is ResponseStatus.SUCCESS:
            lines.append(f"{row} | |")
            continue
        error = ServiceError.of(status, "")
        advice = str(error).partition(". ")[2]
        lines.append(f"{row} `{type(error).__name__}` | {advice} |")
    lines += ["", "## Operations", "", "| opcode | operation |", "|---|---|"]
    specs = sorted((spec.opcode, operation.__name__) for operation, spec in BY_OPERATION.items())
    lines += [f"| `{number:#06x}` | `{name}` |" for number, name in specs]
    lines += ["", "From `0x1000` they are [extensions](wire-extensions.md)."]
    return "\n".join(lines) + "\n"


def pages() -> dict[Path, str]:
    """Every page that is made, or has tables that are, as it should be. ValueError if a table stands nowhere."""
    from scripts.reference_tables import fill, tables

    made = {DOCS / "commands.md": commands(), DOCS / "statuses.md": statuses()}
    every_table = tables(provider_types())
    placed: set[str] = set()
    for path in sorted(DOCS.glob("*.md")):
        text, names = fill(path.read_text(), every_table)
        if names:
            made[path] = text
            placed |= names
    if missing := every_table.keys() - placed:
        raise ValueError(f"no page has a place for the tables of {', '.join(sorted(missing))}")
    return made


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them with what would be written."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the reference.")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    stale = []
    for path, text in pages().items():
        if options.check:
            stale += [] if path.exists() and path.read_text() == text else [path.name]
        else:
            path.write_text(text)
    if stale:
        print(f"{', '.join(stale)}: run scripts/generate_reference.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
