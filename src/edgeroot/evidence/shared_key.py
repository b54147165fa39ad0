"""A device's shared attestation key in a file: a JWK (RFC 7517) of the kind ``oct`` (RFC 7518, clause 6.4).

``alg`` is HS256, HS384 or HS512 and must be there, as must ``k``. ``kid`` is the device's instance id in hexadecimal,
and ``psa_implementation_id``, a member of ours, its implementation id; both are needed to judge tokens. Any other
key, a public one above all, is refused: to check a code with a key that everybody knows would let everybody forge it.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edgeroot.evidence.cose import CoseAlgorithm, MacKey
from edgeroot.evidence.errors import EvidenceError
from edgeroot.psa import Secret

_ALGORITHMS: Final = {
    "HS256": CoseAlgorithm.HMAC_256,
    "HS384": CoseAlgorithm.HMAC_384,
    "HS512": CoseAlgorithm.HMAC_512,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedKey:
    """``instance_id`` and ``implementation_id`` are empty if the file does not say whose it is."""

    key: MacKey
    instance_id: bytes
    implementation_id: bytes


def read_shared_key(text: bytes) -> SharedKey:
    """EvidenceError for anything but the JWK above; it says nothing of the secret."""
    try:
        document = json.loads(text)
    except ValueError:
        # Without its cause, which would show the text.
        raise EvidenceError("a shared key is a JWK, which this is not") from None
    if not isinstance(document, Mapping) or document.get("kty") != "oct":
        raise EvidenceError("a shared key is a JWK of the kind oct")
    algorithm, secret = document.get("alg"), document.get("k")
    if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
        raise EvidenceError(f"the alg of a shared key is one of {', '.join(_ALGORITHMS)}")
    return SharedKey(
        key=MacKey(_ALGORITHMS[algorithm], _secret(secret)),
        instance_id=_hex(document, "kid"),
        implementation_id=_hex(document, "psa_implementation_id"),
    )


def _secret(value: object) -> Secret:
    try:
        if isinstance(value, str):
            return Secret(urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    except ValueError:
        pass
    raise EvidenceError("the k of a shared key is not base64url") from None


def _hex(document: Mapping[object, object], member: str) -> bytes:
    value = document.get(member, "")
    try:
        if isinstance(value, str):
            return bytes.fromhex(value)
    except ValueError:
        pass
    raise EvidenceError(f"the {member} of a shared key is not hexadecimal") from None
