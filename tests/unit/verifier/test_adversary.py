"""Tokens that a device's own key has signed, and that are no tokens all the same; and what surrounds good ones.

Here the signature always verifies over what was sent: whoever has the key may still lie in the encoding.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import cbor2
import pytest

from edgeroot.evidence import CoseAlgorithm, Profile, encode_claims, sign1
from edgeroot.verifier import desk as work
from edgeroot.verifier.desk import Desk
from edgeroot.verifier.trust import Status
from tests.unit.verifier.test_appraisal import CLAIMS, IAK, NONCE, failed, judged, signing, token
from tests.unit.verifier.test_desk import PSA, desk, storage, surroundings

__all__ = ["desk", "storage", "surroundings"]
PAYLOAD = encode_claims(CLAIMS, Profile.RFC9783)
ENTRIES: dict[int, Any] = dict(cbor2.loads(PAYLOAD))
SIGN = signing(IAK)
NEST = b"\x81" * 100_000 + b"\x00"


def signed(payload: bytes) -> bytes:
    return sign1(payload, algorithm=CoseAlgorithm.ES256, sign_hash=SIGN)


def with_header(protected: bytes, unprotected: object = None, payload: bytes = PAYLOAD) -> bytes:
    """Signed over this protected header, whatever is in it."""
    signature = SIGN(sha256(cbor2.dumps(["Signature1", protected, b"", payload])).digest())
    return cbor2.dumps(cbor2.CBORTag(18, [protected, {} if unprotected is None else unprotected, payload, signature]))


def with_claim(label: int, value: bytes) -> bytes:
    """The payload with one entry more, in this encoding, and the count of entries raised."""
    assert PAYLOAD[0] & 0xF0 == 0xA0
    return bytes((PAYLOAD[0] + 1,)) + PAYLOAD[1:] + cbor2.dumps(label) + value


ES256 = cbor2.dumps({1: -7})


def test_what_the_cases_are_made_of_is_good() -> None:
    assert judged(signed(PAYLOAD)).status is Status.AFFIRMING
    assert judged(with_header(ES256)).status is Status.AFFIRMING
    assert judged(signed(with_claim(4711, b"\x00"))).status is Status.AFFIRMING
    assert judged(with_header(ES256, {33: b"certificates"})).status is Status.AFFIRMING


CASES = {
    "deeply nested payload": signed(NEST),
    "deeply nested claim": signed(with_claim(4711, NEST)),
    "deeply nested unprotected header": with_header(ES256)[:5] + b"\xa1\x04" + NEST,
    "duplicate claim": signed(with_claim(10, b"\x58\x20" + bytes(32))),
    "duplicate claim in another form": signed(with_claim(0, b"\x00").replace(b"\x00\x00", b"\x1a\0\0\0\x0a\x00")),
    "claim of indefinite length": signed(with_claim(4711, b"\x5f\x41x\xff")),
    "map of indefinite length": signed(b"\xbf" + PAYLOAD[1:] + b"\xff"),
    "components of indefinite length": signed(PAYLOAD.replace(b"\x19\x09\x5f\x82", b"\x19\x09\x5f\x9f") + b"\xff"),
    "trailing bytes in the payload": signed(PAYLOAD + b"\0"),
    "trailing bytes": signed(PAYLOAD) + b"\0",
    "two tokens": signed(PAYLOAD) * 2,
    "more entries than there are": signed(bytes((PAYLOAD[0] + 1,)) + PAYLOAD[1:]),
    "a length that no memory holds": signed(with_claim(4711, b"\x5b\x7f" + b"\xff" * 7)),
    "an array that no memory holds": signed(with_claim(4711, b"\x9b\x7f" + b"\xff" * 7)),
    "duplicate claim in a component": signed(
        cbor2.dumps(ENTRIES | {2399: []})[:-1]
        + b"\x81\xa3\x02\x58\x20"
        + bytes(32)
        + b"\x02\x58\x20"
        + b"\1" * 32
        + b"\x05\x58\x20"
        + bytes(32)
    ),
    "not UTF-8": signed(with_claim(4711, b"\x61\xff")),
    "a reserved encoding": signed(with_claim(4711, b"\x1c")),
    "a map as a claim's label": signed(bytes((PAYLOAD[0] + 1,)) + PAYLOAD[1:] + b"\xa0\x00"),
    "wrapped as a CWT": b"\xd8\x3d" + signed(PAYLOAD),
    "self-described": b"\xd9\xd9\xf7" + signed(PAYLOAD),
    "a detached payload": cbor2.dumps(cbor2.CBORTag(18, [ES256, {}, None, SIGN(bytes(32))])),
    "a critical header": with_header(cbor2.dumps({1: -7, 2: [33], 33: b"certificates"})),
    "a critical header that is absent": with_header(cbor2.dumps({1: -7, 2: [4]})),
    "a critical header that is not protected": with_header(cbor2.dumps({1: -7, 2: [4]}), {4: b"key"}),
    "a list of critical headers that is not protected": with_header(ES256, {2: [1]}),
    "an algorithm that is not protected": with_header(b"", {1: -7}),
    "an algorithm twice": with_header(ES256, {1: -7}),
    "an algorithm of another curve": with_header(cbor2.dumps({1: -35})),
    "an algorithm by name": with_header(cbor2.dumps({1: "ES256"})),
    "no algorithm": with_header(cbor2.dumps({})),
    "a duplicate header": with_header(bytes.fromhex("a201260126")),
    "a header of indefinite length": with_header(bytes.fromhex("bf0126ff")),
    "trailing bytes in a header": with_header(ES256 + b"\0"),
}


@pytest.mark.parametrize("data", CASES.values(), ids=CASES.keys())
def test_a_signature_makes_no_token(data: bytes) -> None:
    appraisal = judged(data)
    assert appraisal.status is Status.CONTRAINDICATED
    assert failed(appraisal) in (["format"], ["signature"])
    assert appraisal.claims is None


@pytest.mark.parametrize("value", [b"", bytes(64), bytes(65), b"\xff" * 64, SIGN(bytes(32)) + b"\0"])
def test_signatures_that_are_none(value: bytes) -> None:
    parts = list(cbor2.loads(signed(PAYLOAD)).value)
    assert failed(judged(cbor2.dumps(cbor2.CBORTag(18, [*parts[:3], value])))) == ["signature"]


def test_a_signature_of_another_context_is_none() -> None:
    """Over the payload alone, and over it as a countersignature or an authentication code has it."""
    for structure in (PAYLOAD, *(cbor2.dumps([one, ES256, b"", PAYLOAD]) for one in ("Signature", "MAC0", "Encrypt0"))):
        data = cbor2.dumps(cbor2.CBORTag(18, [ES256, {}, PAYLOAD, SIGN(sha256(structure).digest())]))
        assert failed(judged(data)) == ["signature"]


def test_a_nonce_serves_one_session(desk: Desk) -> None:
    """Neither the token nor its nonce goes anywhere else, in whatever order it is tried."""
    first, second = desk.new_session(), desk.new_session()
    data = token(replace(CLAIMS, nonce=first.nonce))
    assert failed(desk.submit(second.session_id, PSA, data)[1]) == ["nonce"]
    assert desk.submit(first.session_id, PSA, data)[1].status is Status.AFFIRMING
    for session_id in (first.session_id, second.session_id):
        with pytest.raises(work.ConflictError):
            desk.submit(session_id, PSA, data)
    with pytest.raises(work.ConflictError):
        desk.new_session(nonce=first.nonce)


@pytest.mark.parametrize("nonce", [NONCE[:-1], NONCE + b"\0", NONCE[::-1], b""])
def test_a_part_of_the_nonce_is_another(nonce: bytes) -> None:
    assert failed(judged(token(), nonce=nonce)) == ["nonce"]
