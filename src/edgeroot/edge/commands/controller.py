"""What turns the verifier's results into labels and taints."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import command

_MISSING: Final = "this takes further packages: pip install 'edgeroot[k8s]'"
_file: Final = click.Path(path_type=Path, dir_okay=False)
_minutes: Final = click.FloatRange(min=0, max=24 * 60)


@command(
    "controller",
    examples=[
        "edgeroot edge controller --verifier https://verifier.example:8443 --viewer-token-file token",
        "edgeroot edge controller --verifier https://verifier.example:8443 --viewer-token-file token --all-nodes",
        "edgeroot edge controller --clean-up",
    ],
)
@click.option("--verifier", metavar="URL", help="Whose results count.")
@click.option("--viewer-token-file", "token_path", type=_file, help="The verifier's viewer token.")
@click.option("--ca-file", "ca_path", type=_file, help="Who is believed about the verifier. Default: the system's.")
@click.option(
    "--node-selector",
    metavar="LABELS",
    help="Nodes with these labels (key=value,key=value) are ours without an EdgeNode. Default: edgeroot.dev/edge=true.",
)
@click.option("--all-nodes", is_flag=True, help="Every node of the cluster is ours.")
@click.option(
    "--grace",
    "grace_min",
    type=_minutes,
    default=15.0,
    show_default=True,
    help="Minutes that an expired result holds while the verifier is away.",
)
@click.option(
    "--recovery",
    "recovery_min",
    type=_minutes,
    default=5.0,
    show_default=True,
    help="Minutes that it still counts as away once it is back.",
)
@click.option(
    "--clock-skew",
    "skew_s",
    type=click.FloatRange(min=0, max=3600),
    default=60.0,
    show_default=True,
    help="Seconds by which a result may be from the future.",
)
@click.option("--accept-warning", is_flag=True, help="A device that the verifier warns of is affirmed.")
@click.option("--evict-expired", is_flag=True, help="Workloads leave a node whose result expired.")
@click.option(
    "--namespace", envvar="POD_NAMESPACE", default="edgeroot-system", show_default=True, help="Where the Lease is."
)
@click.option("--identity", envvar="POD_NAME", default="", help="This replica's name. Default: one of its own making.")
@click.option("--probe-host", default="127.0.0.1", show_default=True, help="Where probes and metrics are answered.")
@click.option("--probe-port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any free one.")
@click.option("--clean-up", is_flag=True, help="Take label and taints from every node, and end: for uninstalling.")
def controller(
    verifier: str | None,
    token_path: Path | None,
    ca_path: Path | None,
    node_selector: str | None,
    grace_min: float,
    recovery_min: float,
    skew_s: float,
    namespace: str,
    identity: str,
    probe_host: str,
    probe_port: int,
    *,
    all_nodes: bool,
    accept_warning: bool,
    evict_expired: bool,
    clean_up: bool,
) -> None:
    """Let workloads onto nodes that prove what they run, and onto no others. Runs until SIGTERM or SIGINT.

    Follows the verifier's feed; writes the label, the taints and the EdgeNodes' status. Several replicas may run: one
    writes. The API server is that of the pod's own account, or of KUBECONFIG.
    """
    try:
        from lightkube.core.exceptions import ConfigError

        from edgeroot.edge.controller.clean_up import clean_up as take_marks_off
        from edgeroot.edge.controller.cluster import TROUBLE, words_of
        from edgeroot.edge.controller.feed import FeedSettings
        from edgeroot.edge.controller.feed_page import FeedError
        from edgeroot.edge.controller.records import EVERY_NODE, Selector
        from edgeroot.edge.controller.run import ControllerSettings, connect, serve
        from edgeroot.edge.controller.verdict import Policy
    except ImportError as error:
        raise CommandError(_MISSING) from error
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    # The library's line for each exchange.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        if clean_up:
            click.echo(f"nodes set free: {asyncio.run(take_marks_off(connect))}")
            return
        if verifier is None:
            raise click.UsageError("--verifier says whose results count")
        if all_nodes and node_selector is not None:
            raise click.UsageError("--all-nodes leaves nothing for --node-selector to select")
        selector = EVERY_NODE if all_nodes else Selector.parse(node_selector) if node_selector else Selector()
        settings = ControllerSettings(
            feed=FeedSettings(url=verifier, token_path=token_path, ca_path=ca_path),
            policy=Policy(
                grace_s=grace_min * 60,
                recovery_s=recovery_min * 60,
                skew_s=skew_s,
                accept_warning=accept_warning,
                evict_expired=evict_expired,
            ),
            selector=selector,
            namespace=namespace,
            identity=identity,
            probe_host=probe_host,
            probe_port=probe_port,
        )
        asyncio.run(serve(settings))
    except (FeedError, ConfigError, ValueError) as error:
        raise CommandError(str(error)) from error
    except TROUBLE as error:
        raise CommandError(f"the API server or an address of this machine: {words_of(error)}") from error
