"""Certificate requests (PKCS#10, RFC 2986) for HardwareCertificates: made, and compared with what was wished for."""

from __future__ import annotations

import ipaddress
from typing import Final, NoReturn

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from edgeroot.edge.certificates.resource import HardwareCertificate

_MAX_REQUEST_BYTES: Final = 64 * 1024
_CURVES: Final = {"secp256r1": "ECDSA-P256", "secp384r1": "ECDSA-P384"}


class RequestError(ValueError):
    """The request is not the one that the HardwareCertificate asks for; the message says in what."""


def make_request(certificate: HardwareCertificate, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """The request in PEM, signed by the key, which may be one that stays in the service."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(certificate))
    names = _alternative_names(certificate)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
        return builder.sign(key, hashes.SHA256(), rsa_padding=pss).public_bytes(Encoding.PEM)
    return builder.sign(key, hashes.SHA384() if key.key_size > 256 else hashes.SHA256()).public_bytes(Encoding.PEM)


def check_request(pem: bytes, certificate: HardwareCertificate) -> bytes:
    """The public key of a request, as SubjectPublicKeyInfo in DER, if the request says what the resource says.

    RequestError if it says anything else, or anything more, or if its key did not sign it.
    """
    if len(pem) > _MAX_REQUEST_BYTES:
        raise RequestError("the request is longer than 64 KiB")
    try:
        request = x509.load_pem_x509_csr(pem)
        public_key = request.public_key()
        extensions = list(request.extensions)
        signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, x509.UnsupportedGeneralNameType, x509.DuplicateExtension) as error:
        raise RequestError(f"the request cannot be read: {error}") from error
    if not signed:
        _refuse("its key did not sign it")
    if request.subject != _subject(certificate):
        _refuse(f"its subject is {request.subject.rfc4514_string() or 'empty'}")
    asked = [name for extension in extensions for name in _asked_names(extension)]
    if sorted(map(repr, asked)) != sorted(map(repr, _alternative_names(certificate))):
        _refuse("it has other alternative names")
    return public_key_of(public_key, certificate)


def public_key_of(public_key: object, certificate: HardwareCertificate) -> bytes:
    """A key as SubjectPublicKeyInfo in DER; RequestError unless it is of the kind that the resource asks for."""
    if not isinstance(public_key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) or (
        _kind_of(public_key) != certificate.key_algorithm
    ):
        raise RequestError(f"the request is for a key of another kind than {certificate.key_algorithm}")
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _kind_of(public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> str | None:
    if isinstance(public_key, rsa.RSAPublicKey):
        return f"RSA-{public_key.key_size}"
    return _CURVES.get(public_key.curve.name)


def _asked_names(extension: x509.Extension[x509.ExtensionType]) -> x509.SubjectAlternativeName:
    if not isinstance(extension.value, x509.SubjectAlternativeName):
        _refuse(f"it asks for the extension {extension.oid.dotted_string}")
    return extension.value


def _refuse(detail: str) -> NoReturn:
    raise RequestError(f"the request is not the one that was wished for: {detail}")


def _subject(certificate: HardwareCertificate) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in certificate.organizations]
    if certificate.common_name:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, certificate.common_name))
    return x509.Name(attributes)


def _alternative_names(certificate: HardwareCertificate) -> list[x509.GeneralName]:
    return [
        *(x509.DNSName(name) for name in certificate.dns_names),
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in certificate.ip_addresses),
        *(x509.UniformResourceIdentifier(uri) for uri in certificate.uris),
    ]
