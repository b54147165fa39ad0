"""Mutual TLS between genuine programs, with keys that never leave the service.

What loads OpenSSL's provider does so in a process of its own: it cannot be unloaded again.
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import requests
import requests.adapters
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.client import templates, tls
from edgeroot.client.tls import TlsError
from tests.support.forked import outcome_of
from tests.support.pkcs11_module import PATH, Programs
from tests.support.requirements import require_root
from tests.support.tls_material import files_hold_scalar, holds_scalar, imported_key, self_signed
from tests.support.tls_servers import free_port, listening, nginx


@dataclass(frozen=True, slots=True)
class Pair:
    """A server's and a client's key in the service, and their certificates. The server's scalar is known."""

    programs: Programs
    server_key: ec.EllipticCurvePrivateKey
    client_key: ec.EllipticCurvePrivateKey
    server: Path
    client: Path

    def key_file(self, key_name: str) -> Path:
        path = self.programs.path(f"{key_name}.pem")
        path.write_bytes(tls.uri_pem(tls.key_uri(key_name)))
        return path

    def context(self) -> ssl.SSLContext:
        return tls.client_context("client", self.client, self.server)


@pytest.fixture
def pair(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setenv("PARSEC_SERVICE_ENDPOINT", programs.service.endpoint)
    monkeypatch.setenv("EDGEROOT_PKCS11_MODULE", str(PATH))
    with programs.service.client() as client:
        keys = [imported_key(client, name) for name in ("server", "client")]
        for name in ("server", "client"):
            programs.path(f"{name}.crt").write_bytes(self_signed(client, name, name))
    return Pair(programs, keys[0], keys[1], programs.path("server.crt"), programs.path("client.crt"))


@contextmanager
def key_holding_nginx(pair: Pair) -> Iterator[tuple[int, list[int]]]:
    require_root("run nginx whose workers are who its master is")
    with nginx(
        pair.programs.folder,
        pair.programs.openssl_environment,
        certificate=pair.server,
        key=pair.key_file("server"),
        clients=pair.client,
    ) as running:
        yield running


def curl(pair: Pair, port: int, *options: str | Path) -> str:
    return pair.programs.run(
        "curl", "--silent", "--show-error", "--cacert", pair.server, "--cert", pair.client,
        "--key", pair.key_file("client"), *options, f"https://localhost:{port}/",
        environment=pair.programs.openssl_environment,
    )  # fmt: skip


def test_nginx_and_curl(pair: Pair) -> None:
    with key_holding_nginx(pair) as (port, processes):
        for version in ("--tlsv1.3", "--tls-max=1.2"):
            assert curl(pair, port, *version.split("=")) == "hello CN=client\n"
        assert len(processes) == 3
        assert not any(holds_scalar(pid, pair.server_key) for pid in processes)
    assert not files_hold_scalar(pair.programs.folder, pair.server_key)
    assert not files_hold_scalar(pair.programs.folder, pair.client_key)


def test_a_key_in_a_file_would_be_found(pair: Pair) -> None:
    """What the test before looks for is there where keys are files."""
    path = pair.programs.path("leaked.pem")
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path.write_bytes(pair.server_key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    folder = pair.programs.folder
    with nginx(folder, pair.programs.openssl_environment, certificate=pair.server, key=path, clients=pair.client) as (
        port,
        processes,
    ):
        assert curl(pair, port) == "hello CN=client\n"
        assert all(holds_scalar(pid, pair.server_key) for pid in processes)
    assert files_hold_scalar(folder, pair.server_key)


def test_python_clients_and_nginx(pair: Pair) -> None:
    with key_holding_nginx(pair) as (port, _):

        def standard() -> bytes:
            connection = http.client.HTTPSConnection("localhost", port, context=pair.context())
            connection.request("GET", "/")
            return connection.getresponse().read()

        def with_httpx() -> str:
            with httpx2.Client(verify=pair.context()) as client:
                return client.get(f"https://localhost:{port}/").text

        def with_requests() -> str:
            class Adapter(requests.adapters.HTTPAdapter):
                def init_poolmanager(
                    self, connections: int, maxsize: int, block: bool = False, **options: object
                ) -> None:
                    context = pair.context()
                    super().init_poolmanager(connections, maxsize, block, ssl_context=context, **options)

            with requests.Session() as session:
                session.mount("https://", Adapter())
                return session.get(f"https://localhost:{port}/", verify=str(pair.server)).text

        assert outcome_of(with_requests) == "hello CN=client\n"
        assert outcome_of(standard) == b"hello CN=client\n"
        assert outcome_of(with_httpx) == "hello CN=client\n"


SERVER = """\
import http.server, sys
from edgeroot.client import tls
port, certificate, clients = int(sys.argv[1]), sys.argv[2], sys.argv[3]
server = http.server.HTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler)
context = tls.server_context("server", certificate, clients)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def test_a_python_server_and_curl(pair: Pair) -> None:
    port = free_port()
    pair.programs.path("index.html").write_text("hello from Python\n")
    command = [sys.executable, "-c", f"import os; os.chdir({str(pair.programs.folder)!r})\n{SERVER}"]
    environment = {**pair.programs.environment, "EDGEROOT_PKCS11_MODULE": str(PATH)}
    whole: list[str | Path] = [*command, str(port), pair.server, pair.client]
    with listening(whole, port, environment, pair.programs.path("log")) as process:
        assert curl(pair, port) == "hello from Python\n"
        stranger = subprocess.run(
            ["curl", "--silent", "--cacert", str(pair.server), f"https://localhost:{port}/"], check=False
        )
        assert stranger.returncode != 0
        assert not holds_scalar(process.pid, pair.server_key)


def test_asyncio_on_both_sides(pair: Pair) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"you said: " + await reader.readline())
        await writer.drain()
        writer.close()

    async def talk() -> list[bytes]:
        server = await asyncio.start_server(
            echo, "127.0.0.1", 0, ssl=tls.server_context("server", pair.server.read_bytes(), pair.client.read_bytes())
        )
        port = server.sockets[0].getsockname()[1]
        context = pair.context()

        async def one(number: int) -> bytes:
            reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
            writer.write(b"%d\n" % number)
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

        answers = await asyncio.gather(*(one(number) for number in range(20)))
        server.close()
        await server.wait_closed()
        return answers

    assert outcome_of(lambda: asyncio.run(talk())) == [b"you said: %d\n" % number for number in range(20)]


def error_of_context(key_name: str, chain: Path, provider: str | None = None) -> str:
    """The class and the message; empty if there is none."""

    def outcome() -> str:
        try:
            tls.client_context(key_name, chain, provider=provider)
        except (TlsError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    return outcome_of(outcome)


def test_errors_say_what_to_do(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "edgeroot list-keys" in error_of_context("nobody", pair.client)
    assert "that of another key" in error_of_context("client", pair.server)
    assert error_of_context("client", pair.programs.path("missing")).startswith("FileNotFoundError")
    monkeypatch.setenv("EDGEROOT_PKCS11_MODULE", "/nowhere.so")
    assert "EDGEROOT_PKCS11_MODULE is /nowhere.so, where no file is" in error_of_context("client", pair.client)


def test_a_key_is_that_of_the_provider_that_was_named(pair: Pair) -> None:
    assert error_of_context("client", pair.client, "mbed-crypto-provider") == ""
    assert "token=elsewhere" in error_of_context("client", pair.client, "elsewhere")


def test_a_key_that_a_pkcs11_program_has_named(pair: Pair) -> None:
    name, path = "pkcs11:id=%01;object=a%20b", pair.programs.path("odd.crt")
    with pair.programs.service.client() as client:
        client.generate_key(name, templates.ecdsa_p256())
        path.write_bytes(self_signed(client, name, "odd"))
    assert error_of_context(name, path) == ""
