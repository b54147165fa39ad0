"""Releases of firmware on their way to the nodes of a fleet."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import FrameGroup, command
from edgeroot.edge.commands.stopping import until_signal

_MISSING: Final = "this takes further packages: pip install 'edgeroot[k8s,update]'"
_file: Final = click.Path(path_type=Path, dir_okay=False)


@click.group(
    "firmware",
    cls=FrameGroup,
    short_help="Roll out firmware to a fleet in waves (EdgeFirmware).",
    examples=["edgeroot edge firmware roll-out"],
)
def firmware() -> None:
    """Releases of firmware for the nodes of a fleet, in waves that go on only while devices prove themselves."""


@command("roll-out", examples=["edgeroot edge firmware roll-out"])
def roll_out() -> None:
    """Say which node takes which release when, as EdgeFirmwares wish. One in a cluster; runs until SIGTERM."""
    try:
        from lightkube import Client

        from edgeroot.edge.firmware.run import RolloutController
    except ImportError as error:
        raise CommandError(_MISSING) from error
    RolloutController(Client()).run(until_signal())


@command(
    "keep",
    examples=[
        "edgeroot edge firmware keep --node-name gateway-7 --verifier https://verifier.example:8443",
        "edgeroot edge firmware keep --restart 'systemctl restart edgeroot-secure-world' --verifier https://...",
    ],
)
@click.option("--node-name", envvar="NODE_NAME", required=True, help="This node's name in the cluster.")
@click.option("--verifier", metavar="URL", required=True, help="Accept only firmware that this verifier affirms.")
@click.option("--ca-file", type=_file, help="Who is believed about the verifier. Default: the system's.")
@click.option(
    "--restart",
    metavar="COMMAND",
    default="systemctl restart edgeroot-secure-world.service",
    show_default=True,
    help="What restarts the secure world on this node.",
)
@click.option(
    "--memory",
    "memory_path",
    type=_file,
    default="/var/lib/edgeroot-update/fleet.json",
    show_default=True,
    help="Where is remembered what was tried.",
)
@click.option(
    "--update-state",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of edgeroot update (its --state), where it is not the usual one.",
)
def keep(
    node_name: str, verifier: str, ca_file: Path | None, restart: str, memory_path: Path, update_state: Path | None
) -> None:
    """Bring this node to the release that its EdgeNode names, by edgeroot update. Runs until SIGTERM or SIGINT.

    What a good image is, and what may follow what, is the device's own to say. Repository, product and root are those
    that edgeroot update remembers: look once with edgeroot update check.
    """
    try:
        from time import time

        from lightkube import Client

        from edgeroot.edge.firmware.keeper import Commands, FirmwareKeeper
        from edgeroot.edge.firmware.run import keep_firmware
    except ImportError as error:
        raise CommandError(_MISSING) from error
    options = ["--verifier", verifier, *(["--ca", str(ca_file)] if ca_file else [])]
    state = ("--state", str(update_state)) if update_state else ()
    commands = Commands(restart=shlex.split(restart), verifier=options, state=state)
    keep_firmware(Client(), node_name, FirmwareKeeper(commands, memory_path, time), until_signal())


firmware.add_command(roll_out)
firmware.add_command(keep)
