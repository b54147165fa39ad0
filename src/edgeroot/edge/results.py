"""A verifier's result (EAR, draft-ietf-rats-ear, in a JWT) as a relying party reads it."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

_PROFILE: Final = "tag:github.com,2023:veraison/ear"
_MAX_RESULT_BYTES: Final = 256 * 1024
_MAX_SKEW_S: Final = 60
_AFFIRMING: Final = "affirming"


class ResultError(ValueError):
    """No result of the trusted verifier, or one that is too old; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierResult:
    """What the verifier says of one device.

    ``device`` is the verifier's id of it, as its fleet interface gives it, in hexadecimal; empty if the evidence does
    not prove whose it is, which no affirming result is about. ``nonce`` is the challenge that the evidence answered.
    ``attested_key`` is the SubjectPublicKeyInfo, in DER, of a key that was made in the device and has never left it
    (``ear.veraison.key-attestation``), if the evidence was a statement about one.
    """

    status: str
    device: str
    nonce: bytes
    issued_at_s: int
    attested_key: bytes | None

    @property
    def is_affirming(self) -> bool:
        return self.status == _AFFIRMING


def read_result(
    token: str, verifier_key: ec.EllipticCurvePublicKey, *, now_s: float, max_age_s: float
) -> VerifierResult:
    """The result in a JWT, if the verifier signed it with ES256 and at most ``max_age_s`` ago. ResultError if not."""
    if len(token) > _MAX_RESULT_BYTES:
        raise ResultError("the result is longer than 256 KiB")
    try:
        # Whether it is too old is said by whoever relies on it, not by the clock of this library.
        claims: dict[str, Any] = jwt.decode(
            token,
            verifier_key,
            algorithms=["ES256"],
            options={"require": ["iat"], "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
    except jwt.InvalidTokenError as error:
        raise ResultError(f"the result is not signed by the verifier: {error}") from error
    if claims.get("eat_profile") != _PROFILE:
        raise ResultError("the result is no EAR")
    try:
        result = _read(claims)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ResultError("the result lacks what a relying party needs: the verifier is of another release") from error
    age_s = now_s - result.issued_at_s
    if age_s > max_age_s or age_s < -_MAX_SKEW_S:
        raise ResultError(f"the result is {age_s:.0f} s old; at most {max_age_s:.0f} s are accepted")
    return result


def _read(claims: Mapping[str, Any]) -> VerifierResult:
    [submodule] = claims["submods"].values()  # of several it would be open which device is meant
    stated = submodule.get("ear.veraison.key-attestation")
    status = str(submodule["ear.status"])
    device = submodule["ear.veraison.policy-claims"]["device"]
    if not isinstance(device, str) or (status == _AFFIRMING and not device):
        raise ValueError("no device")
    return VerifierResult(
        status=status,
        device=device,
        nonce=_decoded(claims["eat_nonce"]),
        issued_at_s=int(claims["iat"]),
        attested_key=None if stated is None else _decoded(stated["akpub"]),
    )


def _decoded(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
