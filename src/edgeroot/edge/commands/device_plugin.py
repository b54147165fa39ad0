"""The service's slots, given to pods by the kubelet."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import command

_folder: Final = click.Path(path_type=Path, file_okay=False)
_file: Final = click.Path(path_type=Path, dir_okay=False)


@command(
    "device-plugin",
    examples=[
        "edgeroot edge device-plugin",
        "edgeroot edge device-plugin --slot-directory /slots --host-slot-directory /run/parsec/slots",
        "edgeroot edge device-plugin --holders-socket /run/edgeroot-holders/holders.sock --holders-group parsec",
        "edgeroot edge device-plugin --check",
    ],
)
@click.option("--resource", default="edgeroot.dev/parsec", show_default=True, help="What pods ask for, and get 1 of.")
@click.option(
    "--slot-directory", type=_folder, default="/run/parsec/slots", show_default=True, help="The service's slots."
)
@click.option(
    "--host-slot-directory", type=_folder, help="Where they are for the kubelet. Default: where they are here."
)
@click.option("--slots", type=click.IntRange(1, 1024), help="How many there are. Default: as many as lie there.")
@click.option(
    "--kubelet-directory",
    type=_folder,
    default="/var/lib/kubelet",
    show_default=True,
    help="The kubelet's root folder.",
)
@click.option("--holders-socket", type=_file, help="Serve here who holds which slot, for the service.")
@click.option("--holders-group", metavar="GROUP", help="Who may ask there, besides root: a name or a number.")
@click.option(
    "--ping-interval",
    "ping_interval_s",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="Seconds between looks at the slots.",
)
@click.option("--metrics", "metrics_address", metavar="HOST:PORT", help="Serve metrics for Prometheus there.")
@click.option("--check", is_flag=True, help="Run nothing: fail unless a plugin runs here and the kubelet knows it.")
def device_plugin(
    resource: str,
    slot_directory: Path,
    host_slot_directory: Path | None,
    slots: int | None,
    kubelet_directory: Path,
    holders_socket: Path | None,
    holders_group: str | None,
    ping_interval_s: float,
    metrics_address: str | None,
    *,
    check: bool,
) -> None:
    """Offer the service's slots to pods as an extended resource. Runs until SIGTERM or SIGINT, as root.

    A container that asks for one gets a slot's folder at /run/parsec, and PARSEC_SERVICE_ENDPOINT. Slots whose service
    does not answer are shown as unhealthy: running pods keep theirs, new ones wait.
    """
    from edgeroot.edge.device_plugin.errors import PluginError

    try:
        from edgeroot.edge.device_plugin import run
    except ImportError as error:
        raise CommandError("this takes further packages: pip install 'edgeroot[k8s]'") from error
    try:
        settings = run.Settings(
            resource=resource,
            slot_directory=slot_directory.absolute(),
            host_slot_directory=(host_slot_directory or slot_directory).absolute(),
            slots=slots,
            kubelet_directory=kubelet_directory.absolute(),
            holders_socket=None if holders_socket is None else holders_socket.absolute(),
            holders_group=holders_group,
            metrics_address=metrics_address,
            ping_interval_s=ping_interval_s,
        )
        if check:
            run.check(settings)
        else:
            run.run(settings)
    except PluginError as error:
        raise CommandError(str(error)) from error
