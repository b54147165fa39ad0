"""A small certificate authority whose key stays in the service: it answers a device's request with a certificate.

Usage: certificate_authority.py REQUEST.pem > certificate.pem        (PARSEC_SERVICE_ENDPOINT says where the service is)

The authority's key is made when it is first needed. Its own certificate is written to `ca.pem`.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edgeroot.client import Client, templates
from edgeroot.client.errors import AlreadyExistsError
from edgeroot.client.keys import EcServiceKey

KEY_NAME: Final = "example-ca"
AUTHORITY: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example CA")])
VALIDITY: Final = timedelta(days=30)


def authority_key(client: Client) -> EcServiceKey:
    """The authority's key, made if it is not there yet."""
    try:
        client.generate_key(KEY_NAME, templates.ecdsa_p384())
    except AlreadyExistsError:
        pass
    key = client.private_key(KEY_NAME)
    if not isinstance(key, EcServiceKey):
        raise TypeError(f"{KEY_NAME} is not a key on an elliptic curve")
    return key


def builder(subject: x509.Name, *, is_authority: bool) -> x509.CertificateBuilder:
    """What all certificates have in common."""
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(AUTHORITY)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )


def main(request_path: str) -> int:
    """Answer the request; 1 if whoever made it does not have the key."""
    request = x509.load_pem_x509_csr(Path(request_path).read_bytes())
    if not request.is_signature_valid:
        print("the request is not signed by its own key", file=sys.stderr)
        return 1
    with Client() as client:
        key = authority_key(client)
        own = builder(AUTHORITY, is_authority=True).public_key(key.public_key()).sign(key, hashes.SHA384())
        Path("ca.pem").write_bytes(own.public_bytes(Encoding.PEM))
        certificate = builder(request.subject, is_authority=False).public_key(request.public_key())
        issued = certificate.sign(key, hashes.SHA384())
    print(issued.public_bytes(Encoding.PEM).decode(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
