from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11.material import (
    CURVES,
    RSA_PRIVATE_PARTS,
    checked,
    curve_parameters,
    exported_point,
    exported_rsa_pair,
    exported_scalar,
    imported_parts,
)
from edgeroot.psa import Algorithm, EccFamily, KeyAttributes, KeyType, PsaError, PsaStatus, Secret, UsageFlags

P256, P521 = ec.SECP256R1(), ec.SECP521R1()


def attributes(key_type: KeyType, key_bits: int) -> KeyAttributes:
    return KeyAttributes(key_type, key_bits, UsageFlags.NONE, Algorithm.NONE)


def ecc(key_bits: int, family: EccFamily = EccFamily.SECP_R1) -> KeyAttributes:
    return attributes(KeyType.ecc_key_pair(family), key_bits)


def dotted(der: bytes) -> str:
    """The object identifier in its DER (X.690 §8.19)."""
    assert der[0] == 6
    assert der[1] == len(der) - 2
    parts, value = [der[2] // 40, der[2] % 40], 0
    for byte in der[3:]:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            parts.append(value)
            value = 0
    return ".".join(map(str, parts))


def test_curves_have_the_names_that_others_give_them() -> None:
    known = {
        (EccFamily.SECP_R1, 192): ec.EllipticCurveOID.SECP192R1,
        (EccFamily.SECP_R1, 224): ec.EllipticCurveOID.SECP224R1,
        (EccFamily.SECP_R1, 256): ec.EllipticCurveOID.SECP256R1,
        (EccFamily.SECP_R1, 384): ec.EllipticCurveOID.SECP384R1,
        (EccFamily.SECP_R1, 521): ec.EllipticCurveOID.SECP521R1,
        (EccFamily.SECP_K1, 256): ec.EllipticCurveOID.SECP256K1,
        (EccFamily.BRAINPOOL_P_R1, 256): ec.EllipticCurveOID.BRAINPOOLP256R1,
        (EccFamily.BRAINPOOL_P_R1, 384): ec.EllipticCurveOID.BRAINPOOLP384R1,
        (EccFamily.BRAINPOOL_P_R1, 512): ec.EllipticCurveOID.BRAINPOOLP512R1,
    }
    for curve, oid in known.items():
        assert x509.ObjectIdentifier(dotted(CURVES[curve])) == oid
    assert len(set(CURVES.values())) == len(CURVES)


def test_a_curve_without_a_name_is_not_supported() -> None:
    with pytest.raises(PsaError) as raised:
        curve_parameters(ecc(225, EccFamily.SECP_K1))
    assert raised.value.status is PsaStatus.NOT_SUPPORTED


@pytest.mark.parametrize(("curve", "key_bits"), [(P256, 256), (P521, 521)])
def test_a_point_is_read_with_and_without_its_frame(curve: ec.EllipticCurve, key_bits: int) -> None:
    point = ec.generate_private_key(curve).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    frame = b"\x04\x41" if key_bits == 256 else b"\x04\x81\x85"
    assert exported_point(ecc(key_bits), point) == point
    assert exported_point(ecc(key_bits), frame + point) == point
    compressed = b"\x02" + point[1 : 1 + len(point) // 2]
    for wrong in (b"", point[:-1], b"\x05" + point, b"\x02" + point[1:], compressed, frame + point + b"\0"):
        with pytest.raises(PsaError) as raised:
            exported_point(ecc(key_bits), wrong)
        assert raised.value.status is PsaStatus.DATA_INVALID


def test_a_scalar_is_as_wide_as_the_curve() -> None:
    assert exported_scalar(ecc(521), b"\x01") == bytes(65) + b"\x01"
    assert exported_scalar(ecc(256), bytes(8) + b"\x02" * 32) == b"\x02" * 32


def test_an_ecc_pair_becomes_two_objects() -> None:
    key = ec.generate_private_key(P256)
    scalar = key.private_numbers().private_value.to_bytes(32, "big")
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    private, public = imported_parts(checked(ecc(0), Secret(scalar)), Secret(scalar))
    assert private == {ck.CKA_EC_PARAMS: CURVES[EccFamily.SECP_R1, 256], ck.CKA_VALUE: scalar}
    assert public == {ck.CKA_EC_PARAMS: CURVES[EccFamily.SECP_R1, 256], ck.CKA_EC_POINT: b"\x04\x41" + point}


def test_an_rsa_pair_comes_out_as_it_went_in() -> None:
    key = rsa.generate_private_key(65537, 2048)
    der = Secret(key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    private, public = imported_parts(attributes(KeyType.RSA_KEY_PAIR, 2048), der)
    assert list(private) == list(RSA_PRIVATE_PARTS)
    parts = [part for part in private.values() if isinstance(part, bytes)]
    assert exported_rsa_pair(parts) == der
    assert public == {number: private[number] for number in (ck.CKA_MODULUS, ck.CKA_PUBLIC_EXPONENT)}


def test_numbers_that_are_no_key_are_refused() -> None:
    with pytest.raises(PsaError) as raised:
        exported_rsa_pair([b""] * 8)
    assert raised.value.status is PsaStatus.DATA_INVALID


def test_a_secret_is_one_object() -> None:
    material = Secret(bytes(32))
    assert imported_parts(attributes(KeyType.AES, 256), material) == ({ck.CKA_VALUE: material}, {})
