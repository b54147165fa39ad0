"""``edgeroot serve`` and ``edgeroot up``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgeroot.daemon.config import ServiceConfig
    from edgeroot.providers.api import ProviderType

SECTION = "Run the service"  # the heading in the help of the command line


@click.command()
@click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default="config.toml",
    show_default=True,
    help="The configuration; upstream Parsec's config.toml works as it is.",
)
@click.option("--check", is_flag=True, help="Check the configuration, say what is wrong with it, and end.")
def serve(config_path: Path, *, check: bool) -> None:
    """Run the Parsec service in the foreground.

    SIGHUP reads the configuration anew (a bad one changes nothing), SIGTERM and SIGINT end the service when every
    accepted request is answered. Under systemd, socket activation and readiness notification work as usual.
    """
    from edgeroot.daemon.config import load_config

    def load(types: dict[str, ProviderType]) -> ServiceConfig:
        return load_config(config_path, types)

    _run(load, check=check)


@click.command()
@click.option(
    "--socket",
    "socket_path",
    type=click.Path(path_type=Path),
    help="Where to listen. Default: edgeroot/parsec.sock in the runtime directory (/run for root).",
)
@click.option(
    "--state",
    "state_path",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where keys are kept. Default: edgeroot in the user's state directory (/var/lib for root).",
)
@click.option("--user", help="Started by root: the user to run as. Default: edgeroot or parsec, else an unused number.")
def up(socket_path: Path | None, state_path: Path | None, user: str | None) -> None:
    """Run the service without any configuration: software keys, Unix peer credentials, one socket.

    Started by root it gives up root at once and runs as a service user.
    """
    from edgeroot.daemon import places
    from edgeroot.daemon.config import default_config

    try:
        chosen = places.choose(socket_path, state_path)
    except places.PlaceError as error:
        raise click.ClickException(str(error)) from error

    def prepare() -> None:
        try:
            if os.geteuid() == 0:
                places.become_service_user(chosen, user)
            else:
                places.make(chosen)
        except places.PlaceError as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"export PARSEC_SERVICE_ENDPOINT=unix:{chosen.socket}")
        sys.stdout.flush()

    def load(types: dict[str, ProviderType]) -> ServiceConfig:
        return default_config(socket_path=chosen.socket, store_path=chosen.state / "keys.sqlite3", provider_types=types)

    _run(load, prepare=prepare)


def _run(
    load: Callable[[dict[str, ProviderType]], ServiceConfig],
    *,
    check: bool = False,
    prepare: Callable[[], None] = lambda: None,
) -> None:
    from edgeroot.daemon.run import CannotStartError, run_service

    try:
        code = run_service(load, check=check, prepare=prepare)
    except CannotStartError as error:
        raise click.ClickException(str(error)) from error
    raise SystemExit(code)
