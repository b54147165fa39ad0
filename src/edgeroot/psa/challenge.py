"""Challenges of verifiers, and how one is bound to whoever passes it on."""

from __future__ import annotations

import hashlib
from struct import Struct
from typing import Final

from edgeroot.psa.status import PsaError, PsaStatus

CHALLENGE_SIZES_BYTES: Final = (32, 48, 64)
"""PSA Attestation API 2.0, PSA_INITIAL_ATTEST_CHALLENGE_SIZE_32, 48 and 64."""
_CALLER: Final = Struct(">BH")


def check_challenge(size_bytes: int) -> None:
    """PsaError INVALID_ARGUMENT unless a challenge may have this size."""
    if size_bytes not in CHALLENGE_SIZES_BYTES:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"a challenge has 32, 48 or 64 bytes, not {size_bytes}")


def bound_challenge(challenge: bytes, *, authenticator: int, application: str) -> bytes:
    """What stands for a challenge in evidence that has no other place for its caller: 32 bytes.

    SHA-256 over u8 authenticator (the number of the authentication type in the wire protocol), u16 length of the
    application's name in bytes, the name in UTF-8, challenge; integers are big-endian. It is also as much as every
    TPM takes as qualifying data (TPM 2.0 Library, Part 2, clause 10.4.3: no longer than a digest), which a challenge of
    64 bytes may not be.
    """
    name = application.encode()
    return hashlib.sha256(_CALLER.pack(authenticator, len(name)) + name + challenge).digest()
