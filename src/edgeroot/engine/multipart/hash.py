"""Hashes in several parts (PSA Crypto API 1.2, clause 10.2.4)."""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives import hashes

from edgeroot.engine.errors import bad_state, invalid_argument, invalid_signature, not_supported
from edgeroot.engine.hashes import HASHES
from edgeroot.psa import Algorithm


class HashOperation:
    """A hash under way."""

    __slots__ = ("_context",)

    def __init__(self, context: hashes.Hash) -> None:
        self._context: hashes.Hash | None = context

    def update(self, data: bytes) -> None:
        self._active().update(data)

    def finish(self) -> bytes:
        digest = self._active().finalize()
        self._context = None
        return digest

    def verify(self, hash_value: bytes) -> None:
        """INVALID_SIGNATURE if the hash is another; the operation has ended in either case."""
        if not hmac.compare_digest(self.finish(), hash_value):
            raise invalid_signature()

    def clone(self) -> HashOperation:
        """Another operation that goes on from here."""
        return HashOperation(self._active().copy())

    def _active(self) -> hashes.Hash:
        if self._context is None:
            raise bad_state("the hash is finished")
        return self._context


def hash_setup(alg: Algorithm) -> HashOperation:
    """INVALID_ARGUMENT for what is no hash, NOT_SUPPORTED for one that the library does not have."""
    if not alg.is_hash or alg.is_wildcard:
        raise invalid_argument(f"{alg!r} is no hash")
    algorithm: Final = HASHES.get(alg.hash) if alg.hash is not None else None
    if algorithm is None:
        raise not_supported(f"hash algorithm {alg!r}")
    return HashOperation(hashes.Hash(algorithm))
