"""The public keys of an issuer of tokens: JSON Web Key Sets (RFC 7517), and which key may have signed what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from edgeroot.auth.identity import AuthenticationError
from edgeroot.auth.jws import UnverifiedToken

MAX_KEY_SET_BYTES: Final = 256 * 1024
_MAX_KEYS: Final = 256
_RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_RSA_BITS: Final = range(2048, 8193)
_USES: Final = ("sig", "jwt-svid")
_CURVE_ALGORITHMS: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
# RFC 7518 clause 6: what only who signs may know.
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class KeySetError(Exception):
    """A document is no set of public keys that can be used; the message says why."""


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key, and the algorithms (``alg``) that it may be used with."""

    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    algorithms: frozenset[str]


KeySet = Mapping[str, TrustedKey]
"""Keys by their ids (``kid``)."""


def read_key_set(document: bytes) -> KeySet:
    """The usable keys of a JSON Web Key Set.

    Keys of other kinds and for other uses are left out (RFC 7517 clause 5). KeySetError if nothing is left, if two keys
    have one id, or if there are private keys in it: such a file is not a set of public keys but a leak.
    """
    found: dict[str, TrustedKey] = {}
    for entry in _entries(document):
        if not _PRIVATE_MEMBERS.isdisjoint(entry):
            raise KeySetError("the key set holds private or symmetric keys; only public keys belong in it")
        key_id = entry.get("kid")
        if not isinstance(key_id, str) or not key_id or entry.get("use", "sig") not in _USES:
            continue
        key = _public_key(entry)
        trusted = None if key is None else trust(key, entry.get("alg"))
        if trusted is None:
            continue
        if key_id in found:
            raise KeySetError(f"the key set has two keys with the id {key_id[:80]!r}")
        found[key_id] = trusted
    if not found:
        raise KeySetError("the key set has no key that tokens can be checked with")
    return found


def trust(key: object, algorithm: object = None) -> TrustedKey | None:
    """The key with what it may be used for; None if it is too weak, too large or of another kind.

    ``algorithm`` is the only one that its owner wants it used with, if there is such a wish.
    """
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS:
        fitting = _RSA_ALGORITHMS
    elif isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVE_ALGORITHMS:
        fitting = frozenset({_CURVE_ALGORITHMS[key.curve.name]})
    else:
        return None
    if algorithm is not None:
        fitting = frozenset({algorithm} & fitting) if isinstance(algorithm, str) else frozenset()
    return TrustedKey(key, fitting) if fitting else None


def check_signature(token: UnverifiedToken, trusted: TrustedKey) -> None:
    """AuthenticationError unless the key's owner signed the token."""
    if token.algorithm not in trusted.algorithms:
        raise AuthenticationError(f"the key {token.key_id[:80]!r} is not one for {token.algorithm}")
    try:
        jwt.PyJWS().decode(token.compact, trusted.key, algorithms=[token.algorithm])
    except jwt.InvalidTokenError as error:
        raise AuthenticationError("the token's signature is wrong") from error


def _entries(document: bytes) -> list[dict[str, object]]:
    if len(document) > MAX_KEY_SET_BYTES:
        raise KeySetError(f"the key set has more than {MAX_KEY_SET_BYTES} bytes")
    try:
        found = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise KeySetError(f"the key set is not JSON: {error}"[:200]) from error
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list) or not all(isinstance(entry, dict) for entry in keys):
        raise KeySetError("the key set is no JSON Web Key Set: it has no list of keys")
    if len(keys) > _MAX_KEYS:
        raise KeySetError(f"the key set has {len(keys)} keys, more than {_MAX_KEYS}")
    return keys


def _public_key(entry: dict[str, object]) -> object:
    """None for kinds of keys that sign nothing here."""
    try:
        if entry.get("kty") == "RSA":
            return jwt.algorithms.RSAAlgorithm.from_jwk(entry)
        if entry.get("kty") == "EC":
            return jwt.algorithms.ECAlgorithm.from_jwk(entry)
    except (jwt.InvalidKeyError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise KeySetError(f"the key {str(entry['kid'])[:80]!r} of the key set is broken: {error}"[:300]) from error
    return None
