from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable

import pytest

from edgeroot.auth import AuthenticationError, AuthenticationFailure
from edgeroot.auth.jws import ALGORITHMS, MAX_TOKEN_BYTES, read_token
from tests.support.tokens import Issuer

TYPICAL = {"alg": "ES256", "kid": "key-0"}


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(header: object = None, payload: object = None, signature: bytes = b"signature") -> bytes:
    parts = [
        part if isinstance(part, bytes) else json.dumps(part).encode()
        for part in (TYPICAL if header is None else header, {"sub": "x"} if payload is None else payload)
    ]
    return f"{b64(parts[0])}.{b64(parts[1])}.{b64(signature)}".encode()


def refusal(token: bytes) -> AuthenticationError:
    with pytest.raises(AuthenticationError) as refused:
        read_token(token)
    return refused.value


def test_a_token_is_taken_apart() -> None:
    issuer = Issuer()

    token = read_token(issuer.sign({"sub": "somebody", "exp": 1}))

    assert (token.algorithm, token.key_id, token.claims) == ("ES256", "key-0", {"sub": "somebody", "exp": 1})


def test_neither_the_token_nor_its_claims_show_in_a_log() -> None:
    token = Issuer().sign({"sub": "somebody"})

    shown = repr(read_token(token))

    assert token.decode() not in shown
    assert "somebody" not in shown


@pytest.mark.parametrize("typ", ["JWT", "JOSE"])
def test_both_types_of_jwt_svids_are_taken(typ: str) -> None:
    assert read_token(compact({**TYPICAL, "typ": typ})).key_id == "key-0"


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_every_algorithm_of_jwt_svids_is_known(algorithm: str) -> None:
    assert read_token(compact({**TYPICAL, "alg": algorithm})).algorithm == algorithm


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "", "HS256", "HS384", "HS512", "EdDSA", "es256", 256, None]
)
def test_every_other_algorithm_is_refused(algorithm: object) -> None:
    assert "are not taken" in str(refusal(compact({**TYPICAL, "alg": algorithm})))


def test_a_token_without_an_algorithm_or_a_key_id_is_refused() -> None:
    assert "are not taken" in str(refusal(compact({"kid": "key-0"})))
    for key_id in ({}, {"kid": ""}, {"kid": 7}, {"kid": None}, {"kid": "x" * 600}):
        assert "kid" in str(refusal(compact({"alg": "ES256", **key_id})))


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "x5t", "crit", "b64", "cty", "zip", "enc", "private"])
def test_a_token_brings_nothing_along_that_decides_how_it_is_checked(name: str) -> None:
    assert name in str(refusal(compact({**TYPICAL, name: "https://attacker.example/keys"})))


@pytest.mark.parametrize("typ", ["at+jwt", "jwt", "", None, 1, [], {}])
def test_other_types_are_refused(typ: object) -> None:
    assert "neither JWT nor JOSE" in str(refusal(compact({**TYPICAL, "typ": typ})))


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token + b".",
        lambda token: token + b".abcd",
        lambda token: token.rpartition(b".")[0],
        lambda token: token.rpartition(b".")[0] + b".",
        lambda token: b"." + token,
        lambda token: b" " + token,
        lambda token: token + b"\n",
        lambda token: token + b"=",
        lambda token: token.replace(b".", b"..", 1),
        lambda token: b"Bearer " + token,
        lambda token: b'{"payload":"' + token + b'"}',
        lambda _: b"",
        lambda _: b"..",
    ],
)
def test_only_three_parts_with_dots_between_are_a_token(change: Callable[[bytes], bytes]) -> None:
    assert "base64url" in str(refusal(change(compact())))


def test_the_same_bytes_in_other_letters_are_refused() -> None:
    token = compact(signature=b"\xff")
    assert token.endswith(b"_w")

    assert "signature is not base64url" in str(refusal(token[:-1] + b"x"))
    assert "signature is not base64url" in str(refusal(token + b"AAA"))


@pytest.mark.parametrize(
    "payload",
    [b"x", b"[]", b"1", b"null", b'"x"', b'{"a":1', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1}x', b"\xff\xfe{}"]
    + [b"[" * 11_000, b'{"a":' + b"9" * 9000 + b"}"],
)
def test_a_payload_that_is_no_object_of_json_is_refused(payload: bytes) -> None:
    assert "payload is not" in str(refusal(compact(payload=payload)))


def test_an_empty_payload_is_no_token() -> None:
    assert "three parts" in str(refusal(compact(payload=b"")))


@pytest.mark.parametrize(
    "payload",
    [b'{"sub":"a","sub":"b"}', b'{"kubernetes.io":{"namespace":"a","namespace":"b"}}', b'{"a":1,"\\u0061":2}'],
)
def test_two_claims_of_one_name_are_refused_wherever_they_stand(payload: bytes) -> None:
    assert "twice" in str(refusal(compact(payload=payload)))


def test_two_algorithms_are_refused() -> None:
    assert "twice" in str(refusal(compact(b'{"alg":"ES256","kid":"a","alg":"none"}')))


def test_sizes_are_bounded() -> None:
    read_token(compact(payload={"a": "x" * 8000}))

    assert "more than" in str(refusal(compact(payload={"a": "x" * MAX_TOKEN_BYTES})))
    assert "longer than any" in str(refusal(compact({**TYPICAL, "kid": "x" * 2048})))


def test_what_is_not_utf8_has_an_error_of_its_own() -> None:
    assert refusal(b"\xff" + compact()).kind is AuthenticationFailure.INVALID_ENCODING
    assert refusal("ü".encode()).kind is AuthenticationFailure.REFUSED


def test_what_a_stranger_writes_is_quoted_and_short_in_the_refusal() -> None:
    for token in (
        compact({**TYPICAL, "alg": "\n\x1b[31m" + "x" * 500}),
        compact({**TYPICAL, "\n\x1b" + "x" * 500: 1}),
        compact({**TYPICAL, "typ": "\n\x1b" + "x" * 500}),
        compact({**TYPICAL, "typ": "\ud800"}),
    ):
        words = str(refusal(token))
        assert words.isprintable()
        assert len(words) < 300
