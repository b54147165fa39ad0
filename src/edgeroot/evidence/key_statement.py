"""Key statements: an attestation token that also says what one key is, and where it came from.

A statement is a PSA token of the profile of RFC 9783 with one claim more (its clause 4 lets there be others), so
whoever appraises tokens appraises the platform by it as well. The claim has the label -76000, which is for private use
(RFC 8392, clause 9.1), and is a map: 1 the key's type, 2 its size in bits, 3 usage flags, 4 permitted algorithm (PSA
Crypto API 1.2 encodings), 5 lifetime, 6 origin (:class:`edgeroot.psa.KeyOrigin`), 7 the public key in the format of
psa_export_public_key. All but the last are unsigned integers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from edgeroot.evidence.cbor import decode
from edgeroot.evidence.cose import CoseAlgorithm, verify_sign1
from edgeroot.evidence.errors import AuthenticationError, EvidenceError
from edgeroot.evidence.psa_claims import Profile, PsaClaims
from edgeroot.evidence.psa_token import PsaToken, read_token, write_token
from edgeroot.psa import Algorithm, EccFamily, KeyAttributes, KeyOrigin, KeyType, UsageFlags

_KEY: Final = -76000
_KEY_ENCODED: Final = b"\x3a\x00\x01\x28\xdf"  # in CBOR (RFC 8949, clause 3.1)
_TYPE, _BITS, _USAGE, _ALGORITHM, _LIFETIME, _ORIGIN, _PUBLIC_KEY = range(1, 8)
_NUMBERS: Final = (_TYPE, _BITS, _USAGE, _ALGORITHM, _LIFETIME, _ORIGIN)
_MAX_NUMBER: Final = 0xFFFFFFFF
_MAX_TYPE: Final = 0xFFFF
_ORIGINS: Final = frozenset(KeyOrigin)
_CURVES: Final[Mapping[tuple[EccFamily, int], type[ec.EllipticCurve]]] = {
    (EccFamily.SECP_R1, 192): ec.SECP192R1,
    (EccFamily.SECP_R1, 224): ec.SECP224R1,
    (EccFamily.SECP_R1, 256): ec.SECP256R1,
    (EccFamily.SECP_R1, 384): ec.SECP384R1,
    (EccFamily.SECP_R1, 521): ec.SECP521R1,
    (EccFamily.SECP_K1, 256): ec.SECP256K1,
    (EccFamily.BRAINPOOL_P_R1, 256): ec.BrainpoolP256R1,
    (EccFamily.BRAINPOOL_P_R1, 384): ec.BrainpoolP384R1,
    (EccFamily.BRAINPOOL_P_R1, 512): ec.BrainpoolP512R1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedKey:
    """What a statement says of a key. ``lifetime`` is psa_key_lifetime_t."""

    attributes: KeyAttributes
    lifetime: int
    origin: KeyOrigin
    public_key: bytes

    @property
    def never_left(self) -> bool:
        """Whether it was made where it is and its policy never let it out: nobody else has ever had it."""
        return self.origin is KeyOrigin.GENERATED and not self.attributes.usage & UsageFlags.EXPORT

    def subject_public_key_info(self) -> bytes:
        """The public key as certificates and certificate requests have it (RFC 5280, clause 4.1.2.7), in DER.

        EvidenceError for a type of key that has no such form here, and for a malformed key.
        """
        key_type = self.attributes.key_type
        try:
            if key_type.is_rsa:
                rsa_key = load_der_public_key(self.public_key)
                if isinstance(rsa_key, rsa.RSAPublicKey):
                    return rsa_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            elif key_type.is_ecc:
                curve = _CURVES.get((key_type.ecc_family, self.attributes.key_bits))
                if curve is not None:
                    point = ec.EllipticCurvePublicKey.from_encoded_point(curve(), self.public_key)
                    return point.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except ValueError as error:
            raise EvidenceError("the statement's public key is malformed") from error
        raise EvidenceError(f"a key of type {key_type!r} is in no certificate")


@dataclass(frozen=True, slots=True)
class KeyStatement:
    """A statement that was read. It is worth what ``token.message`` is: verify that first."""

    token: PsaToken
    key: StatedKey


def write_key_statement(
    claims: PsaClaims, key: StatedKey, *, algorithm: CoseAlgorithm, sign_hash: Callable[[bytes], bytes]
) -> bytes:
    """A statement as COSE_Sign1; ``sign_hash`` as for :func:`edgeroot.evidence.cose.sign1`."""
    attributes = key.attributes
    stated: dict[int, object] = {
        _TYPE: int(attributes.key_type),
        _BITS: attributes.key_bits,
        _USAGE: int(attributes.usage),
        _ALGORITHM: int(attributes.algorithm),
        _LIFETIME: key.lifetime,
        _ORIGIN: int(key.origin),
        _PUBLIC_KEY: key.public_key,
    }
    return write_token(claims, Profile.RFC9783, algorithm=algorithm, sign_hash=sign_hash, further={_KEY: stated})


def may_state_key(token: PsaToken) -> bool:
    """Whether it is worth the time to read a token as a statement, too."""
    return _KEY_ENCODED in token.message.payload


def read_key_statement(data: bytes) -> KeyStatement:
    """EvidenceError if the structure or a claim is wrong, or if it is a token that says nothing of a key.

    Verifies no signature.
    """
    token = read_token(data)
    entries = decode(token.message.payload, "the statement")
    stated = entries.get(_KEY) if isinstance(entries, Mapping) else None
    if token.profile is not Profile.RFC9783 or not isinstance(stated, Mapping):
        raise EvidenceError("the token says nothing of a key")
    return KeyStatement(token, _stated_key(stated))


def verify_key_statement(data: bytes, signer: ec.EllipticCurvePublicKey, *, challenge: bytes) -> KeyStatement:
    """The statement, if this attestation key signed it for this challenge.

    AuthenticationError if not; EvidenceError for what is no statement. Whether the platform is good enough, and the
    attestation key that of a known device, is for the caller to judge.
    """
    statement = read_key_statement(data)
    verify_sign1(statement.token.message, signer)
    if statement.token.claims.nonce != challenge:
        raise AuthenticationError("the statement answers another challenge")
    return statement


def _stated_key(stated: Mapping[object, object]) -> StatedKey:
    numbers = [_number(stated, label) for label in _NUMBERS]
    key_type, key_bits, usage, algorithm, lifetime, origin = numbers
    public_key = stated.get(_PUBLIC_KEY)
    if not isinstance(public_key, bytes) or not public_key:
        raise EvidenceError("the statement has no public key")
    if key_type > _MAX_TYPE or not KeyType(key_type).is_key_pair:
        raise EvidenceError(f"the statement is about a key of type {key_type:#x}, which is no pair")
    if origin not in _ORIGINS:
        raise EvidenceError(f"the statement names origin {origin}, which there is not")
    return StatedKey(
        attributes=KeyAttributes(KeyType(key_type), key_bits, UsageFlags(usage), Algorithm(algorithm)),
        lifetime=lifetime,
        origin=KeyOrigin(origin),
        public_key=public_key,
    )


def _number(stated: Mapping[object, object], label: int) -> int:
    value = stated.get(label)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_NUMBER:
        raise EvidenceError(f"entry {label} of the statement is no unsigned number of 32 bits")
    return value
