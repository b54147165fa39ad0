"""``edgeroot completion``: the script that makes a shell complete commands, options and names of keys."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import command

SECTION = "Help and diagnosis"


@command(
    "completion",
    examples=[
        'eval "$(edgeroot completion bash)"             # now, or in ~/.bashrc',
        "edgeroot completion zsh > ~/.zfunc/_edgeroot",
        "edgeroot completion fish > ~/.config/fish/completions/edgeroot.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise CommandError(f"this version of click completes nothing in {shell}: upgrade click")
    # The base's source(), for that of bash starts a bash to look at its version.
    script = ShellComplete.source(kind(context.find_root().command, {}, "edgeroot", "_EDGEROOT_COMPLETE"))
    click.echo(script)
