"""The three AEADs as streams, put together of the library's primitives where it has no stream itself."""

from __future__ import annotations

from struct import Struct
from typing import Final, Protocol

from cryptography.hazmat.primitives.ciphers import AEADEncryptionContext, Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, GCM
from cryptography.hazmat.primitives.poly1305 import Poly1305

from edgeroot.engine.cipher import CipherKey
from edgeroot.psa import Algorithm, Secret

_BLOCK_BYTES: Final = 16
_TWO_LENGTHS: Final = Struct("<QQ")
_SHORT_AD_BYTES: Final = 0xFF00  # SP 800-38C, A.2.2: from here on the length takes six bytes
_LENGTH_AND_NONCE_BYTES: Final = 15


class AeadStream(Protocol):
    """Additional data, then text; ``tag`` is the full tag of what has come, and ends it."""

    def update_ad(self, data: bytes) -> None: ...

    def update(self, data: bytes) -> bytes: ...

    def tag(self) -> bytes: ...


class _Gcm:
    """GCM; a decryption is CTR with GCM's counter, beside an encryption of its result that makes the tag."""

    def __init__(self, material: bytes, nonce: bytes, *, encrypt: bool) -> None:
        self._context: AEADEncryptionContext = Cipher(AES(material), GCM(nonce)).encryptor()
        self._decrypt: AEADEncryptionContext | None = None if encrypt else Cipher(AES(material), GCM(nonce)).encryptor()

    def update_ad(self, data: bytes) -> None:
        self._context.authenticate_additional_data(data)

    def update(self, data: bytes) -> bytes:
        if self._decrypt is None:
            return self._context.update(data)
        # GCM's text is XORed with a key stream, so that encrypting ciphertext gives plaintext; to encrypt that again
        # feeds the tag with the ciphertext.
        plaintext = self._decrypt.update(data)
        self._context.update(plaintext)
        return plaintext

    def tag(self) -> bytes:
        self._context.finalize()
        return self._context.tag


class _ChaCha20Poly1305:
    """RFC 8439, clause 2.8, over the library's ChaCha20 and Poly1305."""

    def __init__(self, material: bytes, nonce: bytes, *, encrypt: bool) -> None:
        key_stream = Cipher(ChaCha20(material, bytes(4) + nonce), None).encryptor()
        self._mac = Poly1305(key_stream.update(bytes(32)))
        self._context: CipherContext = Cipher(ChaCha20(material, (1).to_bytes(4, "little") + nonce), None).encryptor()
        self._encrypt = encrypt
        self._ad_bytes = 0
        self._text_bytes = -1

    def update_ad(self, data: bytes) -> None:
        self._ad_bytes += len(data)
        self._mac.update(data)

    def update(self, data: bytes) -> bytes:
        self._begin_text()
        result = self._context.update(data)
        self._text_bytes += len(data)
        self._mac.update(result if self._encrypt else data)
        return result

    def tag(self) -> bytes:
        self._begin_text()
        self._mac.update(bytes(-self._text_bytes % _BLOCK_BYTES))
        self._mac.update(_TWO_LENGTHS.pack(self._ad_bytes, self._text_bytes))
        return self._mac.finalize()

    def _begin_text(self) -> None:
        if self._text_bytes < 0:
            self._mac.update(bytes(-self._ad_bytes % _BLOCK_BYTES))
            self._text_bytes = 0


class _Ccm:
    """NIST SP 800-38C over the library's AES in CTR and in CBC, whose last block is the CBC-MAC."""

    def __init__(
        self, material: bytes, nonce: bytes, *, tag_bytes: int, ad_bytes: int, text_bytes: int, encrypt: bool
    ) -> None:
        length_bytes = _LENGTH_AND_NONCE_BYTES - len(nonce)
        self._mac = Cipher(AES(material), CBC(bytes(_BLOCK_BYTES))).encryptor()
        self._last = bytes(_BLOCK_BYTES)
        self._pending = b""
        counter = bytes((length_bytes - 1,)) + nonce + bytes(length_bytes)
        self._context: CipherContext = Cipher(AES(material), CTR(counter)).encryptor()
        self._mask = self._context.update(bytes(_BLOCK_BYTES))
        self._encrypt = encrypt
        self._in_text = False
        flags = (64 if ad_bytes else 0) | (tag_bytes - 2) // 2 << 3 | (length_bytes - 1)
        self._feed(bytes((flags,)) + nonce + text_bytes.to_bytes(length_bytes))
        if 0 < ad_bytes < _SHORT_AD_BYTES:
            self._feed(ad_bytes.to_bytes(2))
        elif ad_bytes:
            self._feed(b"\xff\xfe" + ad_bytes.to_bytes(4))

    def update_ad(self, data: bytes) -> None:
        self._feed(data)

    def update(self, data: bytes) -> bytes:
        self._begin_text()
        result = self._context.update(data)
        self._feed(data if self._encrypt else result)
        return result

    def tag(self) -> bytes:
        self._begin_text()
        self._pad()
        return bytes(a ^ b for a, b in zip(self._last, self._mask, strict=True))

    def _begin_text(self) -> None:
        if not self._in_text:
            self._in_text = True
            self._pad()

    def _feed(self, data: bytes) -> None:
        data = self._pending + data
        whole = len(data) - len(data) % _BLOCK_BYTES
        self._pending = data[whole:]
        if whole:
            self._last = self._mac.update(data[:whole])[-_BLOCK_BYTES:]

    def _pad(self) -> None:
        self._feed(bytes(-len(self._pending) % _BLOCK_BYTES))


def open_stream(
    key: CipherKey, alg: Algorithm, nonce: bytes, lengths: tuple[int, int] | None, *, encrypt: bool
) -> AeadStream:
    """The algorithm ready for additional data; ``lengths`` of additional data and text are for CCM."""
    material: Secret = key.material
    if alg.aead_default == Algorithm.GCM:
        return _Gcm(material, nonce, encrypt=encrypt)
    if alg.aead_default == Algorithm.CHACHA20_POLY1305:
        return _ChaCha20Poly1305(material, nonce, encrypt=encrypt)
    ad_bytes, text_bytes = lengths or (0, 0)
    return _Ccm(
        material, nonce, tag_bytes=alg.tag_length_bytes, ad_bytes=ad_bytes, text_bytes=text_bytes, encrypt=encrypt
    )
