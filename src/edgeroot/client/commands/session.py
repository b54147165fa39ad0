"""A client for a command, and what goes wrong with it as the command line says it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.settings import Settings, current

if TYPE_CHECKING:
    from edgeroot.client import Client

_COMMAND_LINE_WORDS: Final = {
    "list_keys()": "'edgeroot list-keys'",
    "storage_list()": "'edgeroot storage list'",
    "key_attributes()": "'edgeroot key show'",
    "list_opcodes()": "'edgeroot list-opcodes'",
    "can_do_crypto()": "'edgeroot can-do-crypto'",
    "list_providers()": "'edgeroot list-providers'",
    "list_authenticators()": "'edgeroot list-authenticators'",
    "app_name": "--app-name",
    "timeout_s": "--timeout",
    "pass auth=TokenFile(path) to the client": "give it with --token-file",
}
F = TypeVar("F", bound=Callable[..., Any])


def open_client(settings: Settings) -> Client:
    """A client as the common options ask for it. Nothing is sent yet."""
    from edgeroot.client import Client, TokenFile

    return Client(
        settings.endpoint,
        app_name=settings.app_name,
        provider=settings.provider,
        auth=None if settings.token_file is None else TokenFile(settings.token_file),
        timeout_s=settings.timeout_s,
    )


@contextmanager
def service() -> Iterator[Client]:
    """The client of the running command; errors of client and key objects become CommandError."""
    from edgeroot.client.errors import ClientError

    try:
        with open_client(current()) as client:
            yield client
    except ClientError as error:
        raise CommandError(_in_words_of_the_command_line(str(error))) from error


def _in_words_of_the_command_line(message: str) -> str:
    """The client's advice names its methods and arguments; here they are commands and options."""
    for python, command_line in _COMMAND_LINE_WORDS.items():
        message = message.replace(python, command_line)
    return message


def key_name_option(help_text: str = "Name of the key.") -> Callable[[F], F]:
    """``-k``/``--key-name``; shells complete it with the names of keys that there are."""
    return click.option(
        "-k", "--key-name", required=True, metavar="NAME", help=help_text, shell_complete=complete_key_name
    )


def complete_key_name(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of this user's keys that begin so; none if the service does not answer within a second."""
    from edgeroot.client.errors import ClientError

    settings = context.ensure_object(Settings)
    settings.timeout_s = 1.0
    try:
        with open_client(settings) as client:
            return sorted(key.name for key in client.list_keys() if key.name.startswith(incomplete))
    except ClientError:
        return []
