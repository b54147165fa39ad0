from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edgeroot.psa import Secret
from edgeroot.verifier import media_types
from edgeroot.verifier.corim import write_corim
from edgeroot.verifier.desk import Desk
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.server import http
from edgeroot.verifier.server.access import Access
from edgeroot.verifier.server.app import CORIM_MAX_BYTES, EVIDENCE_MAX_BYTES, Application
from edgeroot.verifier.server.fleet import Fleet
from edgeroot.verifier.server.openapi import describe
from edgeroot.verifier.store import SqliteStorage, open_store
from tests.unit.verifier.test_appraisal import CLAIMS, KNOWN, token
from tests.unit.verifier.test_desk import CORIM, PSA, Surroundings

TOKEN = "t" * 32
BEARER = f"Bearer {TOKEN}"
NEW = "/challenge-response/v1/newSession"
SUBMIT = "/endorsement-provisioning/v1/submit"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Web:
    """Requests to the application, without a server."""

    def __init__(self, application: Application) -> None:
        self.application = application

    def __call__(
        self, method: str, path: str, body: bytes = b"", *, client: str = "192.0.2.1", chunks: int = 1, **headers: str
    ) -> Answer:
        path, _, query = path.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
            "client": (client, 1),
        }
        size = len(body) // chunks + 1
        parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            if not parts:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self.application(scope, receive, send))
        start, end = sent
        return Answer(start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, end["body"])


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteStorage]:
    with open_store(tmp_path / "fleet.db", create=True) as one:
        yield one


@pytest.fixture
def desk(storage: SqliteStorage) -> Desk:
    around = Surroundings()
    return Desk(
        storage=storage,
        policy=Policy(),
        policy_id="strictest",
        sign=json.dumps,
        now_s=around.time,
        random=around.random,
    )


@pytest.fixture
def fleet(storage: SqliteStorage) -> Fleet:
    return Fleet(records=storage, feed=storage, access=Access(words="", closed="nobody"), now_s=lambda: 1_000)


@pytest.fixture
def web(desk: Desk, fleet: Fleet) -> Iterator[Web]:
    application = Application(
        desk, verification_key={"kty": "EC"}, provisioning_token=Secret(TOKEN.encode()), fleet=fleet, rate_per_s=1_000
    )
    yield Web(application)
    application.close()


def begin(web: Web, query: str = "nonceSize=32") -> tuple[str, bytes]:
    answer = web("POST", f"{NEW}?{query}")
    assert answer.status == 201
    nonce = answer.json()["nonce"]
    return f"/challenge-response/v1/{answer.headers['location']}", urlsafe_b64decode(nonce + "=" * (-len(nonce) % 4))


def endorse(web: Web) -> Answer:
    return web("POST", SUBMIT, write_corim("fleet", KNOWN), content_type=CORIM, authorization=BEARER)


def test_a_session_from_its_challenge_to_its_end(web: Web) -> None:
    assert endorse(web).json()["status"] == "success"
    new = web("POST", f"{NEW}?nonceSize=32", accept=media_types.SESSION)
    assert new.headers["content-type"] == "application/vnd.veraison.challenge-response-session+json"
    assert set(new.json()) == {"status", "nonce", "expiry", "accept"}
    assert (new.json()["status"], new.json()["expiry"]) == ("waiting", "1970-01-01T00:19:10Z")
    path, nonce = begin(web)
    done = web("POST", path, token(replace(CLAIMS, nonce=nonce)), content_type=PSA)
    assert done.status == 200
    assert done.json()["status"] == "complete"
    assert json.loads(done.json()["result"])["submods"]["PSA_IOT"]["ear.status"] == "affirming"
    assert web("GET", path).json() == done.json()
    assert web("DELETE", path).status == 204
    assert web("GET", path).status == web("DELETE", path).status == 404


def test_nonces(web: Web) -> None:
    assert begin(web, "nonce=____________________________________________")[1] == b"\xff" * 33
    assert begin(web, "nonceSize=64")[1] == bytes(63) + b"\3"
    assert len(begin(web, "")[1]) == 32
    for query in ("nonce=AAAAAAAAAAAA&nonceSize=32", "nonce=%21%21", "nonceSize=7", "nonceSize=-9", "nonceSize=x"):
        assert web("POST", f"{NEW}?{query}").status == 400, query
    assert web("POST", f"{NEW}?" + "a=1&" * 20).status == 400
    assert web("POST", f"{NEW}?nonce=____________________________________________").status == 409


def test_what_is_refused_of_evidence(web: Web) -> None:
    path, _nonce = begin(web)
    unknown = web("POST", path, b"{}", content_type="application/json")
    assert unknown.status == 415
    assert PSA in unknown.headers["accept"]
    assert unknown.headers["content-type"] == "application/problem+json"
    assert unknown.json()["title"] == "Unsupported Media Type"
    assert web("POST", path, content_type=PSA).status == 400
    assert web("POST", path, b"x", content_type=PSA, accept="text/html").status == 406
    assert web("POST", "/challenge-response/v1/session/" + "0" * 32, b"x", content_type=PSA).status == 404
    assert web("GET", path).json()["status"] == "waiting"
    assert web("POST", path, b"x", content_type=PSA).status == 200
    assert web("POST", path, b"x", content_type=PSA).status == 409


@pytest.mark.parametrize("chunks", [1, 7])
def test_large_bodies(web: Web, chunks: int) -> None:
    path, _nonce = begin(web)
    assert web("POST", path, bytes(EVIDENCE_MAX_BYTES + 1), chunks=chunks, content_type=PSA).status == 413
    assert web("POST", path, b"x", content_type=PSA, content_length="9" * 5_000).status == 413
    assert web("POST", path, b"x", content_type=PSA, content_length="-1").status == 413
    large = web("POST", SUBMIT, bytes(CORIM_MAX_BYTES + 1), chunks=chunks, content_type=CORIM, authorization=BEARER)
    assert large.status == 413
    assert web("POST", path, bytes(EVIDENCE_MAX_BYTES), chunks=chunks, content_type=PSA).status == 200


def test_a_body_that_does_not_come(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_TIMEOUT_S", 0.01)
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return await asyncio.Future()

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": NEW,
        "query_string": b"",
        "headers": [],
        "client": None,
    }
    asyncio.run(web.application(scope, receive, send))
    assert sent[0]["status"] == 408


@pytest.mark.parametrize("authorization", ["", "Bearer", f"Basic {TOKEN}", "Bearer " + "u" * 32, f"Bearer {TOKEN}t"])
def test_provisioning_takes_the_token(web: Web, storage: SqliteStorage, authorization: str) -> None:
    answer = web("POST", SUBMIT, write_corim("fleet", KNOWN), content_type=CORIM, authorization=authorization)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert storage.key_of(CLAIMS.instance_id) is None


def test_provisioning_is_off_without_a_token(desk: Desk, fleet: Fleet) -> None:
    application = Application(desk, verification_key={}, provisioning_token=None, fleet=fleet, rate_per_s=1_000)
    assert Web(application)("POST", SUBMIT, b"x", content_type=CORIM, authorization=BEARER).status == 403
    application.close()


def test_a_corim_that_is_none(web: Web) -> None:
    answer = web("POST", SUBMIT, b"none", content_type=CORIM, authorization=BEARER)
    assert (answer.status, answer.headers["content-type"]) == (200, media_types.PROVISIONING_SESSION)
    assert answer.json()["status"] == "failed"
    assert "CBOR" in answer.json()["failure-reason"]
    assert web("POST", SUBMIT, b"x", content_type="text/plain", authorization=BEARER).status == 415


def test_paths_and_methods(web: Web) -> None:
    assert web("GET", "/none").status == web("GET", "/challenge-response/v1/session/../x").status == 404
    assert web("GET", "/challenge-response/v1/session/{session_id}").status == 404
    wrong = web("PUT", NEW)
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert web("PUT", begin(web)[0]).headers["allow"] == "DELETE, GET, POST"


def test_discovery(web: Web) -> None:
    for accept in ("application/vnd.veraison.discovery+json", "application/json", "*/*"):
        found = web("GET", "/.well-known/veraison/verification", accept=accept).json()
        assert found["ear-verification-key"] == {"kty": "EC"}
        assert PSA in found["media-types"]
        assert found["api-endpoints"] == {"newChallengeResponseSession": NEW}
        assert found["service-state"] == "READY"
    found = web("GET", "/.well-known/veraison/provisioning").json()
    assert found["api-endpoints"] == {"provisioningSubmit": SUBMIT}
    assert CORIM in found["media-types"]
    assert web("GET", "/.well-known/veraison/verification", accept="text/html").status == 406


def test_every_route_is_described_and_nothing_else(web: Web) -> None:
    described = {(method.upper(), path) for path, one in describe()["paths"].items() for method in one}
    assert described == set(web.application.routes)
    assert web("GET", "/openapi.json").json() == json.loads(json.dumps(describe()))


def test_metrics(web: Web) -> None:
    path, _nonce = begin(web)
    web("POST", path, b"x", content_type=PSA)
    text = web("GET", "/metrics").body.decode()
    assert 'edgeroot_verifier_results_total{status="contraindicated"} 1.0' in text
    assert 'edgeroot_verifier_requests_total{operation="new-session",status="201"} 1.0' in text


def test_rates_are_each_addresss(desk: Desk, fleet: Fleet) -> None:
    application = Application(desk, verification_key={}, provisioning_token=None, fleet=fleet, rate_per_s=0.5)
    web = Web(application)
    assert web("POST", NEW).status == 201
    refused = web("POST", NEW)
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert web("POST", NEW, client="192.0.2.2").status == 201
    application.close()


def test_a_store_that_fails_is_said_and_shows_nothing(web: Web, storage: SqliteStorage) -> None:
    storage.close()
    answer = web("POST", NEW)
    assert (answer.status, answer.json()["detail"]) == (503, "the verifier's store fails: its log says why")
