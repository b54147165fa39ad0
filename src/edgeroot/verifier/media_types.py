"""The media types that a verifier takes and gives, by Veraison's names and those of RFC 9782 and 9783 (clause 10.3)."""

from __future__ import annotations

import re
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
WRAPPED: Final = (
    "application/cmw+json",
    "application/cmw+cbor",
    "application/vnd.veraison.cmw+json",
    "application/vnd.veraison.cmw+cbor",
)
"""Any of the others, in a conceptual message wrapper (draft-ietf-rats-msg-wrap); Veraison's clients have own names."""
ALL_EVIDENCE: Final = EVIDENCE + QUOTE + WRAPPED
EAR_JWT: Final = 'application/eat+jwt; eat_profile="tag:github.com,2023:veraison/ear"'
EAR_CWT: Final = 'application/eat+cwt; eat_profile="tag:github.com,2023:veraison/ear"'
"""A result by itself (RFC 9782; draft-ietf-rats-ear, "Media Types")."""
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
_RANGE: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*")+')  # commas in quotes part nothing


def is_one_of(media_type: str, known: tuple[str, ...]) -> bool:
    """Whether it is the same type with the same parameters, however they are written."""
    return _normal(media_type) in [_normal(one) for one in known]


def accepts(wanted: str, media_type: str) -> bool:
    """Whether an Accept field takes this type (RFC 9110, clause 12.5.1). Of weights only zero is looked at.

    Parameters of a range count if the type has some: without any it takes whatever profile there is.
    """
    (name, _), *parameters = _normal(media_type)
    for one in _RANGE.findall(wanted):
        (range_name, _), *range_parameters = _normal(one.strip())
        weight = dict(range_parameters).pop("q", "1")
        asked = {parameter for parameter in range_parameters if parameter[0] != "q"}
        takes = range_name in ("*/*", f"{name.partition('/')[0]}/*") or (
            range_name == name and (not parameters or asked <= set(parameters))
        )
        if takes and weight.rstrip("0") not in ("", "0.", "0"):
            return True
    return False


@lru_cache(maxsize=64)
def _normal(media_type: str) -> tuple[tuple[str, str], ...]:
    message = Message()
    message["Content-Type"] = media_type
    name, *parameters = message.get_params(failobj=[]) or [("", "")]
    return ((name[0].lower(), ""), *sorted((key.lower(), value) for key, value in parameters))
