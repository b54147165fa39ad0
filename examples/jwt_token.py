"""Issue a JSON Web Token (RFC 7519) with PyJWT, signed by a key that stays in the service.

Usage: python -m examples.jwt_token SUBJECT > token      (what verifies it is written to issuer.pem)
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edgeroot.client import Client
from examples.keys import signing_key


def main() -> None:
    """Issue a token that is good for five minutes."""
    with Client() as client:
        key = signing_key(client, "example-jwt")
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        Path("issuer.pem").write_bytes(public)
        now = datetime.now(UTC)
        claims = {"sub": sys.argv[1], "iat": now, "exp": now + timedelta(minutes=5)}
        print(jwt.encode(claims, key, algorithm="ES256"))


if __name__ == "__main__":
    main()
