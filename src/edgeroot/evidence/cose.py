"""COSE_Sign1 and COSE_Mac0 (RFC 9052, clauses 4.2 and 6.2), written and read.

Message: tag 18 (Sign1) or 17 (Mac0) on [protected header as bstr, unprotected header as map, payload as bstr, signature
or authentication code as bstr]. A signature is r || s, each as wide as the curve (RFC 9053, clause 2.1). The payload is
always inside the message, and there is no external data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from edgeroot.evidence.cbor import decode, encode
from edgeroot.evidence.errors import AuthenticationError, EvidenceError
from edgeroot.psa import Secret

TAG_MAC0: Final = 17
TAG_SIGN1: Final = 18

HEADER_ALG: Final = 1
HEADER_CRIT: Final = 2
HEADER_CONTENT_TYPE: Final = 3
HEADER_KID: Final = 4
# What a message may call critical: labels whose meaning every reader of COSE knows (RFC 9052, clause 3.1).
_UNDERSTOOD: Final = frozenset({HEADER_ALG, HEADER_CRIT, HEADER_CONTENT_TYPE, HEADER_KID})

Headers: TypeAlias = Mapping[int | str, object]


class CoseAlgorithm(IntEnum):
    """``alg`` (RFC 9053, tables 1 and 3): those of the PSA token's TFM profile (RFC 9783, clause 5.2.1)."""

    ES256 = -7
    ES384 = -35
    ES512 = -36
    HMAC_256 = 5
    HMAC_384 = 6
    HMAC_512 = 7

    @property
    def is_mac(self) -> bool:
        return self > 0

    @property
    def hash_algorithm(self) -> hashes.HashAlgorithm:
        return _HASHES[self]


class _Curve(NamedTuple):
    name: str
    key_bits: int

    @property
    def width_bytes(self) -> int:
        return (self.key_bits + 7) // 8


_HASHES: Final[dict[CoseAlgorithm, hashes.HashAlgorithm]] = {
    CoseAlgorithm.ES256: hashes.SHA256(),
    CoseAlgorithm.ES384: hashes.SHA384(),
    CoseAlgorithm.ES512: hashes.SHA512(),
    CoseAlgorithm.HMAC_256: hashes.SHA256(),
    CoseAlgorithm.HMAC_384: hashes.SHA384(),
    CoseAlgorithm.HMAC_512: hashes.SHA512(),
}
_CURVES: Final = {
    CoseAlgorithm.ES256: _Curve("secp256r1", 256),
    CoseAlgorithm.ES384: _Curve("secp384r1", 384),
    CoseAlgorithm.ES512: _Curve("secp521r1", 521),
}


@dataclass(frozen=True, slots=True)
class MacKey:
    """A shared key, and the one algorithm that it is for.

    EvidenceError for an algorithm that signs, and for a key that is shorter than the code (RFC 9053, clause 3.1). It is
    a type of its own so that nothing else, above all no public key, is ever taken for a shared one.
    """

    algorithm: CoseAlgorithm
    secret: Secret

    def __post_init__(self) -> None:
        if not self.algorithm.is_mac:
            raise EvidenceError(f"no shared key is for {self.algorithm.name}, which signs")
        least_bytes = self.algorithm.hash_algorithm.digest_size
        if len(self.secret) < least_bytes:
            raise EvidenceError(f"a key for {self.algorithm.name} has {least_bytes} bytes or more")

    def authenticate(self, data: bytes) -> hmac.HMAC:
        code = hmac.HMAC(self.secret, self.algorithm.hash_algorithm)
        code.update(data)
        return code


@dataclass(frozen=True, slots=True, kw_only=True)
class CoseMessage:
    """A message as it was read: structurally sound, but not authentic until a key has verified it.

    ``protected_bytes`` is the protected header as it stood in the message, for that is what was authenticated.
    """

    tag: int
    algorithm: CoseAlgorithm
    protected_bytes: bytes
    protected: Headers
    unprotected: Headers
    payload: bytes
    authenticator: bytes

    @property
    def authenticated_bytes(self) -> bytes:
        """Sig_structure or MAC_structure (RFC 9052, clauses 4.4 and 6.3)."""
        context = "Signature1" if self.tag == TAG_SIGN1 else "MAC0"
        return _structure(context, self.protected_bytes, self.payload)


def sign1(payload: bytes, *, algorithm: CoseAlgorithm, sign_hash: Callable[[bytes], bytes]) -> bytes:
    """A COSE_Sign1 whose only header is the algorithm, protected.

    ``sign_hash`` gets the hash to be signed (of the algorithm's length) and gives r || s.
    """
    if algorithm.is_mac:
        raise ValueError(f"{algorithm.name} does not sign")
    protected = encode({HEADER_ALG: int(algorithm)})
    digest = hashes.Hash(algorithm.hash_algorithm)
    digest.update(_structure("Signature1", protected, payload))
    signature = sign_hash(digest.finalize())
    return encode(cbor2.CBORTag(TAG_SIGN1, [protected, {}, payload, signature]))


def mac0(payload: bytes, key: MacKey) -> bytes:
    """A COSE_Mac0 whose only header is the key's algorithm, protected."""
    protected = encode({HEADER_ALG: int(key.algorithm)})
    code = key.authenticate(_structure("MAC0", protected, payload))
    return encode(cbor2.CBORTag(TAG_MAC0, [protected, {}, payload, code.finalize()]))


def _structure(context: str, protected: bytes, payload: bytes) -> bytes:
    return encode([context, protected, b"", payload])


def read_cose(data: bytes) -> CoseMessage:
    """Read a COSE_Sign1 or COSE_Mac0; EvidenceError for anything else, and for headers that must not be ignored."""
    tagged = decode(data, "the COSE message")
    if not isinstance(tagged, cbor2.CBORTag) or tagged.tag not in (TAG_SIGN1, TAG_MAC0):
        raise EvidenceError("the evidence is neither a COSE_Sign1 (tag 18) nor a COSE_Mac0 (tag 17)")
    parts = tagged.value
    if not isinstance(parts, list | tuple) or len(parts) != 4:
        raise EvidenceError("a COSE_Sign1 or COSE_Mac0 is an array of four")
    protected_bytes, unprotected, payload, authenticator = parts
    if not isinstance(protected_bytes, bytes):
        raise EvidenceError("the protected header is not a byte string")
    if not isinstance(payload, bytes):
        raise EvidenceError("the payload is not inside the message")
    if not isinstance(authenticator, bytes):
        raise EvidenceError("the signature is not a byte string")
    protected = _headers(decode(protected_bytes, "the protected header") if protected_bytes else {}, "protected")
    unprotected = _headers(unprotected, "unprotected")
    if both := sorted(map(str, protected.keys() & unprotected.keys())):
        raise EvidenceError(f"header {', '.join(both)} is both protected and unprotected")
    _check_critical(protected, unprotected)
    return CoseMessage(
        tag=tagged.tag,
        algorithm=_algorithm(tagged.tag, protected),
        protected_bytes=protected_bytes,
        protected=protected,
        unprotected=unprotected,
        payload=payload,
        authenticator=authenticator,
    )


def _headers(value: object, which: str) -> Headers:
    if not isinstance(value, Mapping):
        raise EvidenceError(f"the {which} header is not a map")
    if any(not isinstance(label, int | str) or isinstance(label, bool) for label in value):
        raise EvidenceError(f"the {which} header has a label that is neither integer nor text")
    return dict(value)


def _check_critical(protected: Headers, unprotected: Headers) -> None:
    if HEADER_CRIT in unprotected:
        raise EvidenceError("the list of critical headers is not protected")
    if HEADER_CRIT not in protected:
        return
    critical = protected[HEADER_CRIT]
    if not isinstance(critical, list | tuple) or not critical:
        raise EvidenceError("the list of critical headers is not an array, or it is empty")
    for label in critical:
        if not isinstance(label, int | str) or label not in _UNDERSTOOD:
            raise EvidenceError(f"header {label!r} is critical and not understood")
        if label not in protected:
            raise EvidenceError(f"header {label} is critical and not in the protected header")


def _algorithm(tag: int, protected: Headers) -> CoseAlgorithm:
    value = protected.get(HEADER_ALG)
    if value is None:
        raise EvidenceError("the protected header names no algorithm")
    if not isinstance(value, int) or value not in CoseAlgorithm.__members__.values():
        raise EvidenceError(f"algorithm {value!r} is not among ES256, ES384, ES512 and HMAC 256, 384, 512")
    algorithm = CoseAlgorithm(value)
    if algorithm.is_mac != (tag == TAG_MAC0):
        raise EvidenceError(f"algorithm {algorithm.name} does not belong into a message of tag {tag}")
    return algorithm


def verify_sign1(message: CoseMessage, key: ec.EllipticCurvePublicKey) -> None:
    """Check the signature with the signer's key; AuthenticationError if the key or the signature is another's."""
    if message.tag != TAG_SIGN1:
        raise AuthenticationError("the evidence has an authentication code, which no public key can check")
    curve = _CURVES[message.algorithm]
    if key.curve.name != curve.name:
        raise AuthenticationError(f"a key on {key.curve.name} does not sign with {message.algorithm.name}")
    signature, width = message.authenticator, curve.width_bytes
    if len(signature) != 2 * width:
        raise AuthenticationError(f"a signature with {message.algorithm.name} has {2 * width} bytes")
    r, s = int.from_bytes(signature[:width], "big"), int.from_bytes(signature[width:], "big")
    digest = hashes.Hash(message.algorithm.hash_algorithm)
    digest.update(message.authenticated_bytes)
    try:
        ecdsa = ec.ECDSA(Prehashed(message.algorithm.hash_algorithm))
        key.verify(encode_dss_signature(r, s), digest.finalize(), ecdsa)
    except InvalidSignature as error:
        raise AuthenticationError("the signature is not this key's") from error


def verify_mac0(message: CoseMessage, key: MacKey) -> None:
    """Check the authentication code with the shared key; AuthenticationError if the key or the code is another's."""
    if message.tag != TAG_MAC0:
        raise AuthenticationError("the evidence is signed, which no shared key can check")
    if message.algorithm is not key.algorithm:
        raise AuthenticationError(f"a key for {key.algorithm.name} does not check {message.algorithm.name}")
    try:
        key.authenticate(message.authenticated_bytes).verify(message.authenticator)
    except InvalidSignature as error:
        raise AuthenticationError("the authentication code is not this key's") from error
