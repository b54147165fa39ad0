"""What proves a node to the verifier."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit, printable
from edgeroot.cli.settings import Settings as Common
from edgeroot.cli.settings import current

if TYPE_CHECKING:
    from edgeroot.client import AsyncClient

_MISSING: Final = "this takes further packages: pip install 'edgeroot[k8s]'"
_folder: Final = click.Path(path_type=Path, file_okay=False)
_file: Final = click.Path(path_type=Path, dir_okay=False)


@command(
    "agent",
    examples=[
        "edgeroot edge agent --verifier https://verifier.example:8443",
        "edgeroot edge agent --verifier https://verifier.example:8443 --node-name edge-7 --state /run/edgeroot-agent",
        "edgeroot edge agent --check --state /run/edgeroot-agent",
    ],
)
@click.option("--verifier", metavar="URL", help="Who judges the node.")
@click.option("--ca-file", "ca_path", type=_file, help="Who is believed about the verifier. Default: the system's.")
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(min=1, max=86_400),
    default=600.0,
    show_default=True,
    help="Seconds between results; before one has lived half its life it is renewed in any case.",
)
@click.option(
    "--node-name", envvar="NODE_NAME", default="", help="Report the inventory to this EdgeNode. Default: NODE_NAME."
)
@click.option("--event-log", type=_file, help="What the boot says to have measured: goes along with a TPM's quote.")
@click.option("--state", type=_folder, help="Keep the last result in this folder, for --check.")
@click.option("--check", is_flag=True, help="Run nothing: fail unless the node is affirmed now.")
def agent(
    verifier: str | None,
    ca_path: Path | None,
    interval_s: float,
    node_name: str,
    event_log: Path | None,
    state: Path | None,
    *,
    check: bool,
) -> None:
    """Prove to the verifier, again and again, what this node runs. Runs until SIGTERM or SIGINT.

    The evidence comes from the service's secure world or TPM: --provider chooses which, otherwise the first that can.
    Through hours without a verifier it goes on asking. With a node name it also reports the service's providers, by the
    pod's account or KUBECONFIG; without the API server it attests all the same.
    """
    if check:
        _check(state)
        return
    if verifier is None:
        raise click.UsageError("--verifier says who judges the node")
    try:
        from edgeroot.edge.agent.run import Settings, run
    except ImportError as error:
        raise CommandError(_MISSING) from error
    common = current()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    # The library's line for each exchange.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        if state is not None:
            state.mkdir(parents=True, exist_ok=True)
        settings = Settings(
            verifier=verifier,
            service=lambda: _service(common),
            ca_path=ca_path,
            interval_s=interval_s,
            node_name=node_name,
            event_log=event_log,
            state=state,
            has_provider=common.provider is not None,
        )
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    run(settings)


def _service(common: Common) -> AsyncClient:
    from edgeroot.client import AsyncClient, TokenFile

    return AsyncClient(
        common.endpoint,
        app_name=common.app_name,
        provider=common.provider,
        auth=None if common.token_file is None else TokenFile(common.token_file),
        timeout_s=common.timeout_s,
    )


def _check(state: Path | None) -> None:
    from edgeroot.edge.agent.state import read_state, steady_now_s

    if state is None:
        raise click.UsageError("--check reads what the agent keeps: give it the same --state")
    try:
        found = read_state(state)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error
    if (problem := found.problem(time.time(), steady_now_s())) is not None:
        raise CommandError(printable(problem))
    emit({"status": found.status}, found.status)
