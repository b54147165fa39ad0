"""Attestation results (EAR, draft-ietf-rats-ear), as the claims of a JWT or a CWT that a verifier signs."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from edgeroot._version import __version__
from edgeroot.evidence import CoseAlgorithm, sign1
from edgeroot.evidence.cbor import encode
from edgeroot.verifier.trust import Status
from edgeroot.verifier.verdict import Appraisal

PROFILE: Final = "tag:github.com,2023:veraison/ear"
"""``eat_profile`` as Veraison's clients know it."""
PSA_SUBMODULE: Final = "PSA_IOT"
TPM_SUBMODULE: Final = "TPM"
_DEVELOPER: Final = "https://edgeroot.dev"
_COORDINATE_BYTES: Final = 32
_TOP: Final = {"eat_profile": 265, "iat": 6, "exp": 4, "eat_nonce": 10, "ear.verifier-id": 1004, "submods": 266}
_VERIFIER_ID: Final = {"developer": 0, "build": 1}
_APPRAISAL: Final = {
    "ear.status": 1000,
    "ear.trustworthiness-vector": 1001,
    "ear.appraisal-policy-id": 1003,
    "ear.veraison.policy-claims": -70001,
    "ear.veraison.key-attestation": -70002,
}
_AKPUB: Final = 0
_VECTOR: Final = {"instance-identity": 0, "configuration": 1, "executables": 2, "hardware": 4}


def ear_claims(
    appraisal: Appraisal,
    *,
    issued_at_s: int,
    nonce: bytes,
    policy_id: str,
    submodule: str = PSA_SUBMODULE,
    expires_at_s: int | None = None,
) -> dict[str, Any]:
    """The claims by their JSON names. Times count from 1970; ``policy_id`` says which policy it was."""
    checks = [one.as_json() for one in appraisal.checks]
    return {
        "eat_profile": PROFILE,
        "iat": issued_at_s,
        **({} if expires_at_s is None else {"exp": expires_at_s}),
        "eat_nonce": urlsafe_b64encode(nonce).rstrip(b"=").decode(),
        "ear.verifier-id": {"developer": _DEVELOPER, "build": __version__},
        "submods": {
            submodule: {
                "ear.status": appraisal.status.name.lower(),
                "ear.trustworthiness-vector": appraisal.vector.claims(),
                "ear.appraisal-policy-id": policy_id,
                "ear.veraison.policy-claims": {"checks": checks, "device": appraisal.device.hex()},
                **_key_attestation(appraisal),
            }
        },
    }


def _key_attestation(appraisal: Appraisal) -> dict[str, Any]:
    """Veraison's extension (package ``ear``): a SubjectPublicKeyInfo in base64url. Absent unless the device affirms."""
    if appraisal.attested_key is None or appraisal.status is not Status.AFFIRMING:
        return {}
    return {"ear.veraison.key-attestation": {"akpub": urlsafe_b64encode(appraisal.attested_key).rstrip(b"=").decode()}}


def sign_ear(claims: dict[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """A JWT with ES256 (RFC 7519, RFC 7518 clause 3.4). Needs the package PyJWT, of the extra ``verifier``."""
    import jwt

    return jwt.encode(claims, key, algorithm="ES256")


def claims_of_own(token: str) -> dict[str, Any]:
    """The claims of a JWT that :func:`sign_ear` made, from where only we write: its signature is not verified."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def sign_ear_cwt(claims: dict[str, Any], key: ec.EllipticCurvePrivateKey) -> bytes:
    """A CWT (RFC 8392) of the same claims under their CBOR labels, in a COSE_Sign1 with ES256."""

    def sign_hash(hash_value: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(hash_value, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return r.to_bytes(_COORDINATE_BYTES) + s.to_bytes(_COORDINATE_BYTES)

    return sign1(encode(_cwt_claims(claims)), algorithm=CoseAlgorithm.ES256, sign_hash=sign_hash)


def _cwt_claims(claims: dict[str, Any]) -> dict[int, object]:
    return _labelled(
        {
            **claims,
            "eat_nonce": _decoded(claims["eat_nonce"]),
            "ear.verifier-id": _labelled(claims["ear.verifier-id"], _VERIFIER_ID),
            "submods": {name: _cwt_appraisal(one) for name, one in claims["submods"].items()},
        },
        _TOP,
    )


def _cwt_appraisal(appraisal: dict[str, Any]) -> dict[int, object]:
    vector = _labelled(appraisal["ear.trustworthiness-vector"], _VECTOR)
    status = int(Status[appraisal["ear.status"].upper()])
    stated = appraisal.get("ear.veraison.key-attestation")
    key = {} if stated is None else {"ear.veraison.key-attestation": {_AKPUB: _decoded(stated["akpub"])}}
    return _labelled({**appraisal, **key, "ear.status": status, "ear.trustworthiness-vector": vector}, _APPRAISAL)


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _labelled(claims: dict[str, Any], labels: dict[str, int]) -> dict[int, object]:
    return {labels[name]: value for name, value in claims.items()}
