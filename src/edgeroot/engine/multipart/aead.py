"""Authenticated encryption in several parts (PSA Crypto API 1.2, clause 10.5.3).

A decryption gives plaintext before its tag is verified, as PSA says; whoever uses it earlier uses what may be forged.
"""

from __future__ import annotations

import os

from edgeroot.engine.cipher import CipherKey
from edgeroot.engine.errors import bad_state, invalid_argument
from edgeroot.engine.key import EngineKey
from edgeroot.engine.mac import compare
from edgeroot.engine.multipart.aead_streams import AeadStream, open_stream
from edgeroot.psa import Algorithm, KeyType

_NONCE_BYTES = 12  # what PSA's generators use for all three algorithms (13 would be CCM's longest)


class AeadOperation:
    """An encryption or decryption under way."""

    __slots__ = ("_ad_bytes", "_alg", "_encrypt", "_ended", "_key", "_lengths", "_stream", "_text_bytes")

    def __init__(self, key: CipherKey, alg: Algorithm, *, encrypt: bool) -> None:
        key.check_aead(alg)
        self._key = key
        self._alg = alg
        self._encrypt = encrypt
        self._ended = False
        self._lengths: tuple[int, int] | None = None
        self._stream: AeadStream | None = None
        self._ad_bytes = 0
        self._text_bytes = -1  # -1 until the text begins

    def generate_nonce(self) -> bytes:
        """A random nonce, which is set. BAD_STATE when decrypting, or if it is set."""
        if not self._encrypt:
            raise bad_state("the nonce of a decryption is the encryption's")
        nonce = os.urandom(_NONCE_BYTES)
        self.set_nonce(nonce)
        return nonce

    def set_nonce(self, nonce: bytes) -> None:
        """BAD_STATE if it is set, or if CCM does not know the lengths yet; INVALID_ARGUMENT, NOT_SUPPORTED."""
        if self._stream is not None or self._ended:
            raise bad_state("the nonce is set")
        if self._alg.aead_default == Algorithm.CCM and self._lengths is None:
            raise bad_state("CCM has to know the lengths first")
        self._key.check_nonce(self._alg, nonce, 0 if self._lengths is None else self._lengths[1])
        self._stream = open_stream(self._key, self._alg, nonce, self._lengths, encrypt=self._encrypt)

    def set_lengths(self, additional_data_bytes: int, plaintext_bytes: int) -> None:
        """How much is to come. BAD_STATE if they are set, or if the nonce is and the algorithm is CCM."""
        if self._lengths is not None or self._ended or self._ad_bytes or self._text_bytes >= 0:
            raise bad_state("the lengths are set, or data has come")
        if self._stream is not None and self._alg.aead_default == Algorithm.CCM:
            raise bad_state("CCM has to know the lengths before the nonce")
        self._lengths = additional_data_bytes, plaintext_bytes

    def update_ad(self, data: bytes) -> None:
        """More additional data. BAD_STATE without a nonce or after text; INVALID_ARGUMENT beyond the set length."""
        stream = self._active()
        if self._text_bytes >= 0:
            raise bad_state("additional data comes before the text")
        if self._lengths is not None and self._ad_bytes + len(data) > self._lengths[0]:
            raise invalid_argument("more additional data than was said")
        self._ad_bytes += len(data)
        stream.update_ad(data)

    def update(self, data: bytes) -> bytes:
        """More text, and as much of the result. BAD_STATE without a nonce; INVALID_ARGUMENT beyond the set length."""
        stream = self._active()
        if self._lengths is not None:
            if self._ad_bytes != self._lengths[0]:
                raise invalid_argument("less additional data than was said")
            if max(0, self._text_bytes) + len(data) > self._lengths[1]:
                raise invalid_argument("more text than was said")
        self._text_bytes = max(0, self._text_bytes) + len(data)
        return stream.update(data)

    def finish(self) -> tuple[bytes, bytes]:
        """The rest of the ciphertext, which is empty, and the tag. BAD_STATE when decrypting."""
        if not self._encrypt:
            raise bad_state("a decryption ends with the tag's verification")
        return b"", self._tag()

    def verify(self, tag: bytes) -> bytes:
        """The rest of the plaintext, which is empty. INVALID_SIGNATURE if the tag is another; BAD_STATE."""
        if self._encrypt:
            raise bad_state("an encryption has no tag to verify")
        compare(self._tag(), tag)
        return b""

    def _tag(self) -> bytes:
        stream = self._active()
        if self._lengths is not None and (self._ad_bytes, max(0, self._text_bytes)) != self._lengths:
            raise invalid_argument("less data than was said")
        self._stream = None
        self._ended = True
        return stream.tag()[: self._alg.tag_length_bytes]

    def _active(self) -> AeadStream:
        if self._stream is None:
            raise bad_state("the operation is finished, or has no nonce yet")
        return self._stream


def aead_setup(key: EngineKey, alg: Algorithm, *, encrypt: bool) -> AeadOperation:
    """INVALID_ARGUMENT if the key cannot work with the algorithm, NOT_SUPPORTED if nobody can."""
    if not isinstance(key, CipherKey) or key.attributes.key_type == KeyType.ARC4:
        raise invalid_argument(f"a key of type {key.attributes.key_type!r} cannot encrypt with {alg!r}")
    return AeadOperation(key, alg, encrypt=encrypt)
