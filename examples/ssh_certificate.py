"""An authority for ssh whose key stays in the service: it certifies a user's public key.

Usage: python -m examples.ssh_certificate USER_KEY.pub USER > USER_KEY-cert.pub

The authority's public key is written to `ssh-ca.pub`: servers believe it by `TrustedUserCAKeys`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_key,
)

from edgeroot.client import Client
from examples.keys import signing_key

VALID_S: Final = 8 * 3600


def main() -> None:
    """Certify for eight hours."""
    public = load_ssh_public_key(Path(sys.argv[1]).read_bytes())
    if not isinstance(public, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise SystemExit(f"{sys.argv[1]} is a key that ssh certifies no more")
    with Client() as client:
        key = signing_key(client, "example-ssh-ca")
        Path("ssh-ca.pub").write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")
        now_s = int(time.time())
        certificate = (
            SSHCertificateBuilder()
            .public_key(public)
            .serial(now_s)
            .type(SSHCertificateType.USER)
            .key_id(sys.argv[2].encode())
            .valid_principals([sys.argv[2].encode()])
            .valid_after(now_s - 60)
            .valid_before(now_s + VALID_S)
            .add_extension(b"permit-pty", b"")
            .sign(key)
        )
        print(certificate.public_bytes().decode())


if __name__ == "__main__":
    main()
