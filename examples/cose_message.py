"""Sign a message as COSE_Sign1 (RFC 9052) with a key that stays in the service.

Usage: python -m examples.cose_message MESSAGE > message.cose      (the public key is written to signer.pem)
"""

from __future__ import annotations

import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.client import Client
from edgeroot.evidence.cose import CoseAlgorithm, sign1
from edgeroot.psa import Algorithm, Hash
from examples.keys import signing_key


def main() -> None:
    """Sign, and write the message in CBOR."""
    with Client() as client:
        key = signing_key(client, "example-cose")
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        Path("signer.pem").write_bytes(public)
        signed = sign1(
            sys.argv[1].encode(),
            algorithm=CoseAlgorithm.ES256,
            sign_hash=lambda digest: client.sign_hash("example-cose", Algorithm.ecdsa(Hash.SHA_256), digest),
        )
        sys.stdout.buffer.write(signed)


if __name__ == "__main__":
    main()
