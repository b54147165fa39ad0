from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.auth import AuthenticationError
from edgeroot.auth.jws import read_token
from edgeroot.auth.key_set import KeySetError, check_signature, read_key_set, trust
from tests.support.tokens import Issuer, PrivateKey, public_jwk

P256 = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEYS: dict[str, PrivateKey] = {
    "ES256": P256,
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), RSA),
}


def document(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def jwk(key: PrivateKey = P256, key_id: str = "a", algorithm: str = "ES256") -> dict[str, Any]:
    return public_jwk(key, key_id, algorithm)


@pytest.mark.parametrize("algorithm", sorted(KEYS))
def test_a_signature_is_checked_with_the_issuers_key(algorithm: str) -> None:
    issuer = Issuer(KEYS[algorithm], algorithm=algorithm)
    trusted = read_key_set(json.dumps(issuer.key_set()).encode())["key-0"]
    token = issuer.sign({"sub": "somebody"})

    check_signature(read_token(token), trusted)

    head, payload, signature = token.split(b".")
    forged = urlsafe_b64encode(b'{"sub":"somebodyelse"}').rstrip(b"=")
    for bad in (b".".join((head, forged, signature)), b".".join((head, payload, signature[:-8] + b"AAAAAAAA"))):
        with pytest.raises(AuthenticationError, match="signature is wrong"):
            check_signature(read_token(bad), trusted)


def test_another_key_under_the_same_id_is_of_no_use() -> None:
    trusted = read_key_set(json.dumps(Issuer().key_set()).encode())["key-0"]

    with pytest.raises(AuthenticationError, match="signature is wrong"):
        check_signature(read_token(Issuer().sign({"sub": "somebody"})), trusted)


def test_a_signature_of_no_or_of_another_length_is_wrong() -> None:
    issuer = Issuer(P256)
    trusted = read_key_set(json.dumps(issuer.key_set()).encode())["key-0"]
    head, payload, _ = issuer.sign({"sub": "somebody"}).split(b".")

    for signature in (bytes(64), bytes(63), bytes(1), bytes(128)):
        token = b".".join((head, payload, urlsafe_b64encode(signature).rstrip(b"=")))
        with pytest.raises(AuthenticationError, match="signature is wrong"):
            check_signature(read_token(token), trusted)


@pytest.mark.parametrize("encoding", ["pem", "der", "jwk"])
def test_a_public_key_is_no_shared_key(encoding: str) -> None:
    """The old trick: what everybody knows as the key of an HMAC."""
    public = RSA.public_key()
    secret = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(public_jwk(RSA, "key-0", "RS256")).encode(),
    }[encoding]
    body = b".".join(
        urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "kid": "key-0"}, {"sub": "somebody"})
    )
    token = body + b"." + urlsafe_b64encode(hmac.digest(secret, body, sha256)).rstrip(b"=")

    with pytest.raises(AuthenticationError, match="'HS256' are not taken"):
        read_token(token)


@pytest.mark.parametrize(
    ("algorithm", "fitting"),
    [
        ("ES256", {"ES256"}),
        ("ES384", {"ES384"}),
        ("ES512", {"ES512"}),
        ("RS256", {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ],
)
def test_a_key_is_used_with_the_algorithms_of_its_kind_alone(algorithm: str, fitting: set[str]) -> None:
    trusted = trust(KEYS[algorithm].public_key())

    assert trusted is not None
    assert trusted.algorithms == fitting


def test_a_key_is_used_as_its_owner_wishes() -> None:
    trusted = read_key_set(document(jwk(RSA, algorithm="PS256")))["a"]
    issuer = Issuer(RSA, algorithm="RS256")

    assert trusted.algorithms == {"PS256"}
    with pytest.raises(AuthenticationError, match="not one for RS256"):
        check_signature(read_token(issuer.sign({})), trusted)


@pytest.mark.parametrize("algorithm", ["HS256", "none", "ES384", "RS256", 7, ["ES256"]])
def test_a_key_whose_owner_wishes_for_what_it_cannot_do_is_not_used(algorithm: object) -> None:
    assert trust(P256.public_key(), algorithm) is None


def test_keys_that_cannot_be_used_are_left_out() -> None:
    entries = [
        {**jwk(key_id="good"), "use": "sig"},
        {**jwk(key_id="spiffe"), "use": "jwt-svid"},
        {**jwk(key_id="encryption"), "use": "enc"},
        {**jwk(key_id="x509"), "use": "x509-svid"},
        {**jwk(key_id="list"), "use": ["sig"]},
        {key: value for key, value in jwk().items() if key != "kid"},
        jwk(key_id=""),
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "ed"},
        {"kty": "strange", "kid": "new"},
    ]

    assert read_key_set(document(*entries)).keys() == {"good", "spiffe"}


def test_weak_strange_and_oversized_keys_are_not_trusted() -> None:
    assert trust(rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()) is None
    assert trust(ec.generate_private_key(ec.SECP256K1()).public_key()) is None
    assert trust(ec.generate_private_key(ec.SECP224R1()).public_key()) is None
    assert trust(ed25519.Ed25519PrivateKey.generate().public_key()) is None
    assert trust(rsa.RSAPublicNumbers(65537, (1 << 8999) + 1).public_key()) is None
    assert trust(P256) is None
    assert trust(b"secret") is None


@pytest.mark.parametrize("member", [{"d": "AAAA"}, {"p": "AAAA"}, {"k": "AAAA"}, {"d": None}])
def test_a_file_with_private_keys_is_not_taken_for_a_key_set(member: dict[str, Any]) -> None:
    with pytest.raises(KeySetError, match="only public keys"):
        read_key_set(document(jwk(), {**jwk(key_id="b"), **member}))


def test_a_shared_key_makes_no_key_set() -> None:
    with pytest.raises(KeySetError, match="symmetric"):
        read_key_set(document({"kty": "oct", "kid": "a", "alg": "HS256", "k": "c2VjcmV0"}))


def test_two_keys_with_one_id_are_refused() -> None:
    with pytest.raises(KeySetError, match="two keys"):
        read_key_set(document(jwk(), jwk(RSA, algorithm="RS256")))


@pytest.mark.parametrize(
    "text",
    [b"", b"x", b"[]", b"null", b"{}", b'{"keys":{}}', b'{"keys":[1]}', b'{"keys":[]}', b"\xff", b"[" * 100_000]
    + [b'{"keys":[' + b"{}," * 300 + b"{}]}", b'{"keys":[' + b" " * 300_000 + b"]}"],
)
def test_what_is_no_key_set_is_refused(text: bytes) -> None:
    with pytest.raises(KeySetError, match="the key set"):
        read_key_set(text)


@pytest.mark.parametrize(
    "change",
    [{"x": "AA"}, {"x": 7}, {"x": None}, {"crv": "P-384"}, {"crv": 1}, {"y": "A" * 43}, {"x": "!" * 43}, {"x": {}}],
)
def test_a_broken_key_is_said_to_be_broken(change: dict[str, Any]) -> None:
    with pytest.raises(KeySetError, match=r"'a' of the key set is broken"):
        read_key_set(document({**jwk(), **change}))


@pytest.mark.parametrize("change", [{"n": ""}, {"n": 7}, {"e": "AA"}, {"e": None}, {"n": "AQAB"}])
def test_a_broken_rsa_key_is_never_trusted(change: dict[str, Any]) -> None:
    with pytest.raises(KeySetError):
        read_key_set(document({**jwk(RSA, algorithm="RS256"), **change}))
