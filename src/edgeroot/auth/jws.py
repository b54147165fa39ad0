"""Reading signed tokens: JWS compact serialisation (RFC 7515 clause 7.1) and nothing else that calls itself a JWT."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Final, Never

from edgeroot.auth.identity import AuthenticationError, AuthenticationFailure

ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"})
"""RFC 7518 clauses 3.3 to 3.5, which are also those of JWT-SVIDs. Never ``none``, and nothing with a shared key."""
MAX_TOKEN_BYTES: Final = 16 * 1024
_MAX_HEADER_CHARACTERS: Final = 2048
_MAX_KEY_ID_CHARACTERS: Final = 512
# JWT-SVID clause 2 permits these alone. So nobody brings a key along (jwk, jku, x5c, x5u) or asks for more (crit, b64).
_HEADERS: Final = frozenset({"alg", "kid", "typ"})
_TYPES: Final = ("JWT", "JOSE")
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A token in the right form. Nobody has shown yet that its claims are true."""

    algorithm: str
    key_id: str
    claims: dict[str, object] = field(repr=False)
    compact: str = field(repr=False)


def read_token(token: bytes) -> UnverifiedToken:
    """Take a token apart; AuthenticationError if it has not the strict form that every issuer here writes."""
    if len(token) > MAX_TOKEN_BYTES:
        raise AuthenticationError(f"the token has {len(token)} bytes, more than the {MAX_TOKEN_BYTES} that are read")
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError as error:
        raise AuthenticationError("the token is not UTF-8", kind=AuthenticationFailure.INVALID_ENCODING) from error
    parts = _COMPACT.fullmatch(text)
    if parts is None:
        raise AuthenticationError("the token is not three parts of base64url with dots between (JWS compact)")
    if len(parts[1]) > _MAX_HEADER_CHARACTERS:
        raise AuthenticationError("the token's header is longer than any that is known")
    header = _json_object(_base64url(parts[1], "header"), "header")
    _base64url(parts[3], "signature")
    algorithm, key_id = _judge_header(header)
    return UnverifiedToken(algorithm, key_id, _json_object(_base64url(parts[2], "payload"), "payload"), text)


def _judge_header(header: dict[str, object]) -> tuple[str, str]:
    if strangers := header.keys() - _HEADERS:
        raise AuthenticationError(f"the token's header has {', '.join(sorted(map(repr, strangers)))[:200]}, not taken")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise AuthenticationError(f"tokens signed with {str(algorithm)[:40]!r} are not taken")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= _MAX_KEY_ID_CHARACTERS:
        raise AuthenticationError("the token does not name the key that it was signed with (kid)")
    if "typ" in header and header["typ"] not in _TYPES:
        raise AuthenticationError(f"the token's type is {str(header['typ'])[:40]!r}, neither JWT nor JOSE")
    return algorithm, key_id


def _base64url(text: str, what: str) -> bytes:
    """Without padding (RFC 7515 clause 2), and only the one way to write these bytes."""
    if len(text) % 4 != 1:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if urlsafe_b64encode(data).rstrip(b"=") == text.encode():
            return data
    raise AuthenticationError(f"the token's {what} is not base64url")


def _json_object(data: bytes, what: str) -> dict[str, object]:
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise AuthenticationError(f"the token's {what} is not JSON: {error}"[:200]) from error
    if not isinstance(found, dict):
        raise AuthenticationError(f"the token's {what} is not a JSON object")
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Of two equal names readers choose different ones: what is checked must be what is used (RFC 7515 clause 4).
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is no JSON")
