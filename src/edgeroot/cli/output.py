"""What a command prints: tables and colour for people, plain lines for pipes, JSON for programs.

rich is imported only when standard output is a terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.settings import current


def is_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def emit(fields: Mapping[str, object], plain: str | None) -> None:
    """The result of a command: ``fields`` as one JSON object with --json, else ``plain`` (None prints nothing)."""
    if current().json:
        print_json(fields)
    elif plain is not None:
        click.echo(plain)


def print_json(fields: Mapping[str, object]) -> None:
    """One object, indented, keys in the order given."""
    import json

    click.echo(json.dumps(fields, indent=2, ensure_ascii=False))


def listing(
    fields: Mapping[str, object], columns: Sequence[str], rows: Iterable[Sequence[str]], plain: Iterable[str]
) -> None:
    """A list: JSON with --json, a table on a terminal, else the ``plain`` lines."""
    if current().json:
        print_json(fields)
    elif is_terminal():
        _table(columns, rows)
    else:
        for line in plain:
            click.echo(line)


def note(text: str) -> None:
    """A remark for people, on standard error so that it never mixes with results."""
    if not current().json:
        click.echo(text, err=True)


def refuse_terminal(what: str, *, force: bool) -> None:
    """CommandError if standard output is a terminal, which is no place for ``what``; ``force`` allows it."""
    if not force and sys.stdout.isatty():
        raise CommandError(f"{what} is not for a terminal: send it to a file, or insist with --force")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, style="cyan" if index == 0 else None, overflow="fold")
    for row in rows:
        # Text, for names of keys may hold what rich would take for markup.
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)


def printable(text: str) -> str:
    """``text`` without what would steer a terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
