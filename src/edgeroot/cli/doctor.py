"""``edgeroot doctor``: every installed package's checks of this installation, each finding with its cure.

A package contributes checks through the entry-point group ``edgeroot.checks``: a function that takes :class:`Subject`
and yields :class:`Finding` objects. One that raises is itself a failed finding, and the others still run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import click

from edgeroot.cli import discovery
from edgeroot.cli.errors import FAILURE
from edgeroot.cli.frame import command
from edgeroot.cli.output import is_terminal, print_json, printable
from edgeroot.cli.settings import Settings, current

SECTION = "Help and diagnosis"
CHECKS: Final = "edgeroot.checks"
Level: TypeAlias = Literal["ok", "note", "warning", "failure"]
_MARKS: Final[dict[Level, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "note": ("note", "cyan"),
    "warning": ("warning", "yellow"),
    "failure": ("FAILURE", "red"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. ``fix`` says what to do, in one line or more, or what could be done."""

    level: Level
    check: str
    message: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be examined. ``make_keys`` allows a throw-away key to be made; ``config`` is a configuration file."""

    settings: Settings
    make_keys: bool
    config: Path | None


Check: TypeAlias = Callable[[Subject], Iterable[Finding]]


@command(
    "doctor",
    examples=[
        "edgeroot doctor",
        "edgeroot doctor -c /etc/parsec/config.toml",
        "edgeroot doctor --no-keys --json",
    ],
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Check this configuration of the service, too.",
)
@click.option("--no-keys", is_flag=True, help="Do not try the service with a throw-away key.")
@click.pass_context
def doctor(context: click.Context, config: Path | None, *, no_keys: bool) -> None:
    """Check this installation and say what to fix.

    Looks at the endpoint, the service behind it, its providers and authenticators, a throw-away key that is made, used
    and destroyed, the installed packages, and what of this machine weakens the protection of keys. Exit code 1 if
    something fails.
    """
    findings = list(examine(Subject(current(), make_keys=not no_keys, config=config)))
    failed = any(finding.level == "failure" for finding in findings)
    if current().json:
        print_json({"healthy": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _print(finding)
    if failed:
        context.exit(FAILURE)


def examine(subject: Subject) -> Iterator[Finding]:
    """The findings of all installed checks."""
    for name, check in discovery.load_all(discovery.entry_points(CHECKS)):
        if not callable(check):
            yield Finding("failure", name, f"its checks cannot be loaded: {check}", "Reinstall what provides them.")
            continue
        try:
            yield from check(subject)
        except Exception as error:  # noqa: BLE001 - whatever a package's check does, the others must be heard
            yield Finding("failure", name, f"the check itself failed: {error!r}", "Report this as a bug.")


def _print(finding: Finding) -> None:
    mark, colour = _MARKS[finding.level]
    styled = click.style(f"{mark:8}", fg=colour, bold=True) if is_terminal() else f"{mark:8}"
    click.echo(f"{styled}{finding.check}: {printable(finding.message)}")
    for number, line in enumerate(finding.fix.splitlines()):
        click.echo(f"        {'   ' if number else '-> '}{printable(line)}")
