"""SPIFFE IDs (SPIFFE-ID standard, clause 2): ``spiffe://trust-domain/path``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from edgeroot.auth.identity import AuthenticationError

_MAX_BYTES: Final = 2048
_MAX_TRUST_DOMAIN_CHARACTERS: Final = 255
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]+")
_ID: Final = re.compile(r"spiffe://([a-z0-9._-]+)((?:/[A-Za-z0-9._-]+)*)")


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A workload's name. As text it is what the token says, character by character."""

    trust_domain: str
    path: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}{self.path}"


def is_trust_domain(name: str) -> bool:
    """Whether it may be the name of a trust domain (clause 2.1)."""
    return len(name) <= _MAX_TRUST_DOMAIN_CHARACTERS and _TRUST_DOMAIN.fullmatch(name) is not None


def read_spiffe_id(text: str) -> SpiffeId:
    """AuthenticationError if the text is not exactly a SPIFFE ID: nothing is normalised, so no two spell one name."""
    found = _ID.fullmatch(text)
    if len(text) > _MAX_BYTES or found is None or not is_trust_domain(found[1]):
        raise AuthenticationError("the token's subject is no SPIFFE ID")
    if not {".", ".."}.isdisjoint(found[2].split("/")):
        raise AuthenticationError("the token's subject has a relative part in its path")
    return SpiffeId(found[1], found[2])
