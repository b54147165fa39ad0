"""Sign many messages at once with asyncio, and check each signature without the service.

Usage: sign_many.py COUNT        (PARSEC_SERVICE_ENDPOINT says where the service is)
"""

from __future__ import annotations

import asyncio
import sys
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from edgeroot.client import AsyncClient, templates
from edgeroot.psa import Algorithm, Hash

KEY_NAME: Final = "sign-many"
ECDSA: Final = Algorithm.ecdsa(Hash.SHA_256)


async def main(count: int) -> None:
    """Make a key, use it, destroy it."""
    messages = [f"message {number}".encode() for number in range(count)]
    async with AsyncClient() as client:
        await client.generate_key(KEY_NAME, templates.ecdsa_p256())
        try:
            point = await client.export_public_key(KEY_NAME)
            digests = [sha256(message).digest() for message in messages]
            signatures = await asyncio.gather(*(client.sign_hash(KEY_NAME, ECDSA, digest) for digest in digests))
        finally:
            await client.destroy_key(KEY_NAME)
    public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    for message, signature in zip(messages, signatures, strict=True):
        # PSA's form of an ECDSA signature is r and s, one behind the other; the package cryptography wants DER.
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        public_key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    print(f"{count} signatures, all good")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
