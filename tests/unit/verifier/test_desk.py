from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.evidence import CoseAlgorithm, sign1
from edgeroot.verifier import desk as work
from edgeroot.verifier.corim import write_corim
from edgeroot.verifier.desk import Desk, revoke
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.ports import Revoked
from edgeroot.verifier.store import SqliteStorage, open_store
from edgeroot.verifier.trust import Status
from tests.unit.verifier.test_appraisal import CLAIMS, CRYPTO, FOREIGN, KNOWN, signing, token

PSA = "application/psa-attestation-token"
CORIM = 'application/corim-unsigned+cbor; profile="http://arm.com/psa/iot/1"'


class Surroundings:
    """A clock, and numbers that come one after another."""

    def __init__(self) -> None:
        self.now_s = 1_000
        self._count = 0

    def time(self) -> int:
        return self.now_s

    def random(self, size_bytes: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(size_bytes)


@pytest.fixture
def surroundings() -> Surroundings:
    return Surroundings()


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteStorage]:
    with open_store(tmp_path / "fleet.db", create=True) as one:
        yield one


@pytest.fixture
def desk(storage: SqliteStorage, surroundings: Surroundings) -> Desk:
    one = Desk(
        storage=storage,
        policy=Policy(),
        policy_id="strictest",
        sign=json.dumps,
        now_s=surroundings.time,
        random=surroundings.random,
        corim_signers=[FOREIGN.public_key()],
    )
    one.provision(CORIM, write_corim("fleet", KNOWN), who="factory")
    return one


def submodule(result: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result)["submods"]["PSA_IOT"]
    return found


def events(storage: SqliteStorage) -> list[dict[str, Any]]:
    storage.check_audit()
    rows = storage._execute("SELECT line FROM audit ORDER BY number").fetchall()
    return [json.loads(line) for (line,) in rows]


def test_a_good_device(desk: Desk, storage: SqliteStorage) -> None:
    session = desk.new_session()
    done, appraisal = desk.submit(session.session_id, PSA, token(replace(CLAIMS, nonce=session.nonce)))
    assert appraisal.status is Status.AFFIRMING
    assert submodule(done.result)["ear.status"] == "affirming"
    assert desk.session(session.session_id) == done
    assert storage.results(CLAIMS.instance_id) == [(1_000, 2)]
    endorsed, appraised = events(storage)
    assert (endorsed["event"], endorsed["who"]) == ("endorsed", "factory")
    assert appraised == {
        "at_s": 1_000,
        "event": "appraised",
        "device": CLAIMS.instance_id.hex(),
        "status": "affirming",
        "failed": [],
    }


def test_a_token_is_good_for_one_session_and_a_session_for_one_token(desk: Desk) -> None:
    session = desk.new_session()
    data = token(replace(CLAIMS, nonce=session.nonce))
    desk.submit(session.session_id, PSA, data)
    with pytest.raises(work.ConflictError):
        desk.submit(session.session_id, PSA, data)
    _done, appraisal = desk.submit(desk.new_session().session_id, PSA, data)
    assert [one.name for one in appraisal.checks if not one.passed] == ["nonce"]


def test_a_session_is_spent_by_bad_evidence_too(desk: Desk, storage: SqliteStorage) -> None:
    session = desk.new_session()
    done, appraisal = desk.submit(session.session_id, PSA, token(replace(CLAIMS, nonce=session.nonce), FOREIGN))
    assert appraisal.status is Status.CONTRAINDICATED
    assert submodule(done.result)["ear.trustworthiness-vector"]["instance-identity"] == 99
    assert storage.results(CLAIMS.instance_id) == [], "a forged token is in its victim's history"
    assert events(storage)[-1]["failed"] == ["signature: the signature is not this key's"]
    with pytest.raises(work.ConflictError):
        desk.submit(session.session_id, PSA, token(replace(CLAIMS, nonce=session.nonce)))


def test_sessions_expire(desk: Desk, surroundings: Surroundings) -> None:
    session = desk.new_session()
    surroundings.now_s += 149
    assert desk.session(session.session_id) == session
    surroundings.now_s += 1
    with pytest.raises(work.NoSessionError):
        desk.session(session.session_id)
    with pytest.raises(work.NoSessionError):
        desk.submit(session.session_id, PSA, token(replace(CLAIMS, nonce=session.nonce)))


def test_a_nonce_of_the_relying_partys_serves_once(desk: Desk, surroundings: Surroundings) -> None:
    session = desk.new_session(nonce=b"\7" * 48)
    assert session.nonce == b"\7" * 48
    desk.end_session(session.session_id)
    surroundings.now_s += 3_600
    with pytest.raises(work.ConflictError):
        desk.new_session(nonce=b"\7" * 48)


@pytest.mark.parametrize("size", [0, 7, 65])
def test_sizes_of_nonces(desk: Desk, size: int) -> None:
    with pytest.raises(work.BadRequestError):
        desk.new_session(nonce=bytes(size))
    with pytest.raises(work.BadRequestError):
        desk.new_session(nonce_size_bytes=size)


def test_too_many_sessions(desk: Desk, surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_SESSIONS", 2)
    desk.new_session()
    desk.new_session()
    with pytest.raises(work.FullError):
        desk.new_session()
    surroundings.now_s += work.SESSION_TTL_S
    desk.new_session()


def test_a_clock_that_is_set_back_prolongs_no_session(desk: Desk, surroundings: Surroundings) -> None:
    session = desk.new_session()
    surroundings.now_s -= 1
    with pytest.raises(work.NoSessionError):
        desk.session(session.session_id)
    surroundings.now_s += work.SESSION_TTL_S
    assert desk.session(session.session_id) == session


def test_media_types(desk: Desk) -> None:
    with pytest.raises(work.MediaTypeError) as caught:
        desk.submit("a" * 32, "application/json", b"{}")
    assert PSA in caught.value.accepted
    with pytest.raises(work.MediaTypeError):
        desk.provision("application/json", b"{}", who="")
    session = desk.new_session()
    same = 'Application/EAT+CWT;eat_profile="tag:psacertified.org,2023:psa#tfm"'
    assert desk.submit(session.session_id, same, token(replace(CLAIMS, nonce=session.nonce)))[1].claims


def test_signed_corims(desk: Desk) -> None:
    payload = write_corim("fleet", KNOWN)
    good = sign1(payload, algorithm=CoseAlgorithm.ES256, sign_hash=signing(FOREIGN))
    desk.provision("application/rim+cose", good, who="")
    stranger = ec.generate_private_key(ec.SECP256R1())
    for data in (
        sign1(payload, algorithm=CoseAlgorithm.ES256, sign_hash=signing(stranger)),
        good.replace(b"fleet", b"fleed"),
        payload,
        b"",
        bytes(2 << 20),
    ):
        with pytest.raises(VerifierError):
            desk.provision("application/rim+cose", data, who="")


def test_a_revoked_device(desk: Desk, storage: SqliteStorage) -> None:
    revoke(storage, Revoked.DEVICE, CLAIMS.instance_id.hex().upper(), "stolen", now_s=5)
    session = desk.new_session()
    _done, appraisal = desk.submit(session.session_id, PSA, token(replace(CLAIMS, nonce=session.nonce)))
    assert (appraisal.status, appraisal.vector.instance_identity) == (Status.CONTRAINDICATED, 96)
    assert "the device was revoked: stolen" in [one.words for one in appraisal.checks if not one.passed]
    assert storage.results(CLAIMS.instance_id) == [(1_000, 96)]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Revoked.VERSION, "BL=1.0"),
        (Revoked.MEASUREMENT, CRYPTO.measurement.hex()),
        (Revoked.SIGNER, (CRYPTO.signer_id or b"").hex()),
    ],
)
def test_revoked_components(desk: Desk, storage: SqliteStorage, kind: Revoked, name: str) -> None:
    revoke(storage, kind, name, "a hole", now_s=5)
    session = desk.new_session()
    _done, appraisal = desk.submit(session.session_id, PSA, token(replace(CLAIMS, nonce=session.nonce)))
    assert appraisal.status is Status.CONTRAINDICATED
    assert {one.words[-19:] for one in appraisal.checks if not one.passed} == {"was revoked: a hole"}


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        (Revoked.DEVICE, "xx", "why"),
        (Revoked.DEVICE, "00" * 32, "why"),
        (Revoked.MEASUREMENT, "00" * 33, "why"),
        (Revoked.VERSION, "1.0", "why"),
        (Revoked.VERSION, "BL=1.0", ""),
        (Revoked.VERSION, "BL=1.0", "x" * 201),
    ],
)
def test_what_cannot_be_revoked(storage: SqliteStorage, kind: Revoked, name: str, reason: str) -> None:
    with pytest.raises(VerifierError):
        revoke(storage, kind, name, reason, now_s=5)
    assert storage.check_audit()[0] == 0


def test_deeply_nested_evidence_is_refused_as_a_format(desk: Desk) -> None:
    session = desk.new_session()
    _done, appraisal = desk.submit(session.session_id, PSA, b"\x81" * 60_000 + b"\x00")
    assert [one.name for one in appraisal.checks if not one.passed] == ["format"]
    nested = cbor2.dumps(cbor2.CBORTag(18, [b"\xa1\x01\x26", {}, b"\x81" * 60_000, bytes(64)]))
    assert desk.submit(desk.new_session().session_id, PSA, nested)[1].status is Status.CONTRAINDICATED


def test_a_result_that_cannot_be_signed_leaves_no_trace(desk: Desk, storage: SqliteStorage) -> None:
    def fails(_claims: dict[str, Any]) -> str:
        raise RuntimeError("no key")

    session = desk.new_session()
    with pytest.raises(RuntimeError):
        replace(desk, sign=fails).submit(session.session_id, PSA, token(replace(CLAIMS, nonce=session.nonce)))
    assert desk.session(session.session_id) == session
    assert storage.results(CLAIMS.instance_id) == []
