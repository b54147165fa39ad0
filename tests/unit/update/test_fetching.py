"""Downloads that break go on where they were, from servers of several kinds."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeroot.update import errors
from edgeroot.update.client import Catalogue, Client
from edgeroot.update.sources import read_source
from tests.unit.update.releases import FIRST, PRODUCT, Publisher, device, look

NEVER = 1 << 30


@dataclass
class Server:
    """Serves a folder on this machine, and breaks each connection for an image after ``break_after`` bytes."""

    folder: Path
    break_after: int = NEVER
    knows_range: bool = True
    url: str = ""
    tls: ssl.SSLContext | None = None
    served: list[tuple[str, int]] = field(default_factory=list)
    """The images that were asked for, and from which byte on."""


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = server.folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            data = path.read_bytes()
            found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(found[1]) if found and server.knows_range else 0
            if start and start >= len(data):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            if path.suffix == ".img":
                server.served.append((path.name, start))
                self.wfile.write(data[start : start + server.break_after])
            else:
                self.wfile.write(data)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        if server.tls is not None:
            http.socket = server.tls.wrap_socket(http.socket, server_side=True)
        server.url = f"http{'' if server.tls is None else 's'}://127.0.0.1:{http.server_port}/"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    made = Publisher(tmp_path)
    made.publish(FIRST, size_bytes=500_000)
    return made


@pytest.fixture
def client(publisher: Publisher, tmp_path: Path) -> Client:
    return device(tmp_path / "device", publisher)


def first_image(catalogue: Catalogue) -> str:
    return next(iter(catalogue.of(PRODUCT)[-1].images.values()))


def published(publisher: Publisher, path: str) -> bytes:
    folder, _, name = path.rpartition("/")
    return next((publisher.www / "targets" / folder).glob(f"*.{name}")).read_bytes()


@pytest.mark.parametrize("knows_range", [True, False])
def test_a_connection_that_breaks_is_taken_up_again(publisher: Publisher, client: Client, knows_range: bool) -> None:
    with serving(Server(publisher.www, break_after=200_000, knows_range=knows_range)) as server:
        catalogue = look(client, server.url)
        path = first_image(catalogue)
        if not knows_range:  # from the beginning every time, and never to the end
            with pytest.raises(errors.UnreachableError, match="the connection broke"):
                catalogue.download(path)
            server.break_after = NEVER
        assert catalogue.download(path).read_bytes() == published(publisher, path)
        starts = [start for _, start in server.served]
    assert starts[:3] == ([0, 200_000, 400_000] if knows_range else [0, 0, 0])


def test_what_has_come_is_kept_for_the_next_process(publisher: Publisher, client: Client, tmp_path: Path) -> None:
    with serving(Server(publisher.www, break_after=100_000)) as server:
        path = first_image(look(client, server.url))
        name = path.rpartition("/")[2]
        whole = published(publisher, path)
        digest = next((publisher.www / "targets" / PRODUCT / "1.0.0").glob(f"*.{name}")).name
        (tmp_path / "device" / "partial").mkdir()
        (tmp_path / "device" / "partial" / digest).write_bytes(whole[:345_678])
        server.break_after = NEVER

        assert look(Client(tmp_path / "device"), server.url).download(path).read_bytes() == whole
        assert server.served == [(digest, 345_678)]


@pytest.mark.parametrize("kept", [b"X" * 1000, b"X" * 2_000_000])
def test_what_was_kept_and_is_wrong_is_fetched_anew_once(
    publisher: Publisher, client: Client, tmp_path: Path, kept: bytes
) -> None:
    with serving(Server(publisher.www)) as server:
        catalogue = look(client, server.url)
        path = first_image(catalogue)
        digest = next((publisher.www / "targets" / PRODUCT / "1.0.0").glob(f"*.{path.rpartition('/')[2]}"))
        (tmp_path / "device" / "partial").mkdir()
        (tmp_path / "device" / "partial" / digest.name).write_bytes(kept)

        assert catalogue.download(path).read_bytes() == digest.read_bytes()
        good = digest.read_bytes()
        digest.write_bytes(b"Y" + good[1:])
        (tmp_path / "device" / "partial" / digest.name).write_bytes(good[:9])
        server.served.clear()
        next((tmp_path / "device" / "images").iterdir()).unlink()
        digest.write_bytes(good[:-1] + b"Z")
        with pytest.raises(errors.TruncatedError):
            catalogue.download(path)
        assert [start for _, start in server.served] == [9, 0]
        assert not (tmp_path / "device" / "partial" / digest.name).exists()


def test_a_server_that_is_not_there(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(errors.UnreachableError, match="the connection broke"):
        look(client, f"http://127.0.0.1:{port}/")


def test_a_folder_on_a_server_that_is_no_repository(tmp_path: Path, client: Client) -> None:
    with serving(Server(tmp_path / "keys")) as server, pytest.raises(errors.UnreachableError, match="404"):
        look(client, server.url)


def certificate(folder: Path) -> Path:
    """Of a CA that is also the server at 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "updates")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(minutes=5))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(private + made.public_bytes(Encoding.PEM))
    return path


def test_a_server_is_believed_by_its_certificate_alone(publisher: Publisher, client: Client, tmp_path: Path) -> None:
    path = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(path)
    with serving(Server(publisher.www, tls=tls)) as server:
        source = read_source(server.url)
        assert client.open(source, ca_path=path).of(PRODUCT)[-1].version == FIRST
        with pytest.raises(errors.UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            client.open(source)
        (tmp_path / "empty.pem").write_bytes(b"")
        for wrong in (tmp_path / "empty.pem", tmp_path / "nowhere.pem"):
            with pytest.raises(errors.UnreachableError, match="no certificates in PEM"):
                client.open(source, ca_path=wrong)
