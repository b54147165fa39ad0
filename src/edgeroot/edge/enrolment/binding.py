"""What a device's evidence commits to: this session, the node that it wants to be, and the key that it made for it.

Whoever carries the evidence can so take it to no other session, ask for no other name with it, and get no certificate
for a key of their own. That somebody has a device attest for them is not kept out by this; the verifier's policy says
who on a device may ask for evidence (``client_ids``, ``tpm_application``).
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

SEED_BYTES: Final = 32
DIGEST_BYTES: Final = 32
_DOMAIN: Final = b"edgeroot enrolment 1\0"
_NAME_MAX_CHARACTERS: Final = 63
"""A kubelet's own bound: the name is also the value of the label kubernetes.io/hostname."""
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DERIVED_CHARACTERS: Final = 16


def challenge_of(seed: bytes, *, node_name: str, key_digest: bytes) -> bytes:
    """The challenge of 32 bytes. ``node_name`` is empty for a device that does not care, ``key_digest`` without a key.

    The digest is SHA-256 of the key's SubjectPublicKeyInfo in DER.
    """
    if len(seed) != SEED_BYTES or len(key_digest) not in (0, DIGEST_BYTES):
        raise ValueError("a seed and a digest have 32 bytes")
    name = node_name.encode()
    return sha256(_DOMAIN + seed + bytes([len(key_digest)]) + key_digest + name).digest()


def is_node_name(name: str) -> bool:
    """Whether a node can be called so (RFC 1123, a subdomain in lower case), and its host name label too."""
    return len(name) <= _NAME_MAX_CHARACTERS and _NAME.fullmatch(name) is not None


def derived_name(device: str) -> str:
    """The name of a node that nobody has named. ``device`` in hexadecimal."""
    return f"edge-{sha256(bytes.fromhex(device)).hexdigest()[:_DERIVED_CHARACTERS]}"
