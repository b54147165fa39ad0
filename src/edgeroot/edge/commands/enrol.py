"""``edgeroot edge enrol``: on a new device, become a node of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import open_output
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit, note, printable
from edgeroot.client.commands.session import service

REFUSED: Final = 3
"""The exit code where asking again changes nothing."""


class RefusedCommandError(CommandError):
    exit_code = REFUSED


@command(
    "enrol",
    examples=[
        "edgeroot edge enrol https://join.example:8444 --ca-file ca.pem",
        "edgeroot edge enrol https://join.example:8444 --node-name edge-7 --output kubeadm",
    ],
)
@click.argument("url")
@click.option("--node-name", default="", help="The node to be. Default: what the cluster calls this device.")
@click.option("--ca-file", type=click.Path(path_type=Path, dir_okay=False), help="Who is believed about URL.")
@click.option(
    "--output",
    type=click.Choice(["kubelet", "kubeadm", "k3s"]),
    default="kubelet",
    show_default=True,
    help="For which engine.",
)
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), help="Where its files go.")
@click.option(
    "--retry-for",
    "retry_for_s",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to try for while somebody is away.",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
def enrol(
    url: str,
    node_name: str,
    ca_file: Path | None,
    output: str,
    directory: Path | None,
    retry_for_s: float,
    *,
    force: bool,
) -> None:
    """Prove what this device is to the cluster's enrolment service, and become the node that it may be.

    With kubelet, a key is made here and the node's certificate for it is written, with a kubeconfig. With kubeadm and
    k3s it is a bootstrap token that is good for minutes. The exit code is 3 if the device is refused.
    """
    from edgeroot.client.errors import EndpointError, TransportError
    from edgeroot.edge.enrolment.device import Enrolment
    from edgeroot.edge.enrolment.errors import AwayError, RefusedError
    from edgeroot.edge.enrolment.output import DIRECTORIES, FILES, TAINT, Output, files_of

    engine = Output(output)
    place = (directory or Path(DIRECTORIES[engine])).absolute()
    there = [place / name for name in FILES[engine] if (place / name).exists()]
    if there and not force:
        raise CommandError(f"{there[0]} exists: the device is a node already, or replace it with --force")
    with service() as client:

        def attest(challenge: bytes) -> bytes:
            try:
                return client.attestation_token(challenge)
            except (EndpointError, TransportError) as error:
                raise AwayError(f"this device's own service does not answer: {error}") from error

        enrolment = Enrolment(
            url=url,
            node_name=node_name,
            with_key=engine is Output.KUBELET,
            attest=attest,
            tell=lambda words: note(printable(words)),
            ca_path=ca_file,
        )
        try:
            credential = enrolment.until_done(retry_for_s)
            contents = files_of(credential, engine, place)
        except RefusedError as error:
            raise RefusedCommandError(printable(str(error))) from error
        except AwayError as error:
            raise CommandError(f"{printable(str(error))}: try again later") from error
    place.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with open_output(str(place / name), what="a credential", force=force, mode=0o600) as file:
            file.write(content)
    paths = [str(place / name) for name in contents]
    said = {"node": credential.node_name, "device": credential.device, "files": paths}
    emit(said, f"node {credential.node_name}: {', '.join(paths)}")
    if engine is Output.KUBELET:
        options = f"--kubeconfig={paths[-1]} --register-with-taints={TAINT}=:NoSchedule"
        note(f"start the kubelet with --hostname-override={credential.node_name} {options}")
