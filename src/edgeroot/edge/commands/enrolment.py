"""``edgeroot edge enrolment``: in the cluster, let devices join that prove what they are."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import read_input
from edgeroot.cli.frame import FrameGroup, command
from edgeroot.cli.output import emit

_a_file = click.Path(path_type=Path, dir_okay=False)
_IN_CLUSTER_CA = Path("/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")


@click.group(
    "enrolment",
    cls=FrameGroup,
    short_help="Let devices join the cluster that prove what they are.",
    examples=["edgeroot edge enrolment serve --verifier https://verifier.example:8443 --verifier-key verifier.pem ..."],
)
def enrolment() -> None:
    """What devices ask that want to become nodes: `edgeroot edge enrol` on their side."""


@command(
    "serve",
    examples=[
        "edgeroot edge enrolment serve --verifier https://verifier.example:8443 --verifier-key verifier.pem \\",
        "    --api-server https://api.example:6443 --tls-certificate tls.crt --tls-key tls.key --host 0.0.0.0",
    ],
)
@click.option("--verifier", required=True, metavar="URL", help="Who judges devices.")
@click.option("--verifier-key", type=_a_file, required=True, help="The key (PEM) that signs its results.")
@click.option("--verifier-ca", type=_a_file, help="Who is believed about the verifier. Default: the system's.")
@click.option("--api-server", required=True, metavar="URL", help="Where devices find the API server.")
@click.option(
    "--api-server-ca", type=_a_file, default=_IN_CLUSTER_CA, show_default=True, help="Its authority (PEM), for devices."
)
@click.option("--admit-affirmed", is_flag=True, help="Admit affirmed devices that no EdgeNode names.")
@click.option("--names", default="edge-*", show_default=True, metavar="PATTERN", help="What such nodes may be called.")
@click.option(
    "--token-life",
    "token_life_s",
    type=click.IntRange(60, 3600),
    default=600,
    show_default=True,
    help="Seconds that a bootstrap token is good for.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The IP address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8444, show_default=True, help="0: any free one.")
@click.option("--tls-certificate", "certificate", type=_a_file, help="Certificate chain in PEM.")
@click.option("--tls-key", "private_key", type=_a_file, help="The certificate's key in PEM.")
@click.option("--rate", type=click.FloatRange(min=0.1), default=20.0, show_default=True, help="Requests per second.")
def serve(
    verifier: str,
    verifier_key: Path,
    verifier_ca: Path | None,
    api_server: str,
    api_server_ca: Path,
    names: str,
    token_life_s: int,
    host: str,
    port: int,
    certificate: Path | None,
    private_key: Path | None,
    rate: float,
    *,
    admit_affirmed: bool,
) -> None:
    """Have devices judged by the verifier, and give those that may join what makes them nodes. Runs until it is ended.

    An operator says who may join: an EdgeNode with the device's id as spec.device. With --admit-affirmed every device
    may that the verifier affirms, under a new name that fits the pattern. The rate is for each address.
    """
    try:
        from edgeroot.edge.enrolment import run
    except ImportError as error:
        raise CommandError("it takes further packages: pip install 'edgeroot[k8s,verifier]'") from error
    from edgeroot.edge.enrolment.admission import Rules
    from edgeroot.edge.enrolment.desk import ApiServer
    from edgeroot.edge.enrolment.errors import RefusedError
    from edgeroot.verifier.commands.shared import read_public_key

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # which would log every exchange with the API server
    try:
        settings = run.Settings(
            verifier=verifier,
            verifier_key=read_public_key(verifier_key),
            verifier_ca=verifier_ca,
            api_server=ApiServer(url=api_server, authority=read_input(str(api_server_ca)).decode("ascii")),
            rules=Rules(admit_affirmed=admit_affirmed, name_pattern=names),
            token_life_s=token_life_s,
            host=host,
            port=port,
            certificate=certificate,
            private_key=private_key,
            rate_per_s=rate,
        )
        run.serve(settings, lambda url: emit({"listening": url}, f"listening on {url}"))
    except (run.SettingsError, RefusedError) as error:
        raise CommandError(str(error)) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{api_server_ca} is not in PEM") from error


enrolment.add_command(serve)
