"""The media types that a verifier takes, by Veraison's names and RFC 9783's (clause 10.3)."""

from __future__ import annotations

from email.message import Message
from functools import lru_cache
from typing import Final

SESSION: Final = "application/vnd.veraison.challenge-response-session+json"
PROVISIONING_SESSION: Final = "application/vnd.veraison.provisioning-session+json"
DISCOVERY: Final = "application/vnd.veraison.discovery+json"
EVIDENCE: Final = (
    "application/psa-attestation-token",
    'application/eat-cwt; profile="http://arm.com/psa/2.0.0"',
    'application/eat+cwt; eat_profile="tag:psacertified.org,2023:psa#tfm"',
    'application/eat+cwt; eat_profile="tag:psacertified.org,2019:psa#legacy"',
)
QUOTE: Final = ("application/vnd.edgeroot.tpm-evidence+cbor",)
"""Ours: :func:`edgeroot.evidence.write_tpm_evidence` makes it."""
ALL_EVIDENCE: Final = EVIDENCE + QUOTE
CORIM: Final = (
    'application/corim-unsigned+cbor; profile="http://arm.com/psa/iot/1"',
    'application/corim-unsigned+cbor; profile="tag:arm.com,2025:psa#1.0.0"',
    "application/corim-unsigned+cbor",
)
SIGNED_CORIM: Final = (
    'application/corim-signed+cbor; profile="http://arm.com/psa/iot/1"',
    'application/corim-signed+cbor; profile="tag:arm.com,2025:psa#1.0.0"',
    "application/corim-signed+cbor",
    "application/rim+cose",
)


def is_one_of(media_type: str, known: tuple[str, ...]) -> bool:
    """Whether it is the same type with the same parameters, however they are written."""
    return _normal(media_type) in [_normal(one) for one in known]


@lru_cache(maxsize=64)
def _normal(media_type: str) -> tuple[tuple[str, str], ...]:
    message = Message()
    message["Content-Type"] = media_type
    name, *parameters = message.get_params(failobj=[]) or [("", "")]
    return ((name[0].lower(), ""), *sorted((key.lower(), value) for key, value in parameters))
