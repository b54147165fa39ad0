"""Unauthenticated encryption in several parts (PSA Crypto API 1.2, clause 10.4.3)."""

from __future__ import annotations

import os
from typing import Protocol

from edgeroot.engine.cipher import CipherKey
from edgeroot.engine.errors import bad_state, invalid_argument
from edgeroot.engine.key import EngineKey
from edgeroot.psa import Algorithm


class CipherStream(Protocol):
    """What turns plaintext into ciphertext, or back, as it comes. ``finalize`` raises PsaError for a bad end."""

    def update(self, data: bytes) -> bytes: ...

    def finalize(self) -> bytes: ...


class CipherOperation:
    """An encryption or decryption under way."""

    __slots__ = ("_alg", "_encrypt", "_ended", "_key", "_stream", "iv_bytes")

    def __init__(self, key: CipherKey, alg: Algorithm, *, encrypt: bool) -> None:
        self.iv_bytes = key.iv_bytes(alg)
        self._key = key
        self._alg = alg
        self._encrypt = encrypt
        self._ended = False
        self._stream: CipherStream | None = None
        if not self.iv_bytes:
            self._stream = key.stream(alg, b"", encrypt=encrypt)

    def generate_iv(self) -> bytes:
        """A random IV, which is set. BAD_STATE when decrypting, if it is set, or if the algorithm has none."""
        if not self._encrypt:
            raise bad_state("the IV of a decryption is the encryption's")
        iv = os.urandom(self.iv_bytes)
        self.set_iv(iv)
        return iv

    def set_iv(self, iv: bytes) -> None:
        """INVALID_ARGUMENT for one of another length than the algorithm's."""
        if self._stream is not None or self._ended:
            raise bad_state("the IV is set, or the algorithm has none")
        if len(iv) != self.iv_bytes:
            raise invalid_argument(f"the IV has {len(iv)} bytes, not {self.iv_bytes}")
        self._stream = self._key.stream(self._alg, iv, encrypt=self._encrypt)

    def update(self, data: bytes) -> bytes:
        """What is complete by now: whole blocks where the algorithm works in blocks."""
        return self._active().update(data)

    def finish(self) -> bytes:
        """The rest. INVALID_ARGUMENT for a part of a block, INVALID_PADDING for a wrong padding."""
        rest = self._active().finalize()
        self._stream = None
        self._ended = True
        return rest

    def _active(self) -> CipherStream:
        if self._stream is None:
            raise bad_state("the operation is finished, or has no IV yet")
        return self._stream


def cipher_setup(key: EngineKey, alg: Algorithm, *, encrypt: bool) -> CipherOperation:
    """INVALID_ARGUMENT if the key cannot work with the algorithm, NOT_SUPPORTED if nobody can."""
    if not alg.is_cipher:
        raise invalid_argument(f"{alg!r} is no cipher")
    if not isinstance(key, CipherKey):
        raise invalid_argument(f"a key of type {key.attributes.key_type!r} cannot encrypt with {alg!r}")
    return CipherOperation(key, alg, encrypt=encrypt)
