"""``edgeroot serve`` and ``edgeroot up``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeroot.cli.errors import SeveralErrors
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit

if TYPE_CHECKING:
    from edgeroot.daemon.config import ServiceConfig
    from edgeroot.providers.api import ProviderType
    from edgeroot.tee.places import WorldPlaces

SECTION = "Run the service"  # the heading in the help of the command line


@command(
    "serve",
    examples=[
        "edgeroot serve -c /etc/parsec/config.toml",
        "edgeroot serve -c config.toml --check    # is it a good one?",
    ],
)
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

    code = _run(load, check=check, config_folders=[config_path.absolute().parent])
    if check:
        emit({"config": str(config_path), "valid": True}, None)
    raise SystemExit(code)


@command(
    "up",
    examples=[
        "edgeroot up",
        "edgeroot up --socket /tmp/e/parsec.sock --state ~/keys    # a second one, apart from the first",
    ],
)
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
    help="Where keys are kept. Default: edgeroot in the user's state directory (/var/lib for root). The secure world "
    "is beside it.",
)
@click.option("--user", help="Started by root: the user to run as. Default: edgeroot or parsec, else an unused number.")
@click.option(
    "--world-state",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the secure world keeps its secrets. Default: the keys' folder with -secure-world after its name.",
)
@click.option(
    "--world-runtime",
    type=click.Path(path_type=Path, file_okay=False),
    help="The place of its socket. Default: edgeroot-secure-world in the runtime directory, or with --state in "
    "the secure world's folder.",
)
@click.option("--world-tpm", metavar="TCTI", help="The secure world's device secret is sealed to this TPM.")
@click.option("--world-pcrs", default="", metavar="0,7", help="A new device secret also to what these registers hold.")
@click.option("--strict", is_flag=True, help="Refuse to start unless every measure of isolation is in force.")
@click.option("--software-only", is_flag=True, help="Do without the secure world: keys lie in the service.")
def up(
    socket_path: Path | None,
    state_path: Path | None,
    user: str | None,
    world_state: Path | None,
    world_runtime: Path | None,
    world_tpm: str | None,
    world_pcrs: str,
    *,
    strict: bool,
    software_only: bool,
) -> None:
    """Run the service without any configuration: an emulated secure world for the keys, one socket.

    Keys are made in the secure world (provider 4, the default) unless a client asks for the software provider (1).
    Callers are told apart by their Unix user ids. Started by root, the service gives up root at once and runs as a
    service user; of the secure world only the partition manager stays root.
    """
    from edgeroot.daemon import places
    from edgeroot.daemon.config import default_config

    try:
        chosen = places.choose(socket_path, state_path)
    except places.PlaceError as error:
        raise click.ClickException(str(error)) from error
    keys = None if state_path is None else chosen.state
    options = [*(("--tpm", world_tpm) if world_tpm else ()), *(("--pcrs", world_pcrs) if world_pcrs else ())]
    options += ["--strict"] if strict else []
    world = None if software_only else _world_places(keys, world_state, world_runtime)

    def prepare() -> None:
        try:
            places.make(chosen)
            if os.geteuid() == 0:
                service = places.service_user(chosen, user)
                _start_world(world, service[0], options)
                places.become(chosen, service)
            else:
                _start_world(world, os.geteuid(), options)
        except places.PlaceError as error:
            raise click.ClickException(str(error)) from error
        endpoint = f"unix:{chosen.socket}"
        emit({"endpoint": endpoint}, f"export PARSEC_SERVICE_ENDPOINT={endpoint}")
        sys.stdout.flush()

    def load(types: dict[str, ProviderType]) -> ServiceConfig:
        return default_config(
            socket_path=chosen.socket,
            store_path=chosen.state / "keys.sqlite3",
            provider_types=types,
            world_socket=None if world is None else world.socket,
        )

    raise SystemExit(_run(load, prepare=prepare))


_worlds: list[object] = []  # what ends with this process, and not before


def _world_places(keys: Path | None, state: Path | None, runtime: Path | None) -> WorldPlaces:
    """The given places, else those beside the folder of keys that was asked for, else the usual ones."""
    from edgeroot.tee.places import WorldPlaces, choose_world, world_beside

    usual = choose_world(os.environ, is_root=os.geteuid() == 0) if keys is None else world_beside(keys)
    if usual is None:
        if state is None or runtime is None:
            raise click.ClickException("XDG_RUNTIME_DIR is not set: say with --world-runtime where to be")
        usual = WorldPlaces(state, runtime)
    return WorldPlaces((state or usual.state).absolute(), (runtime or usual.runtime).absolute())


def _start_world(world: WorldPlaces | None, user_id: int, options: Sequence[str]) -> None:
    from edgeroot.daemon.world import WorldError, keep_world

    if world is None:
        return
    try:
        # Who starts it as well: updates and the attestation key are asked for there, and not through the service.
        users = list(dict.fromkeys((user_id, os.geteuid())))
        _worlds.append(keep_world(world, users=users, options=options))
    except WorldError as error:
        raise click.ClickException(str(error)) from error


def _run(
    load: Callable[[dict[str, ProviderType]], ServiceConfig],
    *,
    check: bool = False,
    prepare: Callable[[], None] = lambda: None,
    config_folders: Iterable[Path] = (),
) -> int:
    from edgeroot.daemon.run import CannotStartError, run_service

    try:
        return run_service(load, check=check, prepare=prepare, config_folders=config_folders)
    except CannotStartError as error:
        raise SeveralErrors(*error.messages) from error
