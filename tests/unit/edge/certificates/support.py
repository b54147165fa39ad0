"""A HardwareCertificate as the API server gives it, and keys that are not in hardware."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
CA_KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])


def resource(status: dict[str, Any] | None = None, **spec: object) -> dict[str, Any]:
    made: dict[str, Any] = {
        "metadata": {"namespace": "shop", "name": "till", "uid": "1b4e28ba-2fa1-11d2", "generation": 1},
        "spec": {
            "nodeName": "gateway-7",
            "serviceAccountName": "till",
            "signerName": "example.com/workloads",
            "commonName": "till",
            "dnsNames": ["till.shop.svc"],
            "ipAddresses": ["192.0.2.7"],
            "uris": ["spiffe://cluster.local/ns/shop/sa/till"],
            **spec,
        },
    }
    if status is not None:
        made["status"] = status
    return made


def public_bytes(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def issued(key: ec.EllipticCurvePrivateKey, *, begin: datetime = NOW, life: timedelta = timedelta(days=90)) -> bytes:
    builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(begin + life)
    return builder.sign(CA_KEY, hashes.SHA256()).public_bytes(Encoding.PEM)
