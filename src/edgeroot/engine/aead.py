"""Authenticated encryption with additional data (PSA Crypto API 1.2, clause 10.5); the tag stands at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from edgeroot.engine.errors import invalid_argument, not_supported
from edgeroot.engine.key import Row
from edgeroot.psa import Algorithm, KeyAttributes, KeyType

_FULL_TAG_BYTES: Final = 16
_AES_BITS: Final = (128, 192, 256)
_TAG_BYTES: Final[dict[Algorithm, tuple[int, ...]]] = {
    Algorithm.GCM: (4, 8, 12, 13, 14, 15, 16),  # NIST SP 800-38D, clause 5.2.1.2
    Algorithm.CCM: (4, 6, 8, 10, 12, 14, 16),  # NIST SP 800-38C, appendix A.1
    Algorithm.CHACHA20_POLY1305: (16,),  # RFC 8439, clause 2.8
}
_GCM_NONCE_BYTES: Final = range(8, 128 + 1)
_CCM_NONCE_BYTES: Final = range(7, 13 + 1)
_CCM_NONCE_AND_LENGTH_BYTES: Final = 15
_CHACHA20_NONCE_BYTES: Final = 12


class Aead(ABC):
    """One algorithm with one key."""

    __slots__ = ("tag_bytes",)

    def __init__(self, tag_bytes: int) -> None:
        self.tag_bytes = tag_bytes

    def check(self, nonce: bytes, plaintext_bytes: int) -> None:
        """Raises INVALID_ARGUMENT or NOT_SUPPORTED unless nonce and text have lengths that the algorithm takes."""
        if plaintext_bytes < 0:
            raise invalid_argument("the ciphertext is shorter than its tag")
        if not nonce:
            raise invalid_argument("the nonce is empty")

    @abstractmethod
    def encrypt(self, nonce: bytes, plaintext: bytes, additional_data: bytes) -> bytes: ...

    @abstractmethod
    def decrypt(self, nonce: bytes, ciphertext: bytes, additional_data: bytes) -> bytes:
        """The plaintext; raises cryptography's InvalidTag."""


class _Gcm(Aead):
    __slots__ = ("_aead", "_algorithm")

    def __init__(self, material: bytes, tag_bytes: int) -> None:
        super().__init__(tag_bytes)
        self._aead = AESGCM(material)
        self._algorithm = AES(material)

    def check(self, nonce: bytes, plaintext_bytes: int) -> None:
        super().check(nonce, plaintext_bytes)
        if len(nonce) not in _GCM_NONCE_BYTES:
            raise not_supported(f"GCM with a nonce of {len(nonce)} bytes")

    def encrypt(self, nonce: bytes, plaintext: bytes, additional_data: bytes) -> bytes:
        # A shortened tag is the beginning of the full one (NIST SP 800-38D, clause 7.1).
        ciphertext = self._aead.encrypt(nonce, plaintext, additional_data)
        return ciphertext if self.tag_bytes == _FULL_TAG_BYTES else ciphertext[: self.tag_bytes - _FULL_TAG_BYTES]

    def decrypt(self, nonce: bytes, ciphertext: bytes, additional_data: bytes) -> bytes:
        if self.tag_bytes == _FULL_TAG_BYTES:
            return self._aead.decrypt(nonce, ciphertext, additional_data)
        body, tag = ciphertext[: -self.tag_bytes], ciphertext[-self.tag_bytes :]
        context = Cipher(self._algorithm, GCM(nonce, tag, min_tag_length=self.tag_bytes)).decryptor()
        context.authenticate_additional_data(additional_data)
        return context.update(body) + context.finalize()


class _Ccm(Aead):
    __slots__ = ("_aead",)

    def __init__(self, material: bytes, tag_bytes: int) -> None:
        super().__init__(tag_bytes)
        self._aead = AESCCM(material, tag_bytes)

    def check(self, nonce: bytes, plaintext_bytes: int) -> None:
        super().check(nonce, plaintext_bytes)
        if len(nonce) not in _CCM_NONCE_BYTES:
            raise invalid_argument(f"CCM with a nonce of {len(nonce)} bytes")
        if plaintext_bytes >> 8 * (_CCM_NONCE_AND_LENGTH_BYTES - len(nonce)):
            raise invalid_argument("the text is too long for CCM with a nonce of this length")

    def encrypt(self, nonce: bytes, plaintext: bytes, additional_data: bytes) -> bytes:
        return self._aead.encrypt(nonce, plaintext, additional_data)

    def decrypt(self, nonce: bytes, ciphertext: bytes, additional_data: bytes) -> bytes:
        return self._aead.decrypt(nonce, ciphertext, additional_data)


class _ChaCha20Poly1305(Aead):
    __slots__ = ("_aead",)

    def __init__(self, material: bytes, tag_bytes: int) -> None:
        super().__init__(tag_bytes)
        self._aead = ChaCha20Poly1305(material)

    def check(self, nonce: bytes, plaintext_bytes: int) -> None:
        super().check(nonce, plaintext_bytes)
        if len(nonce) != _CHACHA20_NONCE_BYTES:
            raise invalid_argument(f"ChaCha20-Poly1305 with a nonce of {len(nonce)} bytes")

    def encrypt(self, nonce: bytes, plaintext: bytes, additional_data: bytes) -> bytes:
        return self._aead.encrypt(nonce, plaintext, additional_data)

    def decrypt(self, nonce: bytes, ciphertext: bytes, additional_data: bytes) -> bytes:
        return self._aead.decrypt(nonce, ciphertext, additional_data)


_AEADS: Final[dict[tuple[KeyType, Algorithm], type[_Gcm | _Ccm | _ChaCha20Poly1305]]] = {
    (KeyType.AES, Algorithm.GCM): _Gcm,
    (KeyType.AES, Algorithm.CCM): _Ccm,
    (KeyType.CHACHA20, Algorithm.CHACHA20_POLY1305): _ChaCha20Poly1305,
}


def open_aead(attributes: KeyAttributes, material: bytes, alg: Algorithm) -> Aead:
    """The algorithm ready for use with this key."""
    if not alg.is_aead:
        raise invalid_argument(f"{alg!r} is no authenticated encryption")
    aead = _AEADS.get((attributes.key_type, alg.aead_default))
    if aead is None:
        if attributes.key_type == KeyType.CAMELLIA and alg.aead_default in (Algorithm.GCM, Algorithm.CCM):
            raise not_supported(f"{alg!r} with Camellia")
        raise invalid_argument(f"{alg!r} does not work with a key of type {attributes.key_type!r}")
    if alg.tag_length_bytes not in _TAG_BYTES[alg.aead_default]:
        raise invalid_argument(f"{alg!r}: there is no such tag length")
    if aead is not _ChaCha20Poly1305 and attributes.key_bits not in _AES_BITS:
        raise invalid_argument(f"{alg!r} does not take a key of {attributes.key_bits} bits")
    return aead(material, alg.tag_length_bytes)


def rows() -> tuple[Row, ...]:
    """What keys of ciphers can do here."""
    return tuple(
        Row(
            ("aead_encrypt", "aead_decrypt"),
            key_type,
            (256,) if key_type == KeyType.CHACHA20 else _AES_BITS,
            frozenset(alg.with_tag_length(tag_bytes) for tag_bytes in _TAG_BYTES[alg]),
        )
        for key_type, alg in _AEADS
    )
