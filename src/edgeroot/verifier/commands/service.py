"""The verifier as a service, what it is told, and what it has written down."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import read_input
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit, printable
from edgeroot.cli.web import post
from edgeroot.psa import Secret
from edgeroot.verifier.commands.shared import (
    a_file,
    from_hex,
    opened,
    read_policy,
    read_private_key,
    read_public_key,
)

if TYPE_CHECKING:
    pass

_store = click.option("--store", type=a_file, required=True, help="The file in which the verifier remembers.")
_hours = click.FloatRange(min=0.1, max=10_000)
_minutes = click.IntRange(1, 525_600)


@command(
    "serve",
    examples=[
        "edgeroot verifier serve --store fleet.db --sign key.pem",
        "edgeroot verifier serve --store fleet.db --sign key.pem --provisioning-token-file token",
        "edgeroot verifier serve --store fleet.db --sign key.pem --viewer-token-file look --seen-within 6",
    ],
)
@_store
@click.option("--sign", "signer_path", type=a_file, required=True, help="Sign results with this P-256 key (PEM).")
@click.option("--policy", "policy_path", type=a_file, help="What is accepted. Default: the strictest.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The IP address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8443, show_default=True, help="0: any free one.")
@click.option("--tls-certificate", "certificate", type=a_file, help="Certificate chain in PEM.")
@click.option("--tls-key", "private_key", type=a_file, help="The certificate's key in PEM.")
@click.option("--provisioning-token-file", "token_path", type=a_file, help="Who has this token may hand in CoRIMs.")
@click.option("--viewer-token-file", "viewer_path", type=a_file, help="Who has this token may look at the fleet.")
@click.option("--seen-within", type=_hours, default=24.0, show_default=True, help="Hours that a result counts for.")
@click.option("--result-lifetime", type=_minutes, default=30, show_default=True, help="Minutes until results expire.")
@click.option("--keep-results", type=click.IntRange(1), default=1000, show_default=True, help="Of each device.")
@click.option("--corim-signer", "corim_signers", type=a_file, multiple=True, help="Key (PEM) that may sign CoRIMs.")
@click.option("--rate", type=click.FloatRange(min=0.1), default=100.0, show_default=True, help="Requests per second.")
def serve(
    store: Path,
    signer_path: Path,
    policy_path: Path | None,
    host: str,
    port: int,
    certificate: Path | None,
    private_key: Path | None,
    token_path: Path | None,
    viewer_path: Path | None,
    seen_within: float,
    result_lifetime: int,
    keep_results: int,
    corim_signers: tuple[Path, ...],
    rate: float,
) -> None:
    """Judge devices over HTTP, as Veraison's services do. Runs until it is told to end.

    Without a certificate it listens on this machine only; without a token nobody may hand in CoRIMs. The rate is for
    each address. The page about the fleet is at the address itself; without a viewer's token it is for this machine.
    """
    from edgeroot.verifier.errors import VerifierError

    try:
        from edgeroot.verifier.server import run
    except ImportError as error:
        raise CommandError("to serve takes further packages: pip install 'edgeroot[verifier]'") from error
    policy, policy_id = read_policy(policy_path)
    try:
        settings = run.Settings(
            store=store,
            host=host,
            port=port,
            key=read_private_key(signer_path),
            policy=policy,
            policy_id=policy_id,
            corim_signers=[read_public_key(one) for one in corim_signers],
            certificate=certificate,
            private_key=private_key,
            provisioning_token=None if token_path is None else run.check_token(read_input(str(token_path))),
            viewer_token=None if viewer_path is None else run.check_token(read_input(str(viewer_path))),
            window_s=int(seen_within * 3600),
            keep_results=keep_results,
            result_lifetime_s=result_lifetime * 60,
            rate_per_s=rate,
        )
        run.serve(settings, lambda url: emit({"listening": url}, f"listening on {url}"))
    except VerifierError as error:
        raise CommandError(str(error)) from error


@command(
    "submit",
    examples=["edgeroot verifier submit fleet.corim --url https://verifier.example:8443 --token-file token"],
)
@click.argument("corim", type=a_file)
@click.option("--url", required=True, help="The verifier's address, as `verifier serve` prints it.")
@click.option("--token-file", "token_path", type=a_file, required=True, help="The verifier's provisioning token.")
@click.option("--ca-file", "ca_path", type=a_file, help="Who is believed about the verifier. Default: the system's.")
@click.option("--signed", is_flag=True, help="The CoRIM is signed.")
def submit(corim: Path, url: str, token_path: Path, ca_path: Path | None, *, signed: bool) -> None:
    """Hand a CoRIM in to a verifier, of ours or Veraison's."""
    from edgeroot.verifier import media_types

    token = Secret(read_input(str(token_path)).strip())
    media_type = media_types.SIGNED_CORIM[0] if signed else media_types.CORIM[0]
    headers = {
        "Content-Type": media_type,
        "Accept": media_types.PROVISIONING_SESSION,
        "Authorization": f"Bearer {bytes(token).decode('ascii', 'replace')}",
    }
    place = f"{url.rstrip('/')}/endorsement-provisioning/v1/submit"
    answer = post(place, read_input(str(corim)), headers, ca_path=ca_path).content
    if answer.get("status") != "success":
        why = printable(str(answer.get("failure-reason", "it does not say why")))
        raise CommandError(f"the verifier took nothing: {why}")
    emit({"status": "success"}, "the verifier took it in")


@command("revoke", examples=["edgeroot verifier revoke --store fleet.db device 01ab... --reason stolen"])
@_store
@click.argument("kind", type=click.Choice(["device", "measurement", "signer", "version"]))
@click.argument("name")
@click.option("--reason", required=True, help="Why, for those who read results.")
def revoke_command(store: Path, kind: str, name: str, reason: str) -> None:
    """Trust a device, a measurement, a signer (all in hexadecimal) or a component's version (TYPE=VERSION) no more.

    A signer is the key whose hash tokens name as the signer of their components: revoke it when it became known.

    A verifier that runs over the same store knows it with the next evidence.
    """
    from edgeroot.verifier.desk import revoke
    from edgeroot.verifier.ports import Revoked

    with opened(store) as storage:
        revoke(storage, Revoked(kind), name, reason, now_s=int(time.time()))


@command("check-audit", examples=["edgeroot verifier check-audit --store fleet.db --noted $LINK"])
@_store
@click.option("--noted", metavar="HEX", help="A link that was there before, and must be there still.")
def check_audit(store: Path, noted: str | None) -> None:
    """Whether no line of the audit log was changed, dropped or moved. Prints the last link: note it elsewhere."""
    with opened(store) as storage:
        count, last = storage.check_audit(None if noted is None else from_hex(noted, "--noted"))
    emit({"lines": count, "link": last.hex()}, f"{count} lines, whole. The last link: {last.hex()}")
