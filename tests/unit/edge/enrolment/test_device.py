"""The device's side: against services that are away, slow, strange or hostile; and the files that it writes."""

from __future__ import annotations

import json
import threading
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from edgeroot.edge.enrolment.binding import challenge_of
from edgeroot.edge.enrolment.device import Credential, Enrolment
from edgeroot.edge.enrolment.errors import AwayError, RefusedError
from edgeroot.edge.enrolment.output import Output, files_of
from edgeroot.edge.enrolment.request import read_request
from edgeroot.edge.enrolment.verifier import Verifier
from edgeroot.edge.enrolment.web import check_url, post
from tests.support.api_double import ApiDouble

SEED = bytes(range(32))
BEGUN = {"session": "ab" * 16, "seed": urlsafe_b64encode(SEED).rstrip(b"=").decode(), "expiresAt": "x"}
PROVED = {"node": "edge-1", "device": "01" + "ab" * 32, "apiServer": "https://api", "certificateAuthority": "PEM"}
TOKEN = {**PROVED, "token": "abcdef.0123456789abcdef"}


@dataclass
class Answers:
    """What a server says, one after another; a bytes object is sent as it is, and the connection ends."""

    script: list[tuple[int, object] | bytes]
    headers: dict[str, str] = field(default_factory=dict)
    url: str = ""
    asked: list[tuple[str, bytes, dict[str, str]]] = field(default_factory=list)


@contextmanager
def serving(*script: tuple[int, object] | bytes, **headers: str) -> Iterator[Answers]:
    answers = Answers(list(script), {name.replace("_", "-"): value for name, value in headers.items()})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            answers.asked.append((self.path, body, {name.lower(): value for name, value in self.headers.items()}))
            said = answers.script.pop(0)
            if isinstance(said, bytes):
                self.wfile.write(said)
                return
            self.send_response(said[0])
            for name, value in answers.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(json.dumps(said[1]).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        answers.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield answers
        finally:
            server.shutdown()
            thread.join()


def enrolment(url: str, *, name: str = "", with_key: bool = False) -> tuple[Enrolment, list[bytes], list[str]]:
    challenges: list[bytes] = []
    told: list[str] = []

    def attest(challenge: bytes) -> bytes:
        challenges.append(challenge)
        return b"\xd2token"

    return (
        Enrolment(url=url, node_name=name, with_key=with_key, attest=attest, tell=told.append),
        challenges,
        told,
    )


def test_a_token() -> None:
    with serving((201, BEGUN), (200, TOKEN)) as service:
        one, challenges, told = enrolment(service.url + "/", name="edge-1")
        credential = one.until_done(0)
    assert credential.token == TOKEN["token"]
    assert credential.token not in repr(credential)
    assert challenges == [challenge_of(SEED, node_name="edge-1", key_digest=b"")]
    assert [path for path, _, _ in service.asked] == [
        "/enrol/v1/sessions",
        f"/enrol/v1/sessions/{'ab' * 16}/evidence",
    ]
    assert service.asked[1][2]["content-type"] == "application/psa-attestation-token"
    assert told[-1] == "the device is affirmed, and is node edge-1"


def test_a_certificate_for_a_key_of_its_own() -> None:
    with serving((201, BEGUN), (200, PROVED), (503, {}), (200, {"certificate": "PEM"}), retry_after="0") as service:
        one, challenges, _ = enrolment(service.url, with_key=True)
        credential = one.until_done(0)
    digest = bytes.fromhex(json.loads(service.asked[0][1])["publicKeySha256"])
    assert challenges == [challenge_of(SEED, node_name="", key_digest=digest)]
    wanted = read_request(service.asked[2][1])
    assert (wanted.node_name, wanted.key_digest) == ("edge-1", digest)
    assert service.asked[3][1] == service.asked[2][1]  # the same request, while the cluster takes its time
    assert b"PRIVATE KEY" in credential.private_key
    assert "PRIVATE KEY" not in repr(credential)


def test_it_begins_anew_when_the_service_has_forgotten_it() -> None:
    with serving((201, BEGUN), (404, {"detail": "no such session"}), (201, BEGUN), (200, TOKEN)) as service:
        one, challenges, told = enrolment(service.url)
        assert one.until_done(30).node_name == "edge-1"
    assert len(challenges) == 2
    assert any("no such session; again in" in words for words in told)


@pytest.mark.parametrize(
    "script",
    [
        [(503, {"detail": "not now"})],
        [(429, {"detail": "too many"})],
        [b"HTTP/1.0 200 OK\r\n\r\nnot JSON"],
        [b"garbage\r\n\r\n"],
        [b""],
        [(201, [])],
        [(201, {**BEGUN, "seed": "AAAA"})],
        [(201, {**BEGUN, "seed": "!"})],
        [(201, {**BEGUN, "session": "../../other"})],
        [(201, BEGUN), (200, {**TOKEN, "node": "../x"})],
        [(201, BEGUN), (200, {**TOKEN, "node": ""})],
        [(201, BEGUN), (200, PROVED)],
    ],
)
def test_who_does_not_answer_as_agreed_is_away(script: list[Any]) -> None:
    with serving(*script) as service, pytest.raises(AwayError):
        enrolment(service.url)[0].until_done(0)


def test_another_name_than_was_asked_for() -> None:
    with serving((201, BEGUN), (200, TOKEN)) as service, pytest.raises(AwayError):
        enrolment(service.url, name="edge-2")[0].until_done(0)


@pytest.mark.parametrize("status", [400, 403, 301, 307])
def test_a_refusal_is_not_repeated_and_no_redirect_followed(status: int) -> None:
    with (
        serving((status, {"detail": "go away"}), location="http://192.0.2.1/") as service,
        pytest.raises(RefusedError, match="go away"),
    ):
        enrolment(service.url)[0].until_done(60)
    assert len(service.asked) == 1


def test_when_to_come_back() -> None:
    with serving((503, {"detail": "not now"}), retry_after="3000") as service:
        one, _, told = enrolment(service.url)
        with pytest.raises(AwayError) as raised:
            one.until_done(60)
    assert raised.value.retry_after_s == 3000
    assert told == []


@pytest.mark.parametrize("url", ["http://join.example", "ftp://127.0.0.1", "join.example", "http://127.0.0.1.example"])
def test_nothing_is_said_where_others_listen_in(url: str) -> None:
    with pytest.raises(RefusedError):
        check_url(url)
    with pytest.raises(RefusedError):
        post(url, b"", {}, ca_path=None)


def test_a_session_of_the_verifier_elsewhere() -> None:
    with (
        serving((201, {}), location="https://elsewhere.example/session/1") as server,
        pytest.raises(AwayError, match="elsewhere"),
    ):
        Verifier(server.url, None).judge(b"evidence", "a/b", bytes(32))


@pytest.mark.parametrize("said", [{"status": "waiting"}, {"status": "complete"}, {"status": "complete", "result": 1}])
def test_a_verifier_without_a_result(said: object) -> None:
    with serving((201, {}), (200, said), location="session/1") as server, pytest.raises(AwayError, match="no result"):
        Verifier(server.url + "/at", None).judge(b"evidence", "a/b", bytes(32))
    assert [path for path, _, _ in server.asked] == [
        "/at/challenge-response/v1/newSession?nonce=" + "A" * 43,
        "/at/challenge-response/v1/session/1",
    ]


def test_a_verifier_that_knows_the_challenge_already() -> None:
    with (
        serving((409, {"detail": "this nonce was used before"})) as server,
        pytest.raises(RefusedError, match="used before"),
    ):
        Verifier(server.url, None).judge(b"evidence", "a/b", bytes(32))


AUTHORITY = ApiDouble().authority.decode()
JOINED = Credential(
    node_name="edge-1",
    device="01",
    api_server="https://api:6443",
    authority=AUTHORITY,
    certificate=b"CERTIFICATE\n",
    private_key=b"KEY\n",
    token="abcdef.0123456789abcdef",
)


def test_files_for_a_kubelet() -> None:
    files = files_of(JOINED, Output.KUBELET, Path("/etc/kubernetes"))
    assert list(files) == ["kubelet-client.pem", "kubelet.conf"]  # the kubeconfig last: with it the node is complete
    assert files["kubelet-client.pem"] == b"KEY\nCERTIFICATE\n"
    config = json.loads(files["kubelet.conf"])
    assert config["users"][0]["user"]["client-key"] == "/etc/kubernetes/kubelet-client.pem"
    assert b"abcdef" not in files["kubelet.conf"]


def test_files_for_kubeadm() -> None:
    files = files_of(JOINED, Output.KUBEADM, Path("/etc/kubernetes"))
    join = json.loads(files["edgeroot-join.yaml"])
    assert join["nodeRegistration"] == {
        "name": "edge-1",
        "taints": [{"key": "edgeroot.dev/unattested", "effect": "NoSchedule"}],
    }
    assert join["discovery"]["file"]["kubeConfigPath"] == "/etc/kubernetes/edgeroot-bootstrap.conf"
    config = json.loads(files["edgeroot-bootstrap.conf"])
    assert config["users"][0]["user"] == {"token": JOINED.token}
    assert b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode() == AUTHORITY


def test_files_for_k3s() -> None:
    config = json.loads(files_of(JOINED, Output.K3S, Path("/x"))["edgeroot.yaml"])
    digest = sha256(AUTHORITY.encode()).hexdigest()
    assert config == {
        "server": "https://api:6443",
        "token": f"K10{digest}::abcdef.0123456789abcdef",
        "node-name": "edge-1",
        "node-taint": ["edgeroot.dev/unattested=:NoSchedule"],
    }


def test_k3s_knows_a_server_by_one_root() -> None:
    several = AUTHORITY + ApiDouble().authority.decode()
    one = Credential(node_name="e", device="01", api_server="https://api", authority=several, token="a.b")
    with pytest.raises(RefusedError, match="one root"):
        files_of(one, Output.K3S, Path("/x"))
    root = x509.load_pem_x509_certificate(AUTHORITY.encode())
    chain = ApiDouble().signed("between").decode() + AUTHORITY
    two = Credential(node_name="e", device="01", api_server="https://api", authority=chain, token="a.b")
    config = json.loads(files_of(two, Output.K3S, Path("/x"))["edgeroot.yaml"])
    assert config["token"].startswith(f"K10{root.fingerprint(hashes.SHA256()).hex()}::")
