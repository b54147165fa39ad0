"""A test double of a cluster's API server, for tokens alone: HTTPS, its key set, TokenReview, and a bad day."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from edgeroot.auth import KubernetesSettings
from tests.support.tokens import Issuer

CREDENTIAL = "the-services-own"
LEEWAY_S = 60  # as the real one's library has it
REMEMBERS_S = 10
KEY_SET_PATH = "/openid/v1/jwks"
REVIEW_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"


class ApiServerDouble:
    """On the loopback. It knows the account of every token that its issuer signs, until it is ``deleted``.

    As the real one it remembers for ten seconds what it stood by. ``status`` makes it answer with that and nothing
    else, ``may_answer`` cleared makes it hang, ``stop`` is an outage.
    """

    def __init__(self, folder: Path, issuer: Issuer) -> None:
        self.issuer = issuer
        self.deleted: set[str] = set()
        self.uids: dict[str, str] = {}
        self.audience_aware = True
        self.status: int | None = None
        self.answer: bytes | None = None
        self.questions: list[str] = []
        self._remembered: dict[tuple[str, ...], tuple[float, dict[str, Any]]] = {}
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.ca_file = folder / "ca.pem"
        self.token_file = folder / "service-token"
        self.token_file.write_text(CREDENTIAL + "\n")
        self._context = _certified(folder, self.ca_file)
        self._server: _Server | None = None
        self._port = 0
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    def settings(self) -> KubernetesSettings:
        return KubernetesSettings(
            issuer=self.issuer.issuer, api_server=self.url, ca_file=self.ca_file, token_file=self.token_file
        )

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), self, self._context)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections, and end those that there are."""
        self.may_answer.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.end_connections()
            self._server = None

    def asked(self, path: str) -> int:
        return self.questions.count(path)

    def review(self, question: dict[str, Any]) -> dict[str, Any]:
        spec = question["spec"]
        remembered = (spec["token"], *spec["audiences"])
        since_s, status = self._remembered.get(remembered, (float("-inf"), {}))
        if time.monotonic() - since_s >= REMEMBERS_S:
            status = self._look(spec["token"], spec["audiences"])
            if status.get("authenticated"):
                self._remembered[remembered] = (time.monotonic(), status)
        return {**question, "status": status}

    def _look(self, token: str, asked: list[str]) -> dict[str, Any]:
        payload = token.split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        username = claims["sub"]
        uid = self.uids.get(username, claims["kubernetes.io"]["serviceaccount"]["uid"])
        audiences = [one for one in claims["aud"] if one in asked]
        if username in self.deleted or claims["exp"] + LEEWAY_S < time.time() or not audiences:
            return {"error": f"[invalid bearer token, {username} is not there]"}
        status = {"authenticated": True, "user": {"username": username, "uid": uid}}
        return {**status, "audiences": audiences} if self.audience_aware else status


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], double: ApiServerDouble, context: ssl.SSLContext) -> None:
        super().__init__(address, _Handler)
        self.double = double
        self._context = context
        self._connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        secured = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._connections.append(secured)
        return secured, address

    def end_connections(self) -> None:
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever does not trust our certificate, or is cut off, is no fault of this double."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._serve(lambda double: double.issuer.key_set() if self.path == KEY_SET_PATH else None)

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._serve(lambda double: double.review(question) if self.path == REVIEW_PATH else None)

    def _serve(self, answer: Callable[[ApiServerDouble], dict[str, Any] | None]) -> None:
        double = self.server.double
        double.questions.append(self.path)
        double.may_answer.wait(10)
        found = answer(double)
        status = double.status or (404 if found is None else 201 if self.command == "POST" else 200)
        if self.path == KEY_SET_PATH and "application/jwk-set+json" not in self.headers["Accept"]:
            status = 406
        if self.headers["Authorization"] != f"Bearer {CREDENTIAL}":
            status = 401
        data = b"{}" if status >= 300 else double.answer or json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def _certified(folder: Path, ca_file: Path) -> ssl.SSLContext:
    """A server certificate for the loopback, by a CA of its own."""
    now = datetime.now(UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a cluster's CA")])

    def certificate(name: x509.Name, of: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(of.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )

    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    ca = (
        certificate(ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .add_extension(usage, critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    own = (
        certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")]), key)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    ca_file.write_bytes(ca.public_bytes(Encoding.PEM))
    chain = folder / "server.pem"
    chain.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + own.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return context
