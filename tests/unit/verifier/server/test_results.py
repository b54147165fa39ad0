"""A result by itself, as a JWT or a CWT, for who accepts nothing else."""

from __future__ import annotations

from dataclasses import replace

import cbor2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.types import Options

from edgeroot.evidence import read_cose, verify_sign1
from edgeroot.verifier import media_types
from edgeroot.verifier.desk import Desk
from edgeroot.verifier.ear import sign_ear, sign_ear_cwt
from tests.unit.verifier.server.test_app import Web, begin, desk, endorse, fleet, storage, web
from tests.unit.verifier.test_appraisal import CLAIMS, token
from tests.unit.verifier.test_desk import PSA

__all__ = ["desk", "fleet", "storage", "web"]


def test_a_result_by_itself(desk: Desk, web: Web) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    desk = replace(desk, sign=lambda claims: sign_ear(claims, key), sign_cwt=lambda claims: sign_ear_cwt(claims, key))
    web.application._desk = desk
    endorse(web)
    path, nonce = begin(web)
    waiting = web("GET", path, accept=media_types.EAR_CWT)
    assert (waiting.status, waiting.json()["detail"]) == (406, "the session has no such result: it waits for evidence")
    assert web("GET", path, accept=media_types.EAR_JWT).status == 406
    evidence = token(replace(CLAIMS, nonce=nonce))
    done = web("POST", path, evidence, content_type=PSA, accept=media_types.EAR_CWT)
    assert (done.status, done.headers["content-type"]) == (200, media_types.EAR_CWT)
    message = read_cose(done.body)
    verify_sign1(message, key.public_key())
    read = cbor2.loads(message.payload)
    session = web("GET", path, accept=f"{media_types.EAR_CWT}, {media_types.SESSION}").json()
    unchecked: Options = {"verify_iat": False, "verify_exp": False}
    claims = jwt.decode(session["result"], key.public_key(), algorithms=["ES256"], options=unchecked)
    assert (read[6], read[4], read[10]) == (claims["iat"], claims["exp"], nonce)
    assert claims["exp"] - claims["iat"] == 1_800
    assert read[266]["PSA_IOT"][1000] == 2
    checks = claims["submods"]["PSA_IOT"]["ear.veraison.policy-claims"]["checks"]
    assert read[266]["PSA_IOT"][-70001]["checks"] == checks
    alone = web("GET", path, accept="application/eat+jwt")
    assert (alone.headers["content-type"], alone.body.decode()) == (media_types.EAR_JWT, session["result"])


def test_a_result_that_cannot_be_given_takes_no_evidence(web: Web) -> None:
    path, nonce = begin(web)
    evidence = token(replace(CLAIMS, nonce=nonce))
    other_profile = 'application/eat+cwt; eat_profile="tag:example.org,2024:other"'
    for accept in (media_types.EAR_CWT, other_profile, f"{media_types.EAR_JWT}; q=0", "application/eat-jwt"):
        assert web("POST", path, evidence, content_type=PSA, accept=accept).status == 406
    assert web("GET", path).json()["status"] == "waiting"


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        ("*/*", True),
        ("application/*", True),
        ("text/html, application/*; q=0.1", True),
        (media_types.EAR_CWT, True),
        ('text/html, application/eat+cwt;eat_profile="tag:github.com,2023:veraison/ear";q=0.5', True),
        ("APPLICATION/EAT+CWT", True),
        ('application/eat+cwt; eat_profile="tag:github.com"', False),
        (f"{media_types.EAR_CWT}; q=0.000", False),
        ("application/eat+jwt", False),
        ("", False),
        (",,;", False),
    ],
)
def test_what_an_accept_field_takes(wanted: str, takes: bool) -> None:
    assert media_types.accepts(wanted, media_types.EAR_CWT) is takes
