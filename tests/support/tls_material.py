"""Certificates for keys that a service holds, and a look for such keys where they must not be."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgeroot.client import Client, templates


def self_signed(client: Client, key_name: str, common_name: str) -> bytes:
    """A certificate in PEM for 127.0.0.1 and localhost, signed by the key itself."""
    key = client.private_key(key_name)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def imported_key(client: Client, key_name: str) -> ec.EllipticCurvePrivateKey:
    """A key whose scalar the test knows, so that it can be looked for."""
    key = ec.generate_private_key(ec.SECP256R1())
    scalar = key.private_numbers().private_value.to_bytes(32)
    client.import_key(key_name, templates.ecdsa_p256(), scalar)
    return key


def holds_scalar(pid: int, key: ec.EllipticCurvePrivateKey) -> bool:
    """Whether a process has the scalar in its memory: big-endian, as in files, or in words, as OpenSSL computes."""
    scalar = key.private_numbers().private_value.to_bytes(32)
    forms = scalar, scalar[::-1]
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if "r" not in rights or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(one, 16) for one in span.split("-"))
            memory.seek(start)
            try:
                contents = memory.read(end - start)
            except OSError:  # of a device, or guarded
                continue
            if any(form in contents for form in forms):
                return True
    return False


def files_hold_scalar(folder: Path, key: ec.EllipticCurvePrivateKey) -> bool:
    scalar = key.private_numbers().private_value.to_bytes(32)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).splitlines()[1]
    contents = (path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return any(scalar in one or scalar[::-1] in one or pem in one for one in contents)
