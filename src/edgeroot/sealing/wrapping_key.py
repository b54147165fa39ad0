"""The wrapping key: AES-256-GCM under a key derived from 32 secret bytes.

Sealed blob, version 1: version u8 (1), nonce (12 bytes), ciphertext, tag (16 bytes). The additional data is the version
followed by the caller's context. Nonces are random, so one wrapping key must not seal more than 2^32 blobs
(NIST SP 800-38D, clause 8.3).
"""

from __future__ import annotations

import os
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from edgeroot.psa import Secret
from edgeroot.sealing.errors import SealingError

SECRET_BYTES: Final = 32
_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_HEAD_BYTES: Final = len(_VERSION) + _NONCE_BYTES
_FINGERPRINT_BYTES: Final = 16


class WrappingKey(Protocol):
    """Seals and unseals; implementations differ in where the key is kept."""

    @property
    def fingerprint(self) -> bytes:
        """16 bytes that identify the key and tell nothing about it."""

    def seal(self, plaintext: Secret, context: bytes) -> bytes:
        """The plaintext, encrypted and bound to a context that must be named again to unseal it."""

    def unseal(self, blob: bytes, context: bytes) -> Secret:
        """The plaintext; SealingError if the blob was changed, or sealed with another key or for another context."""


class SoftwareWrappingKey:
    """A wrapping key in memory, made from 32 secret bytes; SealingError if their number is another."""

    __slots__ = ("_aead", "fingerprint")

    def __init__(self, secret: Secret) -> None:
        if len(secret) != SECRET_BYTES:
            raise SealingError(f"a wrapping key is made from {SECRET_BYTES} secret bytes, not {len(secret)}")
        self._aead = AESGCM(_derive(secret, b"edgeroot sealing v1: encryption", SECRET_BYTES))
        self.fingerprint: Final = _derive(secret, b"edgeroot sealing v1: fingerprint", _FINGERPRINT_BYTES)

    def seal(self, plaintext: Secret, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, plaintext, _VERSION + context)

    def unseal(self, blob: bytes, context: bytes) -> Secret:
        if blob[:1] != _VERSION or len(blob) < _HEAD_BYTES + _TAG_BYTES:
            raise SealingError("this is no sealed blob of version 1")
        try:
            return Secret(self._aead.decrypt(blob[1:_HEAD_BYTES], blob[_HEAD_BYTES:], _VERSION + context))
        except InvalidTag as error:
            raise SealingError("the sealed data was changed, or belongs to another key or place") from error

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.fingerprint.hex()}>"


def _derive(secret: bytes, info: bytes, length_bytes: int) -> bytes:
    return HKDF(SHA256(), length_bytes, salt=None, info=info).derive(secret)
