"""Attestation results (EAR, draft-ietf-rats-ear), as the claims of a JWT that a verifier signs."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot._version import __version__
from edgeroot.verifier.appraisal import Appraisal

PROFILE: Final = "tag:github.com,2023:veraison/ear"
"""``eat_profile`` as Veraison's clients know it."""
_DEVELOPER: Final = "https://edgeroot.dev"


def ear_claims(
    appraisal: Appraisal, *, issued_at_s: int, nonce: bytes, policy_id: str, submodule: str = "PSA_IOT"
) -> dict[str, Any]:
    """The claims by their JSON names. ``issued_at_s`` counts from 1970; ``policy_id`` says which policy it was."""
    checks = [{"check": one.name, "passed": one.passed, "words": one.words} for one in appraisal.checks]
    return {
        "eat_profile": PROFILE,
        "iat": issued_at_s,
        "eat_nonce": urlsafe_b64encode(nonce).rstrip(b"=").decode(),
        "ear.verifier-id": {"developer": _DEVELOPER, "build": __version__},
        "submods": {
            submodule: {
                "ear.status": appraisal.status.name.lower(),
                "ear.trustworthiness-vector": appraisal.vector.claims(),
                "ear.appraisal-policy-id": policy_id,
                "ear.veraison.policy-claims": {"checks": checks},
            }
        },
    }


def sign_ear(claims: dict[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """A JWT with ES256 (RFC 7519, RFC 7518 clause 3.4). Needs the package PyJWT, of the extra ``verifier``."""
    import jwt

    return jwt.encode(claims, key, algorithm="ES256")
