"""The running verifier and a device of the emulated secure world: wrappers, results as CWT, and restarts."""

from __future__ import annotations

import json
import os
import ssl
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import cbor2
import jwt
import pytest

from edgeroot.evidence import read_cose, verify_sign1
from edgeroot.tee.psa import PsaClient
from edgeroot.verifier import media_types
from tests.integration.test_verifier_service import NEW, PSA, Fleet, submit
from tests.support.world import World, running_world

WORDS = {
    "first": "it is the first boot of the device that is known",
    "same": "the device was not restarted since the last attestation",
    "new": "the device was restarted since the last attestation",
}


@pytest.fixture
def world() -> Iterator[World]:
    with running_world() as running:
        yield running


def token(world: World, nonce: bytes) -> bytes:
    with world.transport() as transport, PsaClient(transport) as psa:
        return psa.psa_initial_attest_get_token(nonce)


@pytest.fixture
def fleet(tmp_path: Path, world: World) -> Fleet:
    one = Fleet(tmp_path, world)
    challenge = os.urandom(32)
    (tmp_path / "device.pem").write_text(one.run("secure-world", "attestation-key"))
    (tmp_path / "setup.cbor").write_bytes(token(world, challenge))
    endorse = ("verifier", "endorse", "setup.cbor", "--challenge", challenge.hex(), "--key", "device.pem")
    one.run(*endorse, "-o", "device.corim")
    return one


def send(fleet: Fleet, url: str, path: str, body: bytes, **headers: str) -> tuple[int, str, bytes]:
    """Status, media type and body of what comes back."""
    context = ssl.create_default_context(cafile=fleet.folder / "certificate.pem")
    connection = HTTPSConnection("127.0.0.1", urlsplit(url).port or 0, timeout=30, context=context)
    connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    return answer.status, answer.headers["content-type"], said


def begin(fleet: Fleet, url: str) -> tuple[str, bytes]:
    _status, path, session = fleet.ask(url, "POST", NEW)
    return urljoin(NEW, path), urlsafe_b64decode(session["nonce"] + "=")


def test_wrapped_evidence_and_a_result_as_cwt(fleet: Fleet, world: World) -> None:
    with fleet.serving() as (url, _server):
        submit(fleet, url)
        path, nonce = begin(fleet, url)
        evidence = token(world, nonce)
        record = json.dumps([PSA, urlsafe_b64encode(evidence).rstrip(b"=").decode(), 4]).encode()
        cwt = media_types.EAR_CWT
        malformed = send(fleet, url, path, record[:-1], content_type="application/cmw+json", accept=cwt)
        assert (malformed[0], malformed[1]) == (400, "application/problem+json")
        done = send(fleet, url, path, record, content_type="application/cmw+json", accept=cwt)
        assert (done[0], done[1]) == (200, cwt)
        message = read_cose(done[2])
        verify_sign1(message, fleet.key.public_key())
        claims = cbor2.loads(message.payload)
        assert (claims[10], claims[266]["PSA_IOT"][1000]) == (nonce, 2)

        path, nonce = begin(fleet, url)
        tagged = cbor2.dumps([10003, token(world, nonce)])
        done = send(fleet, url, path, tagged, content_type="application/cmw+cbor", accept=media_types.EAR_JWT)
        read = jwt.decode(done[2].decode(), fleet.key.public_key(), algorithms=["ES256"])
        assert (done[1], read["submods"]["PSA_IOT"]["ear.status"]) == (media_types.EAR_JWT, "affirming")


def test_the_verifier_tells_that_a_device_was_restarted(fleet: Fleet, world: World) -> None:
    def judged(url: str) -> str:
        path, nonce = begin(fleet, url)
        done: dict[str, Any] = json.loads(send(fleet, url, path, token(world, nonce), content_type=PSA)[2])
        claims = jwt.decode(done["result"], fleet.key.public_key(), algorithms=["ES256"])
        found = claims["submods"]["PSA_IOT"]
        assert found["ear.status"] == "affirming"
        words: list[str] = [
            one["words"] for one in found["ear.veraison.policy-claims"]["checks"] if one["check"] == "boot"
        ]
        return words[0]

    with fleet.serving() as (url, _server):
        submit(fleet, url)
        assert [judged(url), judged(url)] == [WORDS["first"], WORDS["same"]]
        world.stop()
        world.start()
        assert [judged(url), judged(url)] == [WORDS["new"], WORDS["same"]]
    with fleet.serving() as (url, _server):
        assert judged(url) == WORDS["same"]
