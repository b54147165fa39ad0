"""Sign a file as CMS (RFC 5652) with a key that stays in the service.

Usage: python -m examples.cms_signature FILE > FILE.p7s      (the signer's certificate is written to signer.pem)
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

from edgeroot.client import Client
from examples.keys import signing_key


def main() -> None:
    """Sign, and print the signature in PEM."""
    with Client() as client:
        key = signing_key(client, "example-cms")
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example signer")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=30))
            .sign(key, hashes.SHA256())
        )
        Path("signer.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        builder = pkcs7.PKCS7SignatureBuilder().set_data(Path(sys.argv[1]).read_bytes())
        signed = builder.add_signer(certificate, key, hashes.SHA256())
        options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary]
        sys.stdout.write(signed.sign(Encoding.PEM, options).decode())


if __name__ == "__main__":
    main()
