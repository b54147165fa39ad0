"""How a command fails: a line on standard error for each thing that is wrong and says what to do, and an exit code.

0 is success, 1 failure, 2 a command line that makes no sense, 130 an interruption from the keyboard.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

import click

FAILURE: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130


class CommandError(click.ClickException):
    """The command cannot do what was asked. The message is one sentence that ends with what to do about it."""


class SeveralErrors(CommandError):
    """More than one thing is wrong: each is a message of its own."""

    def __init__(self, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


def exit_code_of(run: Callable[[], object]) -> int:
    """Run a command; what goes wrong in an expected way becomes a line on standard error and an exit code."""
    try:
        outcome = run()
        sys.stdout.flush()
    except click.UsageError as error:
        _complain(_usage(error))
        return USAGE
    except click.ClickException as error:
        for message in error.messages if isinstance(error, SeveralErrors) else (error.format_message(),):
            _complain(message)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has had enough. Nothing more must be written, not even by the interpreter's exit.
        _discard_output()
        return FAILURE
    except OSError as error:
        _complain(_system(error))
        return FAILURE
    # In this mode click returns the code of a command that ended by Context.exit().
    return outcome if isinstance(outcome, int) else 0


def _complain(message: str) -> None:
    line = " ".join(message.split())
    click.echo(f"edgeroot: {line}", err=True)


def _usage(error: click.UsageError) -> str:
    message = error.format_message().rstrip(".")
    path = error.ctx.command_path if error.ctx else "edgeroot"
    return f"{message[:1].lower()}{message[1:]}; see '{path} --help'"


def _system(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {reason}" if isinstance(error.filename, str | bytes) else reason


def _discard_output() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):
        pass  # an output without a descriptor is nobody's pipe
    finally:
        os.close(nowhere)
