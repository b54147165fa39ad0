from __future__ import annotations

import json
from base64 import urlsafe_b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm

from edgeroot.evidence import CoseAlgorithm, EvidenceError, read_shared_key

SECRET = bytes(range(64))
K = urlsafe_b64encode(SECRET).rstrip(b"=").decode()
JWK = {"kty": "oct", "alg": "HS384", "k": K, "kid": "01" + "08" * 32, "psa_implementation_id": "07" * 32}
PUBLIC = ec.generate_private_key(ec.SECP256R1()).public_key()


def read(document: object) -> object:
    return read_shared_key(json.dumps(document).encode())


def test_a_shared_key() -> None:
    shared = read_shared_key(json.dumps(JWK).encode())
    assert (shared.key.algorithm, shared.key.secret) == (CoseAlgorithm.HMAC_384, SECRET)
    assert (shared.instance_id, shared.implementation_id) == (b"\1" + b"\x08" * 32, b"\7" * 32)
    assert "Secret of 64" in repr(shared), "a secret is shown"
    whose = {member: value for member, value in JWK.items() if member in ("kty", "alg", "k")}
    assert read_shared_key(json.dumps(whose).encode()).instance_id == b""


@pytest.mark.parametrize(
    "document",
    [
        PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(ECAlgorithm.to_jwk(PUBLIC, as_dict=True)).encode(),
        b"",
        b"[]",
        b"\xff",
        SECRET,
    ],
)
def test_a_public_key_and_anything_else_is_none(document: bytes) -> None:
    with pytest.raises(EvidenceError, match="a shared key is a JWK") as caught:
        read_shared_key(document)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"alg": "ES256"}, "one of HS256"),
        ({"alg": None}, "one of HS256"),
        ({"alg": 5}, "one of HS256"),
        ({"k": "%"}, "not base64url|48 bytes"),
        ({"k": 1}, "not base64url"),
        ({"k": "AAAA"}, "48 bytes or more"),
        ({"kid": "device"}, "kid .* not hexadecimal"),
        ({"kid": 1}, "kid .* not hexadecimal"),
        ({"psa_implementation_id": "x"}, "not hexadecimal"),
    ],
)
def test_malformed(changes: dict[str, object], says: str) -> None:
    with pytest.raises(EvidenceError, match=says) as caught:
        read({**JWK, **changes})
    assert K not in str(caught.value)
