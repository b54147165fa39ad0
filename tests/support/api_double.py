"""A test double of a Kubernetes API server: objects in memory, bootstrap tokens, and a signer of approved requests.

It checks what enrolment relies on: a patch that tests, resource versions, who sent a certificate request. It knows
neither RBAC nor admission; those are tried on a real API server (tests/integration/cluster).
"""

from __future__ import annotations

import json
import threading
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

ADMIN: Final = "admin-token"
Document: TypeAlias = dict[str, Any]
CSRS: Final = "certificatesigningrequests"


class Status(Exception):
    """The request ends like this."""


@dataclass
class ApiDouble:
    """``url`` and what is stored, by plural and name (names of Secrets and others do not clash here)."""

    url: str = ""
    objects: dict[tuple[str, str], Document] = field(default_factory=dict)
    approves_by_itself: bool = False
    signs: bool = True
    is_away: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _version: int = 0

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.authority = self.signed("cluster")

    def signed(self, name: str) -> bytes:
        """A certificate of the cluster's authority, in PEM; its own is the one called ``cluster``."""
        return self._signed(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), self.key.public_key())

    def _signed(self, subject: x509.Name, key: CertificatePublicKeyTypes) -> bytes:
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cluster")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def kubeconfig(self, path: Path, token: str = ADMIN) -> Path:
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "clusters": [{"name": "c", "cluster": {"server": self.url}}],
                    "users": [{"name": "u", "user": {"token": token}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                }
            )
        )
        return path

    def put(self, plural: str, name: str, **content: object) -> Document:
        """As an operator would."""
        with self.lock:
            return self._store(plural, {"metadata": {"name": name}, **content})

    def names(self, plural: str) -> list[str]:
        with self.lock:
            return [name for kind, name in self.objects if kind == plural]

    def _store(self, plural: str, obj: Document) -> Document:
        self._version += 1
        metadata = obj.setdefault("metadata", {})
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        metadata["resourceVersion"] = str(self._version)
        self.objects[plural, metadata["name"]] = obj
        return obj

    def user_of(self, token: str) -> tuple[str, list[str]]:
        """Who has this token; a bootstrap token counts while its Secret is there and has not expired."""
        if token == ADMIN:
            return "admin", ["system:masters", "system:authenticated"]
        token_id, _, secret = token.partition(".")
        found = self.objects.get(("secrets", f"bootstrap-token-{token_id}"))
        if found is not None:
            data = {name: b64decode(value).decode() for name, value in found["data"].items()}
            good = datetime.fromisoformat(data["expiration"]) > datetime.now(UTC)
            if data["token-secret"] == secret and data["usage-bootstrap-authentication"] == "true" and good:
                groups = ["system:bootstrappers", "system:authenticated", data["auth-extra-groups"]]
                return f"system:bootstrap:{token_id}", groups
        raise Status(401, "Unauthorized")

    def answer(self, method: str, path: str, token: str, kind: str, body: Document) -> tuple[int, Document]:
        parts = urlsplit(path)
        segments = [one for one in parts.path.split("/") if one]
        segments = segments[2:] if segments[0] == "api" else segments[3:]
        if segments[0] == "namespaces":
            segments = segments[2:]
        plural, name, sub = [*segments, "", ""][:3]
        with self.lock:
            self.asked.append((method, plural))
            if self.is_away:
                raise Status(503, "etcd is away")
            user, groups = self.user_of(token)
            if method == "POST":
                return 201, self._create(plural, body, user, groups)
            if not name:
                return 200, self._list(plural, parse_qs(parts.query).get("fieldSelector", [""])[0])
            found = self.objects.get((plural, name))
            if found is None:
                raise Status(404, f'{plural} "{name}" not found')
            return self._changed(method, plural, sub, found, kind, body)

    def _create(self, plural: str, body: Document, user: str, groups: list[str]) -> Document:
        if plural == "subjectaccessreviews":
            return {**body, "status": {"allowed": self.approves_by_itself}}
        if (plural, body["metadata"]["name"]) in self.objects:
            raise Status(409, "already exists")
        if plural == CSRS:
            body["spec"] |= {"username": user, "groups": groups}
        return self._store(plural, body)

    def _list(self, plural: str, selector: str) -> Document:
        items = [one for (kind, _), one in self.objects.items() if kind == plural]
        if selector:
            field_path, _, value = selector.replace("==", "=").partition("=")
            part, _, key = field_path.partition(".")
            items = [one for one in items if one.get(part, {}).get(key) == value]
        return {"metadata": {"resourceVersion": str(self._version)}, "items": items}

    def _changed(
        self, method: str, plural: str, sub: str, found: Document, kind: str, body: Document
    ) -> tuple[int, Document]:
        name = found["metadata"]["name"]
        if method == "DELETE":
            del self.objects[plural, name]
            return 200, {"kind": "Status", "status": "Success"}
        if method == "PATCH":
            new = _json_patched(found, body["patch"]) if kind == "application/json-patch+json" else _merged(found, body)
            return 200, self._store(plural, new)
        if method == "PUT":
            assert sub == "approval"
            if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                raise Status(409, "the object has been modified")
            found.setdefault("status", {})["conditions"] = body["status"]["conditions"]
            return 200, self._store(plural, found)
        if plural == CSRS and self.signs and _is_approved(found) and "certificate" not in found["status"]:
            request = x509.load_pem_x509_csr(b64decode(found["spec"]["request"]))
            found["status"]["certificate"] = b64encode(
                self._signed(request.subject, _elliptic(request.public_key()))
            ).decode()
        return 200, found


def _is_approved(request: Document) -> bool:
    return any(one["type"] == "Approved" for one in request.get("status", {}).get("conditions", ()))


def _merged(found: object, patch: Document) -> Document:
    """RFC 7386."""
    result: Document = dict(found) if isinstance(found, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value) if isinstance(value, dict) else value
    return result


def _elliptic(key: object) -> ec.EllipticCurvePublicKey:
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def _json_patched(found: Document, patch: Sequence[Document]) -> Document:
    """RFC 6902, the operations test and replace."""
    result: Document = json.loads(json.dumps(found))
    for one in patch:
        *above, last = [part.replace("~1", "/").replace("~0", "~") for part in one["path"].split("/")[1:]]
        place = result
        for part in above:
            place = place.get(part, {})
        if last not in place or (one["op"] == "test" and place[last] != one["value"]):
            raise Status(422, "the patch does not apply")
        place[last] = one["value"]
    return result


@contextmanager
def running_api() -> Iterator[ApiDouble]:
    double = ApiDouble()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            read = json.loads(self.rfile.read(length)) if length else {}
            body = read if isinstance(read, dict) else {"patch": read}
            token = self.headers.get("authorization", "").removeprefix("Bearer ")
            kind = self.headers.get("content-type", "")
            try:
                code, said = double.answer(self.command, self.path, token, kind, body)
            except Status as status:
                code, words = status.args
                said = {"kind": "Status", "status": "Failure", "code": code, "message": words}
            text = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def do_PUT(self) -> None:
            self._answer()

        def do_PATCH(self) -> None:
            self._answer()

        def do_DELETE(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        double.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield double
        finally:
            server.shutdown()
            thread.join()
