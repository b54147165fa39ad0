"""Keys between PSA's export formats and the attributes of PKCS#11 objects.

RSA: the parts of PKCS#1 (PKCS#11 v3.0 §2.1). Curves: CKA_EC_PARAMS is the DER of the curve's object identifier,
CKA_EC_POINT that of an OCTET STRING with the uncompressed point; some modules leave the latter's frame away
(§2.3.3, §2.3.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from edgeroot import engine
from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.templates import Template
from edgeroot.psa import EccFamily, KeyAttributes, KeyType, PsaError, PsaStatus, Secret

PUBLIC_EXPONENT: Final = b"\1\0\1"
CURVES: Final[dict[tuple[EccFamily, int], bytes]] = {
    (EccFamily.SECP_R1, 192): bytes.fromhex("06082a8648ce3d030101"),
    (EccFamily.SECP_R1, 224): bytes.fromhex("06052b81040021"),
    (EccFamily.SECP_R1, 256): bytes.fromhex("06082a8648ce3d030107"),
    (EccFamily.SECP_R1, 384): bytes.fromhex("06052b81040022"),
    (EccFamily.SECP_R1, 521): bytes.fromhex("06052b81040023"),
    (EccFamily.SECP_K1, 192): bytes.fromhex("06052b8104001f"),
    (EccFamily.SECP_K1, 256): bytes.fromhex("06052b8104000a"),
    (EccFamily.BRAINPOOL_P_R1, 160): bytes.fromhex("06092b2403030208010101"),
    (EccFamily.BRAINPOOL_P_R1, 192): bytes.fromhex("06092b2403030208010103"),
    (EccFamily.BRAINPOOL_P_R1, 224): bytes.fromhex("06092b2403030208010105"),
    (EccFamily.BRAINPOOL_P_R1, 256): bytes.fromhex("06092b2403030208010107"),
    (EccFamily.BRAINPOOL_P_R1, 320): bytes.fromhex("06092b2403030208010109"),
    (EccFamily.BRAINPOOL_P_R1, 384): bytes.fromhex("06092b240303020801010b"),
    (EccFamily.BRAINPOOL_P_R1, 512): bytes.fromhex("06092b240303020801010d"),
}
RSA_PRIVATE_PARTS: Final = (
    ck.CKA_MODULUS,
    ck.CKA_PUBLIC_EXPONENT,
    ck.CKA_PRIVATE_EXPONENT,
    ck.CKA_PRIME_1,
    ck.CKA_PRIME_2,
    ck.CKA_EXPONENT_1,
    ck.CKA_EXPONENT_2,
    ck.CKA_COEFFICIENT,
)
RSA_PUBLIC_PARTS: Final = (ck.CKA_MODULUS, ck.CKA_PUBLIC_EXPONENT)
_UNCOMPRESSED: Final = 4


def curve_parameters(attributes: KeyAttributes) -> bytes:
    """CKA_EC_PARAMS; NOT_SUPPORTED for a curve that has no name here."""
    found = CURVES.get((attributes.key_type.ecc_family, attributes.key_bits))
    if found is None:
        raise PsaError(
            PsaStatus.NOT_SUPPORTED, f"{attributes.key_type!r} of {attributes.key_bits} bits is no curve of PKCS#11's"
        )
    return found


def width_bytes(key_bits: int) -> int:
    """How wide a coordinate of a curve of this size is."""
    return (key_bits + 7) // 8


def checked(attributes: KeyAttributes, material: Secret) -> KeyAttributes:
    """The attributes with the size that the material has; INVALID_ARGUMENT for anything malformed."""
    return engine.import_material(attributes, material)[0]


def imported_parts(attributes: KeyAttributes, material: Secret) -> tuple[Template, Template]:
    """What the private (or secret) object and the public one are made of; either may be empty.

    ``attributes`` are those that :func:`checked` gave.
    """
    key_type = attributes.key_type
    if key_type.is_rsa:
        return _rsa_parts(key_type, material)
    if not key_type.is_ecc:
        return {ck.CKA_VALUE: material}, {}
    parameters = curve_parameters(attributes)
    if key_type.is_public_key:
        return {}, {ck.CKA_EC_PARAMS: parameters, ck.CKA_EC_POINT: framed_point(material)}
    pair = engine.load(attributes, engine.import_material(attributes, material)[1])
    private: Template = {ck.CKA_EC_PARAMS: parameters, ck.CKA_VALUE: bytes(material)}
    return private, {ck.CKA_EC_PARAMS: parameters, ck.CKA_EC_POINT: framed_point(pair.export_public())}


def exported_rsa_pair(parts: Sequence[bytes]) -> Secret:
    """The DER of RSAPrivateKey from the values of :data:`RSA_PRIVATE_PARTS`."""
    n, e, d, p, q, dmp1, dmq1, iqmp = (int.from_bytes(part, "big") for part in parts)
    numbers = rsa.RSAPrivateNumbers(
        p=p, q=q, d=d, dmp1=dmp1, dmq1=dmq1, iqmp=iqmp, public_numbers=rsa.RSAPublicNumbers(e, n)
    )
    try:
        key = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    except ValueError as error:
        raise PsaError(PsaStatus.DATA_INVALID, "the token gave numbers that are no RSA key") from error
    return Secret(key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()))


def exported_rsa_public(parts: Sequence[bytes]) -> bytes:
    """The DER of RSAPublicKey from the values of :data:`RSA_PUBLIC_PARTS`."""
    n, e = (int.from_bytes(part, "big") for part in parts)
    try:
        key = rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError as error:
        raise PsaError(PsaStatus.DATA_INVALID, "the token gave numbers that are no RSA key") from error
    return key.public_bytes(Encoding.DER, PublicFormat.PKCS1)


def exported_point(attributes: KeyAttributes, value: bytes) -> bytes:
    """The point 04 || X || Y in CKA_EC_POINT, framed or not."""
    size = 1 + 2 * width_bytes(attributes.key_bits)
    point = value[-size:]
    if len(point) != size or point[0] != _UNCOMPRESSED or value not in (point, framed_point(point)):
        raise PsaError(PsaStatus.DATA_INVALID, "the token gave no uncompressed point of the key's curve")
    return bytes(point)


def framed_point(point: bytes) -> bytes:
    """The DER of an OCTET STRING."""
    length = len(point)
    # Points have at most 133 bytes, so one byte says how long; from 128 on a byte says that it does (X.690 §8.1.3).
    head = bytes((4, length)) if length < 0x80 else bytes((4, 0x81, length))
    return head + point


def exported_scalar(attributes: KeyAttributes, value: bytes) -> Secret:
    """The private scalar as wide as the curve: modules may leave leading zeros away."""
    width = width_bytes(attributes.key_bits)
    return Secret(value.lstrip(b"\0").rjust(width, b"\0"))


def _rsa_parts(key_type: KeyType, material: Secret) -> tuple[Template, Template]:
    if key_type.is_public_key:
        public_key = load_der_public_key(bytes(material))
        assert isinstance(public_key, rsa.RSAPublicKey)
        return {}, _numbers(public_key.public_numbers())
    private_key = load_der_private_key(bytes(material), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(private_key, rsa.RSAPrivateKey)
    numbers = private_key.private_numbers()
    public = _numbers(numbers.public_numbers)
    secret = (numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp)
    private = public | dict(zip(RSA_PRIVATE_PARTS[2:], map(_big_integer, secret), strict=True))
    return private, public


def _numbers(numbers: rsa.RSAPublicNumbers) -> Template:
    return {ck.CKA_MODULUS: _big_integer(numbers.n), ck.CKA_PUBLIC_EXPONENT: _big_integer(numbers.e)}


def _big_integer(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
