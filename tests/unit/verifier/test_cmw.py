from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.verifier import desk as work
from edgeroot.verifier.cmw import UNWRAP, tag_of, unwrap_cbor, unwrap_json
from edgeroot.verifier.desk import Desk
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.media_types import WRAPPED
from edgeroot.verifier.trust import Status
from tests.unit.verifier.test_appraisal import CLAIMS, token
from tests.unit.verifier.test_desk import PSA, desk, storage, surroundings

__all__ = ["desk", "storage", "surroundings"]
TFM = 'application/eat+cwt; eat_profile="tag:psacertified.org,2023:psa#tfm"'
CBOR, JSON = "application/cmw+cbor", "application/cmw+json"
VERAISON_CBOR, VERAISON_JSON = "application/vnd.veraison.cmw+cbor", "application/vnd.veraison.cmw+json"


def text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


WRAPPERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "json": (JSON, lambda data: json.dumps([PSA, text(data)]).encode()),
    "json with indicator": (JSON, lambda data: json.dumps([TFM, text(data), 4]).encode()),
    "cbor": (CBOR, lambda data: cbor2.dumps([PSA, data])),
    "cbor with indicator": (CBOR, lambda data: cbor2.dumps([PSA, data, 4])),
    "cbor with content format": (CBOR, lambda data: cbor2.dumps([10003, data])),
    "json, as Veraison's client": (VERAISON_JSON, lambda data: json.dumps([TFM, text(data), 4]).encode()),
    "cbor, as Veraison's client": (VERAISON_CBOR, lambda data: cbor2.dumps([TFM, data, 4])),
    "cbor tag": (CBOR, lambda data: cbor2.dumps(cbor2.CBORTag(tag_of(10003), data))),
}


def test_tags_are_those_of_the_rfc() -> None:
    # The draft's example, for content format 30001, and the ends of RFC 9277's range.
    assert [tag_of(number) for number in (0, 30001, 65024)] == [1668546817, 1668576935, 1668612095]


@pytest.mark.parametrize("form", WRAPPERS)
def test_evidence_in_a_wrapper_is_judged(desk: Desk, form: str) -> None:
    media_type, wrap = WRAPPERS[form]
    session = desk.new_session()
    data = wrap(token(replace(CLAIMS, nonce=session.nonce)))
    done, appraisal = desk.submit(session.session_id, media_type, data)
    assert appraisal.status is Status.AFFIRMING
    assert (done.media_type, done.evidence) == (media_type, data)


def test_every_wrapper_that_is_said_to_be_taken_is() -> None:
    assert set(UNWRAP) == set(WRAPPED)


def test_the_drafts_examples() -> None:
    kind = "application/vnd.example.rats-conceptual-msg"
    assert unwrap_json(b'["application/vnd.example.rats-conceptual-msg", "I0faVQ"]') == (kind, b"#G\xdaU")
    assert unwrap_cbor(cbor2.dumps([kind, b"#G\xdaU"])) == (kind, b"#G\xdaU")


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        (JSON, b""),
        (JSON, b"\xff"),
        (JSON, b"[" * 200_000),
        (JSON, b'{"a": ["t", "AA"]}'),
        (JSON, b'["t"]'),
        (JSON, b'["t", "AA", 4, 4]'),
        (JSON, b'["t", "AA=="]'),
        (JSON, b'["t", "A"]'),
        (JSON, b'["t", "A A"]'),
        (JSON, b'["t", "+/"]'),
        (JSON, b'["t", ""]'),
        (JSON, b'["t", 5]'),
        (JSON, b'[10003, "AA"]'),
        (JSON, b'["t", "AA", 8]'),
        (JSON, b'["t", "AA", 6]'),
        (JSON, b'["t", "AA", true]'),
        (JSON, b'["t", "AA", 4.0]'),
        (JSON, b'["\\n", "AA"]'),
        (JSON, b'["\\ud800", "AA"]'),
        (JSON, b'["#cmw-c2j-tunnel", ["AA"]]'),
        (CBOR, b""),
        (CBOR, b"\xff"),
        (CBOR, b"\x81" * 200_000),
        (CBOR, cbor2.dumps([PSA, b"x"]) + b"\0"),
        (CBOR, cbor2.dumps([PSA, "x"])),
        (CBOR, cbor2.dumps([PSA])),
        (CBOR, cbor2.dumps([PSA, b"x", 1])),
        (CBOR, cbor2.dumps([10005, b"x"])),
        (CBOR, cbor2.dumps([True, b"x"])),
        (CBOR, cbor2.dumps([-1, b"x"])),
        (CBOR, cbor2.dumps([b"t", b"x"])),
        (CBOR, cbor2.dumps({"a": [PSA, b"x"]})),
        (CBOR, cbor2.dumps(cbor2.CBORTag(tag_of(10005), b"x"))),
        (CBOR, cbor2.dumps(cbor2.CBORTag(18, b"x"))),
        (CBOR, cbor2.dumps(cbor2.CBORTag(tag_of(10003), [PSA, b"x"]))),
        (CBOR, b"\x82\x61t\x5f\x41x\xff"),
    ],
)
def test_anything_else_is_refused_and_spends_no_session(desk: Desk, media_type: str, data: bytes) -> None:
    with pytest.raises(VerifierError):
        UNWRAP[media_type](data)
    session = desk.new_session()
    with pytest.raises(work.BadRequestError):
        desk.submit(session.session_id, media_type, data)
    assert desk.session(session.session_id).status == "waiting"


@pytest.mark.parametrize("kind", [CBOR, JSON, "text/plain", "", "application/corim-unsigned+cbor"])
def test_no_wrapper_in_a_wrapper_and_nothing_but_evidence(desk: Desk, kind: str) -> None:
    data = json.dumps([kind, text(b"x")]).encode()
    with pytest.raises(work.MediaTypeError):
        desk.submit(desk.new_session().session_id, JSON, data)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for unwrap in UNWRAP.values():
        try:
            unwrap(data)
        except VerifierError:
            continue
