"""A certificate from a genuine ACME server (Pebble), for a key of the service, and its renewal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from dnslib import QTYPE, RR, A, DNSRecord
from dnslib.server import DNSServer

from edgeroot.client import Client
from peers import PeersUnavailableError
from peers.pebble import pebble
from tests.support.requirements import unavailable
from tests.support.service import Service, running_service
from tests.support.tls_servers import free_port, listening

DOMAIN = "gateway-17.example"
ROOT = Path(__file__).parents[2]


class Here:
    """Every name is this machine."""

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        del handler
        reply = request.reply()
        if request.q.qtype == QTYPE.A:
            reply.add_answer(RR(request.q.qname, rdata=A("127.0.0.1")))
        return reply


@contextmanager
def acme_server(folder: Path, reuse_percent: int) -> Iterator[dict[str, str]]:
    """Pebble, which looks for this machine under every name, and lets this share of proofs hold for the next order.

    The environment of its clients.
    """
    try:
        program = pebble()
    except PeersUnavailableError as error:
        unavailable(str(error))
    key, certificate = folder / "key.pem", folder / "server.pem"
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*request, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    port, management, http, tls, dns = (free_port() for _ in range(5))
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": http,
        "tlsPort": tls,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    names_servers = [DNSServer(Here(), port=dns, address="127.0.0.1", tcp=tcp) for tcp in (False, True)]
    for one in names_servers:
        one.start_thread()
    command: list[str | Path] = [program, "-config", folder / "pebble.json", "-dnsserver", f"127.0.0.1:{dns}"]
    try:
        # Without pauses and without refusing good nonces now and then, which the library bears once in a row only.
        choices = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": str(reuse_percent)}
        with listening(command, port, {**os.environ, **choices}, folder / "pebble.log"):
            yield {
                "DIRECTORY": f"https://localhost:{port}/dir",
                "REQUESTS_CA_BUNDLE": str(certificate),
                "ACME_HTTP_PORT": str(http),
                "PYTHONPATH": str(ROOT),
            }
    finally:
        for one in names_servers:
            one.stop()
            one.server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


def ordered(service: Service, environment: dict[str, str]) -> x509.Certificate:
    done = subprocess.run(
        [sys.executable, "-m", "examples.acme_renewal", environment["DIRECTORY"], DOMAIN],
        env={**os.environ, **environment, "PARSEC_SERVICE_ENDPOINT": service.endpoint},
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return x509.load_pem_x509_certificates(done.stdout)[0]


@pytest.mark.parametrize("reuse_percent", [0, 100], ids=["proved again", "proved once"])
def test_a_certificate_and_its_renewal(service: Service, tmp_path: Path, reuse_percent: int) -> None:
    with acme_server(tmp_path, reuse_percent) as environment:
        first, second = ordered(service, environment), ordered(service, environment)
    assert first.serial_number != second.serial_number
    names = second.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [DOMAIN]
    with Client(service.endpoint) as client:
        held = client.private_key("example-acme").public_key()
        assert sorted(one.name for one in client.list_keys()) == ["example-acme", "example-acme-account"]
    assert first.public_key() == second.public_key() == held
