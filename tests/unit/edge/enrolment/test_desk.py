"""The service's dealings, and its interface over HTTP, with a scripted verifier and a cluster in memory."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.edge.enrolment.admission import KnownNode, Rules
from edgeroot.edge.enrolment.binding import challenge_of, derived_name
from edgeroot.edge.enrolment.desk import ApiServer, Desk, NoSessionError
from edgeroot.edge.enrolment.errors import AwayError, RefusedError
from edgeroot.edge.enrolment.request import key_digest, make_request
from edgeroot.edge.enrolment.server import SESSIONS, Application
from edgeroot.edge.enrolment.sessions import TTL_S, Sessions
from edgeroot.edge.enrolment.tokens import BootstrapToken
from edgeroot.verifier.ear import PROFILE, sign_ear

DEVICE = "01" + "ab" * 32
OTHER = "01" + "cd" * 32
PSA = "application/psa-attestation-token"
NOW_S = 1_800_000_000
KEY = ec.generate_private_key(ec.SECP256R1())
DIGEST = key_digest(KEY.public_key())


@dataclass
class Memory:
    """A cluster."""

    nodes: dict[str, KnownNode] = field(default_factory=dict)
    joined: set[str] = field(default_factory=set)
    tokens: list[tuple[str, BootstrapToken | None]] = field(default_factory=list)
    is_open: bool = False
    signed: list[tuple[str, bytes]] = field(default_factory=list)

    def edge_node(self, name: str) -> KnownNode | None:
        return self.nodes.get(name)

    def edge_nodes_of(self, device: str) -> list[KnownNode]:
        return [one for one in self.nodes.values() if one.device == device]

    def has_node(self, name: str) -> bool:
        return name in self.joined

    def create_edge_node(self, name: str, device: str) -> KnownNode:
        if name in self.nodes:
            raise RefusedError(f"the name {name} belongs to another device")
        self.nodes[name] = KnownNode(name=name, device=device)
        return self.nodes[name]

    def replace_token(self, node: KnownNode, token: BootstrapToken | None) -> None:
        self.tokens.append((node.name, token))

    def approves_by_itself(self) -> bool:
        return self.is_open

    def certificate(self, request_name: str, pem: bytes, words: str) -> bytes:
        assert DEVICE in words
        self.signed.append((request_name, pem))
        return b"a certificate"


@dataclass
class Scripted:
    """A verifier that says of any evidence what it is told to say."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    device: str = DEVICE
    status: str = "affirming"
    change: Callable[[dict[str, Any]], object] = lambda _claims: None
    away: bool = False
    now_s: int = NOW_S

    def judge(self, evidence: bytes, media_type: str, challenge: bytes) -> str:
        assert (evidence, media_type) == (b"evidence", PSA)
        if self.away:
            raise AwayError("the verifier does not answer", retry_after_s=6.5)
        policy_claims = {"device": self.device, "checks": []}
        claims: dict[str, Any] = {
            "eat_profile": PROFILE,
            "iat": self.now_s,
            "eat_nonce": urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "submods": {"PSA_IOT": {"ear.status": self.status, "ear.veraison.policy-claims": policy_claims}},
        }
        self.change(claims)
        return sign_ear(claims, self.key)


@dataclass
class Site:
    cluster: Memory = field(default_factory=Memory)
    verifier: Scripted = field(default_factory=Scripted)
    now_s: int = NOW_S
    _count: int = 0

    def random(self, size: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(size)

    def desk(self, rules: Rules | None = None) -> Desk:
        return Desk(
            sessions=Sessions(self.random),
            judge=self.verifier.judge,
            verifier_key=self.verifier.key.public_key(),
            cluster=self.cluster,
            rules=rules or Rules(),
            api_server=ApiServer(url="https://api.test:6443", authority="PEM"),
            now_s=lambda: self.now_s,
        )


@pytest.fixture
def site() -> Site:
    one = Site()
    one.cluster.nodes["gate-1"] = KnownNode(name="gate-1", device=DEVICE, token_id="old123")
    return one


def proved(desk: Desk, name: str = "", digest: bytes = b"") -> str:
    session = desk.begin(node_name=name, key_digest=digest)
    desk.prove(session.session_id, PSA, b"evidence")
    return session.session_id


def test_a_token_for_the_operators_node(site: Site) -> None:
    desk = site.desk()
    session = desk.begin(node_name="gate-1", key_digest=b"")
    joined = desk.prove(session.session_id, PSA, b"evidence")
    assert (joined.node_name, joined.device) == ("gate-1", DEVICE)
    assert joined.token is not None
    assert joined.token.expires_at_s == NOW_S + 600
    assert site.cluster.tokens == [("gate-1", joined.token)]
    with pytest.raises(NoSessionError):  # evidence is taken once
        desk.prove(session.session_id, PSA, b"evidence")
    with pytest.raises(NoSessionError):  # and a token's session has no certificate
        desk.certify(session.session_id, make_request("gate-1", KEY))


def test_a_certificate_for_the_key_that_was_attested(site: Site) -> None:
    desk = site.desk()
    session_id = proved(desk, digest=DIGEST)
    assert site.cluster.tokens == [("gate-1", None)]  # an earlier token ends
    stranger = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(RefusedError, match="another key"):
        desk.certify(session_id, make_request("gate-1", stranger))
    with pytest.raises(RefusedError, match="another node"):
        desk.certify(session_id, make_request("gate-2", KEY))
    with pytest.raises(RefusedError, match="no certificate request"):
        desk.certify(session_id, b"none")
    request = make_request("gate-1", KEY)
    assert desk.certify(session_id, request) == b"a certificate"
    assert site.cluster.signed == [(f"edgeroot-{session_id}", request)]
    site.cluster.nodes["gate-1"] = KnownNode(name="gate-1", device=OTHER)
    with pytest.raises(RefusedError, match="another device's now"):
        desk.certify(session_id, request)
    site.now_s += TTL_S
    with pytest.raises(NoSessionError):
        desk.certify(session_id, request)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one.update(eat_nonce="AAAA"), "another challenge"),
        (lambda one: one.update(iat=NOW_S - 3600), "old"),
        (lambda one: one.update(iat=NOW_S + 3600), "old"),
        (lambda one: one.update(eat_profile="other"), "no EAR"),
        (lambda one: one["submods"].update(TPM=one["submods"]["PSA_IOT"]), "lacks"),
        (lambda one: one["submods"]["PSA_IOT"].update({"ear.status": "warning"}), "it is warning"),
        (lambda one: one["submods"]["PSA_IOT"].update({"ear.status": "none"}), "it is none"),
        (lambda one: one["submods"]["PSA_IOT"]["ear.veraison.policy-claims"].update(device=""), "lacks"),
    ],
)
def test_results_that_admit_nobody(site: Site, change: Callable[[dict[str, Any]], object], words: str) -> None:
    site.verifier.change = change
    with pytest.raises(RefusedError, match=words):
        proved(site.desk(Rules(admit_affirmed=True)))
    assert site.cluster.tokens == []


def test_a_contraindicated_device_whose_evidence_proves_nothing(site: Site) -> None:
    site.verifier.status, site.verifier.device = "contraindicated", ""
    with pytest.raises(RefusedError, match="it is contraindicated"):
        proved(site.desk())


def test_another_verifiers_result(site: Site) -> None:
    desk = site.desk()
    site.verifier.key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(RefusedError, match="not signed by the verifier"):
        proved(desk)


def test_another_device_under_the_nodes_name(site: Site) -> None:
    site.verifier.device = OTHER
    for rules in (Rules(), Rules(admit_affirmed=True, name_pattern="*")):
        with pytest.raises(RefusedError, match="belongs to another device"):
            proved(site.desk(rules), "gate-1")


def test_a_new_device_is_admitted_by_rule_only(site: Site) -> None:
    site.verifier.device = OTHER
    with pytest.raises(RefusedError, match="nobody has admitted"):
        proved(site.desk())
    desk = site.desk(Rules(admit_affirmed=True))
    site.cluster.joined.add("edge-master")
    with pytest.raises(RefusedError, match="there is a node edge-master already"):
        proved(desk, "edge-master")
    proved(desk)
    assert site.cluster.nodes[derived_name(OTHER)].device == OTHER
    assert site.cluster.tokens[-1][0] == derived_name(OTHER)
    with pytest.raises(RefusedError, match="is the node edge-"):
        proved(desk, "edge-2")


def test_no_tokens_where_the_cluster_approves_whatever_comes(site: Site) -> None:
    site.cluster.is_open = True
    with pytest.raises(AwayError, match="nodeclient"):
        proved(site.desk())
    assert site.cluster.tokens == []
    proved(site.desk(), digest=DIGEST)  # which needs no token


def test_sessions_end(site: Site) -> None:
    desk = site.desk()
    session = desk.begin(node_name="", key_digest=b"")
    site.now_s += TTL_S
    with pytest.raises(NoSessionError):
        desk.prove(session.session_id, PSA, b"evidence")


def test_a_clock_that_is_set_back_prolongs_no_session(site: Site) -> None:
    desk = site.desk()
    session = desk.begin(node_name="", key_digest=b"")
    site.now_s -= 1
    with pytest.raises(NoSessionError):
        desk.prove(session.session_id, PSA, b"evidence")


class Web:
    """Requests to the application, without a server."""

    def __init__(self, application: Application) -> None:
        self.application = application

    def __call__(
        self, path: str, body: bytes | dict[str, str] = b"", method: str = "POST", kind: str = "application/json"
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [(b"content-type", kind.encode()), (b"content-length", str(len(content)).encode())],
            "client": ("192.0.2.1", 1),
        }
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self.application(scope, receive, send))
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], json.loads(sent[1]["body"]), headers


@pytest.fixture
def web(site: Site) -> Iterator[Web]:
    application = Application(site.desk(), rate_per_s=1_000, is_well=lambda: not site.verifier.away)
    yield Web(application)
    application.close()


def test_a_device_joins_over_http(site: Site, web: Web) -> None:
    status, begun, headers = web(SESSIONS, {"nodeName": "gate-1", "publicKeySha256": DIGEST.hex()})
    place = headers["location"]
    assert (status, place) == (201, f"{SESSIONS}/{begun['session']}")
    asked: list[bytes] = []
    site.verifier.change = lambda claims: asked.append(urlsafe_b64decode(claims["eat_nonce"] + "="))
    status, said, headers = web(f"{place}/evidence", b"evidence", kind=PSA)
    seed = urlsafe_b64decode(begun["seed"] + "=")
    assert asked == [challenge_of(seed, node_name="gate-1", key_digest=DIGEST)]
    assert (status, headers["cache-control"]) == (200, "no-store")
    assert said == {
        "node": "gate-1",
        "device": DEVICE,
        "apiServer": "https://api.test:6443",
        "certificateAuthority": "PEM",
    }
    status, said, _ = web(f"{place}/certificate", make_request("gate-1", KEY))
    assert (status, said) == (200, {"certificate": "a certificate"})


def test_a_token_over_http(site: Site, web: Web) -> None:
    place = web(SESSIONS, {})[2]["location"]
    _, said, _ = web(f"{place}/evidence", b"evidence", kind=PSA)
    token = site.cluster.tokens[0][1]
    assert token is not None
    assert (said["token"], said["tokenExpiresAt"]) == (token.text(), "2027-01-15T08:10:00Z")


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (SESSIONS, b"{", 400, "no JSON"),
        (SESSIONS, b"[" * 4000, 400, "no JSON"),
        (SESSIONS, b"[]", 400, "no JSON object"),
        (SESSIONS, b'{"nodeName": 1}', 400, "both text"),
        (SESSIONS, b'{"other": ""}', 400, "both text"),
        (SESSIONS, b'{"publicKeySha256": "zz"}', 400, "not hexadecimal"),
        (SESSIONS, b'{"publicKeySha256": "00"}', 400, "32 bytes"),
        (SESSIONS, b'{"nodeName": "A/.."}', 403, "small letters"),
        (SESSIONS, b" " * 5000, 413, "at most"),
        (f"{SESSIONS}/{'0' * 32}/evidence", b"evidence", 404, "no such session"),
        (f"{SESSIONS}/{'0' * 32}/certificate", b"", 404, "no session"),
        (f"{SESSIONS}/{'0' * 32}/evidence", b" " * 300_000, 413, "at most"),
        (f"{SESSIONS}/../x/evidence", b"", 404, "nothing here"),
    ],
)
def test_what_is_refused(web: Web, path: str, body: bytes, status: int, words: str) -> None:
    found, said, _ = web(path, body, kind=PSA)
    assert (found, words in said["detail"]) == (status, True), said


def test_evidence_of_another_kind_leaves_the_session_open(site: Site, web: Web) -> None:
    place = web(SESSIONS, {})[2]["location"]
    assert web(f"{place}/evidence", b"evidence", kind="text/plain")[0] == 415
    assert web(f"{place}/evidence", b"evidence", kind=PSA)[0] == 200
    assert web(SESSIONS, method="GET")[0] == 405
    assert web("/healthz", method="GET")[0] == 200


def test_who_is_away_is_asked_again_later(site: Site, web: Web) -> None:
    site.verifier.away = True
    place = web(SESSIONS, {})[2]["location"]
    status, said, headers = web(f"{place}/evidence", b"evidence", kind=PSA)
    assert (status, headers["retry-after"]) == (503, "7")
    assert "does not answer" in said["detail"]
    assert web("/healthz", method="GET")[0] == 503


def test_rates(site: Site) -> None:
    application = Application(site.desk(), rate_per_s=0.5, is_well=lambda: True)
    web = Web(application)
    assert [web(SESSIONS, {})[0] for _ in range(3)] == [201, 429, 429]
    application.close()


def test_many_sessions_push_out_the_oldest(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeroot.edge.enrolment.sessions._MAX_SESSIONS", 2)
    sessions = Sessions(site.random)
    first, second, third = (sessions.begin(node_name="", key_digest=b"", now_s=NOW_S) for _ in range(3))
    assert sessions.take(first.session_id, NOW_S) is None
    assert sessions.take(third.session_id, NOW_S) == third
    assert sessions.take(second.session_id, NOW_S) == replace(second)
