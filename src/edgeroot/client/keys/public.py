"""Public keys as the service exports them, made objects of the package ``cryptography``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import load_der_public_key

from edgeroot.client.errors import KeyPolicyError, UnexpectedResponseError
from edgeroot.psa import EccFamily, KeyAttributes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_CURVES: Final[dict[tuple[EccFamily, int], type[ec.EllipticCurve]]] = {
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


def curve_of(attributes: KeyAttributes) -> ec.EllipticCurve:
    """The curve of an EC key; KeyPolicyError for one that ``cryptography`` does not know."""
    curve = _CURVES.get((attributes.key_type.ecc_family, attributes.key_bits))
    if curve is None:
        raise KeyPolicyError(
            f"the package cryptography has no curve {attributes.key_type.ecc_family.name} of {attributes.key_bits} "
            "bits: use the client's methods"
        )
    return curve()


def load_public_key(attributes: KeyAttributes, data: bytes) -> PublicKeyTypes:
    """The key from the bytes of PsaExportPublicKey. KeyPolicyError for a type that has no class."""
    key_type = attributes.key_type
    try:
        if key_type.is_rsa:
            key = load_der_public_key(data)
            if not isinstance(key, rsa.RSAPublicKey):
                raise ValueError("the key is not an RSA key")
            return key
        if not key_type.is_ecc:
            raise KeyPolicyError(f"{key_type!r} has no public key class: use the client's methods")
        if key_type.ecc_family is EccFamily.MONTGOMERY:
            kind = x25519.X25519PublicKey if attributes.key_bits == 255 else x448.X448PublicKey
            return kind.from_public_bytes(data)
        return ec.EllipticCurvePublicKey.from_encoded_point(curve_of(attributes), data)
    except KeyPolicyError:
        raise
    except ValueError as error:
        raise UnexpectedResponseError(
            f"the service exported no {key_type!r} of {attributes.key_bits} bits: see its log"
        ) from error
