"""The one command ``edgeroot`` and the shape of its sub-commands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

import click

from edgeroot._version import __version__
from edgeroot.cli import discovery
from edgeroot.cli.errors import CommandError, exit_code_of
from edgeroot.cli.settings import common_parameters

COMMANDS: Final = "edgeroot.commands"
_CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_OTHER: Final = "Other commands"


class FrameCommand(click.Command):
    """A sub-command with the common options, and examples at the end of its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **{"context_settings": _CONTEXT, **kwargs})
        # What a command calls its own it keeps, also if a common option has the same name.
        own = {name for parameter in self.params for name in parameter.opts}
        self.params.extend(one for one in common_parameters(hidden=True) if own.isdisjoint(one.opts))
        self.examples = tuple(examples)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does it, whose parser does not say of which command an option lacks its value."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples as they are, and where the hidden common options are explained."""
        write_examples(formatter, self.examples)
        formatter.write_paragraph()
        formatter.write_text("Options of every command, such as --provider and --timeout: edgeroot --help")


class FrameGroup(click.Group):
    """A sub-command with sub-commands of its own, and examples at the end of its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **{"context_settings": _CONTEXT, **kwargs})
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples as they are."""
        write_examples(formatter, self.examples)


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Whole command lines, as they are."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")


def command(name: str, *, examples: Sequence[str] = ()) -> Callable[[Callable[..., Any]], FrameCommand]:
    """Make a function a sub-command. Its docstring is the help; ``examples`` are whole command lines."""

    def decorate(function: Callable[..., Any]) -> FrameCommand:
        return click.command(name, cls=FrameCommand, examples=examples)(function)

    return decorate


class Root(click.Group):
    """``edgeroot``. ``commands_by_name`` maps each sub-command to the ``module:attribute`` that it is imported from.

    A module of commands may say under which heading of the help its commands stand, with a constant ``SECTION``.
    """

    def __init__(self, commands_by_name: Mapping[str, str]) -> None:
        super().__init__(
            "edgeroot",
            help="Keys in a Parsec service: make them, use them, and run the service itself.",
            params=[*common_parameters(hidden=False), _version_option()],
            no_args_is_help=False,
            context_settings=_CONTEXT,
        )
        self._commands_by_name = commands_by_name

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._commands_by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command. CommandError if its module is broken; None if there is none of this name."""
        value = self._commands_by_name.get(cmd_name)
        if value is None:
            return None
        try:
            found = discovery.load(value)
        except (ImportError, AttributeError) as error:
            raise CommandError(
                f"the command {cmd_name} cannot be loaded ({error}): reinstall what provides it"
            ) from error
        if not isinstance(found, click.Command):
            raise CommandError(f"the command {cmd_name} is not one ({value}): reinstall what provides it")
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with a suggestion for what looks like a slip."""
        name = args[0]
        if name in self._commands_by_name or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        close = get_close_matches(name, self._commands_by_name, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "there is no such command"
        raise click.UsageError(f"{name!r}: {hint}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """All commands with the first sentence of their help, under their modules' headings.

        Only here all modules are imported; a broken one costs nothing but its own line.
        """
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            section, summary = _OTHER, ""
            try:
                found = self.get_command(ctx, name)
            except CommandError as error:
                summary = error.message
            else:
                if found is None or found.hidden:
                    continue
                summary = found.get_short_help_str(200)
                module = sys.modules[discovery.module_of(self._commands_by_name[name])]
                section = getattr(module, "SECTION", _OTHER)
            sections.setdefault(section, []).append((name, summary))
        for title in sorted(sections, key=lambda title: (title == _OTHER, title)):
            with formatter.section(title):
                formatter.write_dl(sections[title])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,  # noqa: ANN401 - click's own
    ) -> Any:  # noqa: ANN401 - click's own
        """As click's, but what fails is one line that begins with ``edgeroot:``."""
        parent = super().main

        def run() -> object:
            return parent(args, prog_name, complete_var, standalone_mode=False, **extra)

        return sys.exit(exit_code_of(run)) if standalone_mode else run()


def _version_option() -> click.Option:
    def show(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            click.echo(f"edgeroot {__version__}")
            context.exit()

    return click.Option(
        ["-V", "--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version."
    )


def root() -> Root:
    """The command line with the commands of all installed packages."""
    return Root(discovery.entry_points(COMMANDS))
