"""What the commands have in common: options, the secure world, and errors as the command line says them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.tee.places import world_socket

if TYPE_CHECKING:
    from edgeroot.tee.psa import PsaClient

_FOLDER: Final = "edgeroot-update"
socket_option = click.option(
    "--world-socket",
    "socket_path",
    type=click.Path(path_type=Path),
    help="The secure world's socket. Default: EDGEROOT_SECURE_WORLD, else the usual place.",
)
state_option = click.option(
    "--state",
    "state_path",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of what the device knows of the repository. Default: /var/lib/edgeroot-update for root, else in "
    "XDG_STATE_HOME.",
)
ca_option = click.option(
    "--ca",
    "ca_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Certificates (PEM) to believe about the server. Default: the system's.",
)


@contextmanager
def command_errors(what: str) -> Iterator[None]:
    """Errors of updates and of files as errors of the command."""
    from edgeroot.update.errors import UpdateError, file_errors

    try:
        with file_errors(what):
            yield
    except UpdateError as error:
        raise CommandError(str(error)) from error


def need_tuf() -> None:
    """CommandError if what the optional dependencies bring is not installed."""
    from importlib.util import find_spec

    missing = [name for name in ("securesystemslib", "tuf") if find_spec(name) is None]
    if missing:
        raise CommandError(f"this needs the package {missing[0]}: pip install 'edgeroot[update]'")


def state_folder(given: Path | None) -> Path:
    if given is not None:
        return given.absolute()
    if os.geteuid() == 0:
        return Path("/var/lib", _FOLDER)
    home = os.environ.get("XDG_STATE_HOME") or str(Path(os.environ.get("HOME", "/"), ".local", "state"))
    return Path(home, _FOLDER)


def socket_of(given: Path | None) -> Path:
    return given or world_socket(os.environ, is_root=os.geteuid() == 0)


def firmware_status(path: Path) -> dict[str, Any]:
    """What the manager says of the firmware that runs; nothing if it says nothing."""
    from edgeroot.tee.api import TeeError
    from edgeroot.tee.transports.emulated import ManagerConnection

    try:
        connection = ManagerConnection(path)
        try:
            return json.loads(connection.status()).get("firmware") or {}
        finally:
            connection.close()
    except (TeeError, ValueError):
        return {}


@contextmanager
def secure_world(given: Path | None) -> Iterator[PsaClient]:
    """CommandError if it is not there, or does not let this user in."""
    from edgeroot.tee.api import TeeError
    from edgeroot.tee.psa import PsaClient
    from edgeroot.tee.transports.emulated import EmulatedTransport

    try:
        with EmulatedTransport(socket_of(given)) as transport, PsaClient(transport) as client:
            yield client
    except TeeError as error:
        raise CommandError(f"{error}. Does the secure world run, and may this user call it?") from error
