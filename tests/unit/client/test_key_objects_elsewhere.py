"""What others make with key objects: certificates, requests, revocation lists, CMS, JSON Web Tokens."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7
from cryptography.x509.oid import NameOID

from edgeroot.client import Client, templates
from edgeroot.client.keys import EcServiceKey, RsaServiceKey
from edgeroot.psa import KeyAttributes

NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
NOW = datetime.now(UTC)
KINDS = [
    pytest.param(templates.ecdsa_p256(), None, id="ecdsa"),
    pytest.param(templates.rsa_signing(2048), None, id="rsa"),
    pytest.param(templates.rsa_pss(2048), PSS, id="pss"),
]


def signing_key(client: Client, attributes: KeyAttributes) -> EcServiceKey | RsaServiceKey:
    client.generate_key("k", attributes)
    key = client.private_key("k")
    assert isinstance(key, EcServiceKey | RsaServiceKey)
    return key


def certificate(key: EcServiceKey | RsaServiceKey, rsa_padding: padding.PSS | None) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    return builder.sign(key, hashes.SHA256(), rsa_padding=rsa_padding)


@pytest.mark.parametrize(("attributes", "rsa_padding"), KINDS)
def test_certificate_request(client: Client, attributes: KeyAttributes, rsa_padding: padding.PSS | None) -> None:
    key = signing_key(client, attributes)
    builder = x509.CertificateSigningRequestBuilder().subject_name(NAME)
    request = builder.sign(key, hashes.SHA256(), rsa_padding=rsa_padding)
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()


@pytest.mark.parametrize(("attributes", "rsa_padding"), KINDS)
def test_certificate(client: Client, attributes: KeyAttributes, rsa_padding: padding.PSS | None) -> None:
    made = certificate(signing_key(client, attributes), rsa_padding)
    made.verify_directly_issued_by(made)


@pytest.mark.parametrize(("attributes", "rsa_padding"), KINDS)
def test_revocation_list(client: Client, attributes: KeyAttributes, rsa_padding: padding.PSS | None) -> None:
    key = signing_key(client, attributes)
    builder = x509.CertificateRevocationListBuilder().issuer_name(NAME).last_update(NOW)
    builder = builder.next_update(NOW + timedelta(days=1))
    made = builder.sign(key, hashes.SHA256(), rsa_padding=rsa_padding)
    assert made.is_signature_valid(key.public_key())


@pytest.mark.parametrize(("attributes", "rsa_padding"), KINDS)
def test_cms_that_openssl_verifies(
    client: Client, attributes: KeyAttributes, rsa_padding: padding.PSS | None, tmp_path: Path
) -> None:
    key = signing_key(client, attributes)
    own = certificate(key, rsa_padding)
    builder = (
        pkcs7.PKCS7SignatureBuilder()
        .set_data(b"content")
        .add_signer(own, key, hashes.SHA256(), rsa_padding=rsa_padding)
    )
    signed, trusted = tmp_path / "signed", tmp_path / "trusted"
    signed.write_bytes(builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary]))
    trusted.write_bytes(own.public_bytes(Encoding.PEM))
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", str(signed), "-CAfile", str(trusted)]
    verified = subprocess.run([*command, "-purpose", "any"], capture_output=True, check=False)
    assert (verified.stdout, verified.returncode) == (b"content", 0), verified.stderr


@pytest.mark.parametrize(
    ("attributes", "algorithm"),
    [
        (templates.ecdsa_p256(), "ES256"),
        (templates.ecdsa_p384(), "ES384"),
        (templates.rsa_signing(2048), "RS256"),
        (templates.rsa_pss(2048), "PS256"),
    ],
)
def test_json_web_token(client: Client, attributes: KeyAttributes, algorithm: str) -> None:
    key = signing_key(client, attributes)
    token = jwt.encode({"sub": "device"}, key, algorithm=algorithm)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert jwt.decode(token, public, algorithms=[algorithm]) == {"sub": "device"}
