"""Keys in files, PEM and DER, turned into PSA's formats and back (Parsec book, "Operations": PsaImportKey)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509 import load_pem_x509_certificate

from edgeroot.cli.errors import CommandError
from edgeroot.psa import EccFamily, KeyAttributes, KeyType, Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey | x448.X448PrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | x25519.X25519PublicKey | x448.X448PublicKey
_FAMILIES: Final = {
    "secp192r1": EccFamily.SECP_R1,
    "secp224r1": EccFamily.SECP_R1,
    "secp256r1": EccFamily.SECP_R1,
    "secp384r1": EccFamily.SECP_R1,
    "secp521r1": EccFamily.SECP_R1,
    "secp256k1": EccFamily.SECP_K1,
    "brainpoolP256r1": EccFamily.BRAINPOOL_P_R1,
    "brainpoolP384r1": EccFamily.BRAINPOOL_P_R1,
    "brainpoolP512r1": EccFamily.BRAINPOOL_P_R1,
}


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key that was read: PSA's type, size and bytes."""

    key_type: KeyType
    key_bits: int
    data: Secret


def read_key(data: bytes, passphrase: bytes | None) -> KeyFile:
    """A private or public key, or a certificate's key, from PEM or DER; CommandError if it is none of these."""
    key = _load(data, passphrase)
    if isinstance(key, rsa.RSAPrivateKey):
        der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        return KeyFile(KeyType.RSA_KEY_PAIR, key.key_size, Secret(der))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        scalar = key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8)
        return KeyFile(KeyType.ecc_key_pair(_family(key.curve)), key.key_size, Secret(scalar))
    if isinstance(key, x25519.X25519PrivateKey | x448.X448PrivateKey):
        bits = 255 if isinstance(key, x25519.X25519PrivateKey) else 448
        return KeyFile(KeyType.ecc_key_pair(EccFamily.MONTGOMERY), bits, Secret(key.private_bytes_raw()))
    if isinstance(key, rsa.RSAPublicKey):
        return KeyFile(KeyType.RSA_PUBLIC_KEY, key.key_size, Secret(_public_bytes(key)))
    if isinstance(key, ec.EllipticCurvePublicKey):
        return KeyFile(KeyType.ecc_public_key(_family(key.curve)), key.key_size, Secret(_public_bytes(key)))
    if isinstance(key, x25519.X25519PublicKey | x448.X448PublicKey):
        bits = 255 if isinstance(key, x25519.X25519PublicKey) else 448
        return KeyFile(KeyType.ecc_public_key(EccFamily.MONTGOMERY), bits, Secret(key.public_bytes_raw()))
    raise CommandError(f"Parsec has no keys of the kind {type(key).__name__}: use RSA, a NIST curve, X25519 or X448")


def peer_key_bytes(data: bytes) -> bytes:
    """A peer's public key as PSA wants it, from PEM or DER; any other bytes are taken for PSA's form already."""
    try:
        key = load_pem_public_key(data) if data.lstrip().startswith(b"-----") else load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        if data.lstrip().startswith(b"-----"):
            raise CommandError("the peer's file holds no public key: export one there") from error
        return data
    if not isinstance(key, ec.EllipticCurvePublicKey | x25519.X25519PublicKey | x448.X448PublicKey):
        raise CommandError(f"no secret can be agreed with a {type(key).__name__}: the peer's key must be on a curve")
    return _public_bytes(key)


def private_key_of(attributes: KeyAttributes, data: Secret) -> PrivateKey:
    """An exported key pair as a key object; CommandError for a type that has no file format."""
    from edgeroot.client.keys.public import curve_of

    key_type = attributes.key_type
    if key_type.is_rsa:
        key = load_der_private_key(data, None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key
    if not key_type.is_ecc:
        raise CommandError("only RSA and EC key pairs have a PEM form: export with --format raw")
    if key_type.ecc_family is EccFamily.MONTGOMERY:
        if attributes.key_bits == 255:
            return x25519.X25519PrivateKey.from_private_bytes(data)
        return x448.X448PrivateKey.from_private_bytes(data)
    return ec.derive_private_key(int.from_bytes(data), curve_of(attributes))


def _load(data: bytes, passphrase: bytes | None) -> PrivateKeyTypes | PublicKeyTypes:
    pem = data.lstrip().startswith(b"-----")
    try:
        if b"-----BEGIN CERTIFICATE-----" in data:
            return load_pem_x509_certificate(data).public_key()
        if pem and b"PRIVATE KEY-----" in data:
            return load_pem_private_key(data, passphrase)
        if pem:
            return load_pem_public_key(data)
        try:
            return load_der_private_key(data, passphrase)
        except ValueError:
            return load_der_public_key(data)
    except TypeError as error:  # how the package says that a passphrase is missing or superfluous
        hint = "the key is not encrypted: leave out --passphrase-file" if passphrase else "pass --passphrase-file FILE"
        raise CommandError(f"the key's passphrase does not fit: {hint}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CommandError(
            "the file holds no key in PEM or DER that can be read with this passphrase, if any: for a key without "
            "such a form, say what it is with --type"
        ) from error


def _family(curve: ec.EllipticCurve) -> EccFamily:
    family = _FAMILIES.get(curve.name)
    if family is None:
        raise CommandError(f"Parsec has no keys on the curve {curve.name}: use a NIST curve")
    return family


def _public_bytes(key: PublicKey) -> bytes:
    if isinstance(key, rsa.RSAPublicKey):
        return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return key.public_bytes_raw()
