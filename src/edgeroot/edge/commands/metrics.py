"""The service's metrics, for a Prometheus on another machine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import command


@command(
    "metrics",
    examples=["edgeroot edge metrics --socket /run/parsec/metrics.sock --listen 0.0.0.0:9112"],
)
@click.option(
    "--socket",
    "socket_path",
    type=click.Path(path_type=Path),
    default="/run/parsec/metrics.sock",
    show_default=True,
    help="Where the service shows its metrics.",
)
@click.option(
    "--listen", "address", metavar="HOST:PORT", default="127.0.0.1:9112", show_default=True, help="Where to show them."
)
def metrics(socket_path: Path, address: str) -> None:
    """Show the service's metrics to other machines. Runs until SIGTERM or SIGINT.

    The service shows them on its own machine only. No metric names a key, an application or a user.
    """
    from edgeroot.edge.metrics_relay import run

    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise CommandError(f"{address!r} is no address: write HOST:PORT, such as 0.0.0.0:9112")
    try:
        asyncio.run(run(socket_path, host.removeprefix("[").removesuffix("]"), int(port)))
    except OSError as error:
        raise CommandError(f"cannot listen on {address}: {error.strerror or error}") from error
