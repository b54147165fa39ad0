"""Keys between PSA's formats and a TPM's structures."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from edgeroot import engine
from edgeroot.engine import EngineKey
from edgeroot.evidence.tpm_structures import (
    Alg,
    CipherPublic,
    EccPublic,
    KeyedHashPublic,
    MalformedError,
    Public,
    Reader,
    RsaPublic,
)
from edgeroot.providers.api import LoadedKey
from edgeroot.providers.tpm.reference import PublicReference, SecretReference
from edgeroot.providers.tpm.templates import CURVES, ECC_PAIR, imported_ecc, imported_rsa
from edgeroot.psa import KeyAttributes, KeyType, PsaError, PsaStatus, Secret

_UNCOMPRESSED: Final = b"\x04"
_AUTHORISATION_BYTES: Final = 20  # as many as a key may have whose name is a digest of SHA-1
_USUAL_EXPONENT: Final = 65537


class TpmKey(LoadedKey):
    """A key as parsed: what the TPM loads, if there is a secret, and the public part for what needs none."""

    __slots__ = ("_public", "secret")

    def __init__(
        self, reference: bytes, attributes: KeyAttributes, secret: SecretReference | None, public: EngineKey | None
    ) -> None:
        super().__init__(reference, attributes)
        self.secret: Final = secret
        self._public: Final = public

    @property
    def public(self) -> EngineKey:
        """INVALID_ARGUMENT for a symmetric key."""
        if self._public is None:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, f"a key of type {self.attributes.key_type!r} has no public part")
        return self._public


def width_bytes(attributes: KeyAttributes) -> int:
    """How wide a modulus, a coordinate or a scalar is."""
    return (attributes.key_bits + 7) // 8


def authorisation(attributes: KeyAttributes) -> bytes:
    """What authorises the use of a key: only with the attributes that it was made with does the TPM use it."""
    return hashlib.sha256(b"edgeroot key attributes" + bytes(attributes)).digest()[:_AUTHORISATION_BYTES]


def public_key(attributes: KeyAttributes, public: Public) -> EngineKey | None:
    """The public part in software, if there is one; DATA_CORRUPT if it is not of the attributes' type and size."""
    detail = public.detail
    width = width_bytes(attributes)
    match detail:
        case RsaPublic():
            if attributes.key_type == KeyType.RSA_KEY_PAIR and detail.key_bits == attributes.key_bits:
                return software_key(attributes, _rsa_public_der(detail))
        case EccPublic():
            if attributes.key_type == ECC_PAIR and detail.curve == CURVES.get(attributes.key_bits):
                coordinates = (number.rjust(width, b"\0") for number in (detail.x, detail.y))
                return software_key(attributes, _UNCOMPRESSED + b"".join(coordinates))
        case KeyedHashPublic():
            if attributes.key_type == KeyType.HMAC:
                return None
        case CipherPublic():
            if attributes.key_type == KeyType.AES and detail.symmetric.key_bits == attributes.key_bits:
                return None
    raise PsaError(PsaStatus.DATA_CORRUPT, "the stored key is not of the type and size that its attributes say")


def software_key(attributes: KeyAttributes, material: bytes) -> EngineKey:
    """A public key in PSA's format; DATA_CORRUPT if it is none, since it was looked at before it was stored."""
    public = replace(attributes, key_type=attributes.key_type.public_of_pair)
    try:
        return engine.load(public, Secret(material))
    except PsaError as error:
        raise PsaError(PsaStatus.DATA_CORRUPT, "the stored key has no usable public part") from error


def load_key(reference: bytes, attributes: KeyAttributes, parsed: SecretReference | PublicReference) -> TpmKey:
    if isinstance(parsed, PublicReference):
        if not attributes.key_type.is_public_key:
            raise PsaError(PsaStatus.DATA_CORRUPT, "the stored key is public, and its attributes say otherwise")
        return TpmKey(reference, attributes, None, software_key(attributes, parsed.key))
    return TpmKey(reference, attributes, parsed, public_key(attributes, parsed.public))


def _rsa_public_der(detail: RsaPublic) -> bytes:
    numbers = rsa.RSAPublicNumbers(detail.exponent or _USUAL_EXPONENT, int.from_bytes(detail.modulus, "big"))
    try:
        return numbers.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    except ValueError as error:
        raise PsaError(PsaStatus.DATA_CORRUPT, "the stored key has no usable public part") from error


def endorsement_public_key(public: Public) -> bytes:
    """The endorsement key in the format of psa_export_public_key."""
    assert isinstance(public.detail, RsaPublic), "it was made by a template of RSA"
    return _rsa_public_der(public.detail)


def importable(attributes: KeyAttributes, material: Secret) -> tuple[Public, Secret]:
    """The public area and the secret number of a pair that the engine has parsed and found sound."""
    width = width_bytes(attributes)
    if attributes.key_type == KeyType.RSA_KEY_PAIR:
        private = load_der_private_key(bytes(material), None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(private, rsa.RSAPrivateKey), "the engine said so"
        numbers = private.private_numbers()
        public = numbers.public_numbers
        if numbers.p.bit_length() * 2 != attributes.key_bits or numbers.q.bit_length() * 2 != attributes.key_bits:
            raise PsaError(PsaStatus.NOT_SUPPORTED, "the key's primes are not of the same size, as a TPM needs them")
        area = imported_rsa(attributes, public.n.to_bytes(width, "big"), public.e)
        return area, Secret(numbers.p.to_bytes(width // 2, "big"))
    point = engine.load(attributes, material).export_public()
    scalar = engine.export(attributes, material)
    return imported_ecc(attributes, point[1 : 1 + width], point[1 + width :]), scalar


def psa_signature(attributes: KeyAttributes, signature: bytes) -> bytes:
    """A TPMT_SIGNATURE (Part 2, clause 11.3.4) as PSA has it: numbers as wide as the modulus or the curve."""
    width = width_bytes(attributes)
    try:
        reader = Reader(signature)
        algorithm = reader.u16()
        reader.u16()  # the hash, which is the one that was asked for
        numbers = [reader.sized() for _ in range(2 if algorithm == Alg.ECDSA else 1)]
        reader.end()
    except MalformedError as error:
        raise PsaError(PsaStatus.COMMUNICATION_FAILURE, "the TPM's signature is malformed") from error
    return b"".join(number.lstrip(b"\0").rjust(width, b"\0") for number in numbers)


def point_of(attributes: KeyAttributes, public: bytes) -> EccPublic:
    """A public key on the same curve as this pair; INVALID_ARGUMENT if it is none."""
    peer = replace(attributes, key_type=attributes.key_type.public_of_pair)
    engine.import_material(peer, public)
    width = width_bytes(attributes)
    return EccPublic(CURVES[attributes.key_bits], x=public[1 : 1 + width], y=public[1 + width :])
