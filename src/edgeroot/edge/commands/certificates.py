"""Certificates whose keys stay in a node's hardware."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.frame import FrameGroup, command
from edgeroot.edge.commands.stopping import until_signal

_MISSING: Final = "this takes further packages: pip install 'edgeroot[k8s,verifier]'"
_file: Final = click.Path(path_type=Path, dir_okay=False)


@click.group(
    "certificates",
    cls=FrameGroup,
    short_help="Certificates with keys in hardware (HardwareCertificate).",
    examples=["edgeroot edge certificates keep --node-name gateway-7 --verifier https://verifier.example:8443"],
)
def certificates() -> None:
    """Certificates for workloads whose keys are made in a node's hardware and never leave it (HardwareCertificate)."""


@command(
    "keep",
    examples=["edgeroot edge certificates keep --node-name gateway-7 --verifier https://verifier.example:8443"],
)
@click.option("--node-name", envvar="NODE_NAME", required=True, help="This node's name in the cluster.")
@click.option("--verifier", metavar="URL", required=True, help="Who says of a key that it is in this hardware.")
@click.option("--ca-file", type=_file, help="Who is believed about the verifier. Default: the system's.")
@click.option(
    "--service",
    "endpoint",
    metavar="ENDPOINT",
    envvar="PARSEC_SERVICE_ENDPOINT",
    required=True,
    help="A listener of the service that takes tokens which name no pod, such as unix:/run/edgeroot/keeper.sock.",
)
def keep(node_name: str, verifier: str, ca_file: Path | None, endpoint: str) -> None:
    """Make, attest and renew the keys' certificates on this node. Runs until SIGTERM or SIGINT."""
    try:
        from edgeroot.edge.certificates.keeper import NodeError
        from edgeroot.edge.certificates.run import run_keeper
    except ImportError as error:
        raise CommandError(_MISSING) from error
    from edgeroot.cli.verdict import ask_verdict

    def ask_verifier(attest: Callable[[bytes], bytes]) -> str:
        try:
            return ask_verdict(verifier, attest, ca_file)[0]
        except CommandError as error:
            raise NodeError(str(error)) from error

    run_keeper(node_name, endpoint, ask_verifier, until_signal())


@command(
    "approve",
    examples=["edgeroot edge certificates approve --verifier-key verifier.pem --signer example.com/workloads"],
)
@click.option("--verifier-key", type=_file, required=True, help="The verifier's public key, PEM (P-256).")
@click.option("--signer", "signers", multiple=True, metavar="NAME", help="Approve requests to this one. Repeatable.")
@click.option(
    "--requester",
    metavar="USER",
    default="system:serviceaccount:edgeroot-system:edgeroot-certificates",
    show_default=True,
    help="As whom the nodes' keepers send requests.",
)
def approve(verifier_key: Path, signers: Sequence[str], requester: str) -> None:
    """Approve requests for keys that the hardware vouches for, and publish the certificates. Runs until SIGTERM.

    It signs nothing: that is what the cluster's signers do, or cert-manager.
    """
    try:
        from edgeroot.edge.certificates.run import run_approver
    except ImportError as error:
        raise CommandError(_MISSING) from error
    try:
        run_approver(verifier_key.read_bytes(), requester, frozenset(signers), until_signal())
    except (OSError, ValueError) as error:
        raise CommandError(f"{verifier_key}: {error}") from error


certificates.add_command(keep)
certificates.add_command(approve)
