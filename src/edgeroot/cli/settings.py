"""Options that every command takes, before its name or behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

C = TypeVar("C", bound=Callable[..., Any])


@dataclass(slots=True)
class Settings:
    """What the common options say; the click context carries it. ``provider`` is an id, a UUID or a name."""

    provider: int | str | None = None
    timeout_s: float | None = 60.0
    endpoint: str | None = None
    app_name: str = "parsec-tool"
    token_file: str | None = None
    json: bool = False


def current() -> Settings:
    """The settings of the command that runs."""
    return click.get_current_context().ensure_object(Settings)


def _provider(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Settings).provider = int(value) if value.isdecimal() else value


def _timeout(context: click.Context, _parameter: click.Parameter, value: float | None) -> None:
    if value is not None:
        context.ensure_object(Settings).timeout_s = value or None


def _endpoint(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Settings).endpoint = value


def _app_name(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Settings).app_name = value


def _token_file(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Settings).token_file = value


def _json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Settings).json = True


def common_parameters(*, hidden: bool) -> list[click.Parameter]:
    """The common options as parameters of a command; ``hidden`` leaves all but --json out of its help."""
    return [
        click.Option(
            ["-p", "--provider"],
            metavar="PROVIDER",
            expose_value=False,
            callback=_provider,
            hidden=hidden,
            help="Provider to use: its id, UUID or name. Default: the service's first.",
        ),
        click.Option(
            ["-t", "--timeout"],
            type=click.FloatRange(min=0),
            metavar="SECONDS",
            expose_value=False,
            callback=_timeout,
            hidden=hidden,
            help="How long to wait for the service; 0 waits forever. Default: 60.",
        ),
        click.Option(
            ["--endpoint"],
            metavar="unix:PATH",
            expose_value=False,
            callback=_endpoint,
            hidden=hidden,
            help="Where the service listens. Default: PARSEC_SERVICE_ENDPOINT, then unix:/run/parsec/parsec.sock.",
        ),
        click.Option(
            ["--app-name"],
            metavar="NAME",
            envvar=None if hidden else "EDGEROOT_APP_NAME",
            expose_value=False,
            callback=_app_name,
            hidden=hidden,
            help="Name for services that let applications name themselves. Default: EDGEROOT_APP_NAME, then "
            "parsec-tool, so that keys made with that program are found.",
        ),
        click.Option(
            ["--token-file"],
            metavar="PATH",
            expose_value=False,
            callback=_token_file,
            hidden=hidden,
            help="Authenticate by the token in this file. Default: EDGEROOT_TOKEN_FILE, then a token projected to "
            "/var/run/secrets/tokens/parsec, where the service takes tokens.",
        ),
        click.Option(
            ["--json"], is_flag=True, expose_value=False, callback=_json, help="Print one JSON object, for programs."
        ),
    ]
