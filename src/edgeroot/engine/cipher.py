"""Block and stream ciphers: unauthenticated encryption, AEAD, and the MACs built on block ciphers (PSA Crypto API 1.2,
clauses 10.3 to 10.5).

An encryption begins with its IV: random, one block long (12 bytes for ChaCha20), none for ECB and ARC4.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4, Camellia, TripleDES
from cryptography.hazmat.decrepit.ciphers.modes import CFB, OFB
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import (
    CBC,
    CTR,
    ECB,
    XTS,
    ModeWithInitializationVector,
    ModeWithNonce,
    ModeWithTweak,
)
from cryptography.hazmat.primitives.padding import PKCS7, PaddingContext

from edgeroot.engine.aead import Aead, open_aead
from edgeroot.engine.aead import rows as aead_rows
from edgeroot.engine.errors import invalid_argument, invalid_signature, not_supported
from edgeroot.engine.key import EngineKey, Row
from edgeroot.engine.mac import MacStream, block_cipher_mac, compare, with_truncations
from edgeroot.psa import Algorithm, KeyAttributes, KeyType, PsaError, PsaStatus, Secret

_CHACHA20_NONCE_BYTES: Final = 12
# PSA starts psa_cipher_encrypt with ChaCha20 at block 0; the library takes the counter in front of the nonce.
_CHACHA20_COUNTER: Final = bytes(4)
ARC4_BITS: Final = (40, 56, 64, 80, 128, 160, 192, 256)
_DES_BYTES: Final = 8
_XTS_ONLY_BITS: Final = 512

_Mode: TypeAlias = ModeWithInitializationVector | ModeWithNonce | ModeWithTweak | ECB | None
_MODES: Final[dict[Algorithm, Callable[[bytes], _Mode]]] = {
    Algorithm.CTR: CTR,
    Algorithm.CFB: CFB,
    Algorithm.OFB: OFB,
    Algorithm.CBC_NO_PADDING: CBC,
    Algorithm.CBC_PKCS7: CBC,
    Algorithm.ECB_NO_PADDING: lambda _iv: ECB(),
    Algorithm.XTS: XTS,
}
_WHOLE_BLOCKS: Final = (Algorithm.CBC_NO_PADDING, Algorithm.ECB_NO_PADDING)
_EVERYWHERE: Final = frozenset(_MODES) - {Algorithm.CTR, Algorithm.XTS}
# CTR with Camellia and DES is not in the library; XTS is defined for AES alone.
_MODES_OF: Final[dict[KeyType, frozenset[Algorithm]]] = {
    KeyType.AES: frozenset(_MODES),
    KeyType.CAMELLIA: _EVERYWHERE,
    KeyType.DES: _EVERYWHERE,
}


def _triple_des(material: bytes) -> TripleDES:
    """DES with one key is triple DES with that key three times; with two, the first comes again."""
    return TripleDES((material + material[:_DES_BYTES] * 2)[: 3 * _DES_BYTES])


_BLOCK_CIPHERS: Final[dict[KeyType, Callable[[bytes], BlockCipherAlgorithm]]] = {
    KeyType.AES: AES,
    KeyType.CAMELLIA: Camellia,
    KeyType.DES: _triple_des,
}


class CipherKey(EngineKey):
    """A key of AES, Camellia, DES, ARC4 or ChaCha20."""

    __slots__ = ("_aeads", "_algorithm", "_material")

    def __init__(self, attributes: KeyAttributes, material: Secret) -> None:
        super().__init__(attributes)
        self._material = material
        self._aeads: dict[Algorithm, Aead] = {}
        block_cipher = _BLOCK_CIPHERS.get(attributes.key_type)
        self._algorithm = block_cipher(material) if block_cipher else None

    def aead_encrypt(self, alg: Algorithm, *, nonce: bytes, additional_data: bytes, plaintext: bytes) -> bytes:
        aead = self._aeads.get(alg) or self._open(alg)
        aead.check(nonce, len(plaintext))
        return aead.encrypt(nonce, plaintext, additional_data)

    def aead_decrypt(self, alg: Algorithm, *, nonce: bytes, additional_data: bytes, ciphertext: bytes) -> Secret:
        aead = self._aeads.get(alg) or self._open(alg)
        aead.check(nonce, len(ciphertext) - aead.tag_bytes)
        try:
            return Secret(aead.decrypt(nonce, ciphertext, additional_data))
        except InvalidTag as error:
            raise invalid_signature() from error

    def cipher_encrypt(self, alg: Algorithm, plaintext: bytes) -> bytes:
        iv = os.urandom(self._iv_bytes(alg))
        self._check_length(alg, len(plaintext))
        if alg == Algorithm.CBC_PKCS7:
            padder = PKCS7(8 * self.attributes.key_type.block_size_bytes).padder()
            plaintext = padder.update(plaintext) + padder.finalize()
        return iv + self._run(alg, iv, plaintext, encrypt=True)

    def cipher_decrypt(self, alg: Algorithm, ciphertext: bytes) -> Secret:
        iv_bytes = self._iv_bytes(alg)
        body_bytes = len(ciphertext) - iv_bytes
        if body_bytes < 0:
            raise invalid_argument("the ciphertext is shorter than its IV")
        self._check_length(alg, body_bytes)
        block_bytes = self.attributes.key_type.block_size_bytes
        if alg == Algorithm.CBC_PKCS7 and (body_bytes == 0 or body_bytes % block_bytes):
            raise invalid_argument("the ciphertext is not made of whole blocks")
        padded = self._run(alg, ciphertext[:iv_bytes], ciphertext[iv_bytes:], encrypt=False)
        if alg != Algorithm.CBC_PKCS7:
            return Secret(padded)
        unpadder = PKCS7(8 * block_bytes).unpadder()
        try:
            return Secret(unpadder.update(padded) + unpadder.finalize())
        except ValueError as error:
            raise PsaError(PsaStatus.INVALID_PADDING) from error

    @property
    def material(self) -> Secret:
        return self._material

    def check_aead(self, alg: Algorithm) -> None:
        """INVALID_ARGUMENT or NOT_SUPPORTED unless the algorithm works with this key."""
        if alg not in self._aeads:
            self._open(alg)

    def check_nonce(self, alg: Algorithm, nonce: bytes, plaintext_bytes: int) -> None:
        """INVALID_ARGUMENT or NOT_SUPPORTED unless the algorithm takes a nonce like this one."""
        (self._aeads.get(alg) or self._open(alg)).check(nonce, plaintext_bytes)

    def iv_bytes(self, alg: Algorithm) -> int:
        """The length of the IV; INVALID_ARGUMENT or NOT_SUPPORTED unless the key works with this algorithm."""
        return self._iv_bytes(alg)

    def stream(self, alg: Algorithm, iv: bytes, *, encrypt: bool) -> BlockStream:
        """The algorithm with this IV, ready for data."""
        context = self._context(alg, iv, encrypt=encrypt)
        block_bytes = self.attributes.key_type.block_size_bytes
        if alg == Algorithm.CBC_PKCS7:
            padding = PKCS7(8 * block_bytes)
            return _EncryptPadded(context, padding.padder()) if encrypt else _DecryptPadded(context, padding.unpadder())
        return BlockStream(context, whole_blocks_of_bytes=block_bytes if alg in _WHOLE_BLOCKS else 1, alg=alg)

    def mac_compute(self, alg: Algorithm, data: bytes) -> bytes:
        context = self.mac_context(alg)
        context.update(data)
        return context.finalize()

    def mac_context(self, alg: Algorithm) -> MacStream:
        """The MAC with this key, ready for data."""
        if self._algorithm is None or not alg.is_block_cipher_mac or self.attributes.key_bits == _XTS_ONLY_BITS:
            raise self._mismatch(f"compute a MAC with {alg!r}")
        return block_cipher_mac(self._algorithm, alg)

    def mac_verify(self, alg: Algorithm, data: bytes, mac: bytes) -> None:
        compare(self.mac_compute(alg, data), mac)

    def _open(self, alg: Algorithm) -> Aead:
        aead = self._aeads[alg] = open_aead(self.attributes, self._material, alg)
        return aead

    def _iv_bytes(self, alg: Algorithm) -> int:
        """The length of the IV; raises if the key cannot work with this algorithm."""
        key_type, key_bits = self.attributes.key_type, self.attributes.key_bits
        if self._algorithm is None:
            if alg != Algorithm.STREAM_CIPHER:
                raise self._mismatch(f"encrypt with {alg!r}")
            return _CHACHA20_NONCE_BYTES if key_type == KeyType.CHACHA20 else 0
        if not alg.is_cipher or alg == Algorithm.STREAM_CIPHER:
            raise self._mismatch(f"encrypt with {alg!r}")
        if alg not in _MODES_OF[key_type]:
            raise not_supported(f"{alg!r} with a key of type {key_type!r}")
        if key_bits not in _mode_bits(key_type, alg):
            raise invalid_argument(f"{alg!r} does not take a key of {key_bits} bits")
        return 0 if alg == Algorithm.ECB_NO_PADDING else key_type.block_size_bytes

    def _check_length(self, alg: Algorithm, length_bytes: int) -> None:
        block_bytes = self.attributes.key_type.block_size_bytes
        if alg in _WHOLE_BLOCKS and length_bytes % block_bytes:
            raise invalid_argument(f"{alg!r} takes whole blocks of {block_bytes} bytes")
        if alg == Algorithm.XTS and length_bytes < block_bytes:
            raise invalid_argument(f"{alg!r} takes one block of {block_bytes} bytes at least")

    def _run(self, alg: Algorithm, iv: bytes, data: bytes, *, encrypt: bool) -> bytes:
        context = self._context(alg, iv, encrypt=encrypt)
        return context.update(data) + context.finalize()

    def _context(self, alg: Algorithm, iv: bytes, *, encrypt: bool) -> CipherContext:
        cipher: Cipher[_Mode]
        if self._algorithm is not None:
            cipher = Cipher(self._algorithm, _MODES[alg](iv))
        elif self.attributes.key_type == KeyType.CHACHA20:
            cipher = Cipher(ChaCha20(self._material, _CHACHA20_COUNTER + iv), None)
        else:
            cipher = Cipher(ARC4(self._material), None)
        try:
            return cipher.encryptor() if encrypt else cipher.decryptor()
        except ValueError as error:
            # XTS refuses a key whose halves are equal.
            raise invalid_argument(f"the key cannot be used with {alg!r}") from error


class BlockStream:
    """Data through a cipher as it comes."""

    def __init__(self, context: CipherContext, *, whole_blocks_of_bytes: int, alg: Algorithm) -> None:
        self._context = context
        self._block_bytes = whole_blocks_of_bytes
        self._alg = alg
        self._length_bytes = 0

    def update(self, data: bytes) -> bytes:
        self._length_bytes += len(data)
        return self._context.update(data)

    def finalize(self) -> bytes:
        if self._length_bytes % self._block_bytes:
            raise invalid_argument(f"{self._alg!r} takes whole blocks of {self._block_bytes} bytes")
        return self._context.finalize()


class _EncryptPadded(BlockStream):
    def __init__(self, context: CipherContext, padder: PaddingContext) -> None:
        super().__init__(context, whole_blocks_of_bytes=1, alg=Algorithm.CBC_PKCS7)
        self._padder = padder

    def update(self, data: bytes) -> bytes:
        return self._context.update(self._padder.update(data))

    def finalize(self) -> bytes:
        return self._context.update(self._padder.finalize()) + self._context.finalize()


class _DecryptPadded(BlockStream):
    def __init__(self, context: CipherContext, unpadder: PaddingContext) -> None:
        super().__init__(context, whole_blocks_of_bytes=1, alg=Algorithm.CBC_PKCS7)
        self._unpadder = unpadder

    def update(self, data: bytes) -> bytes:
        self._length_bytes += len(data)
        return self._unpadder.update(self._context.update(data))

    def finalize(self) -> bytes:
        try:
            rest = self._context.finalize()
        except ValueError as error:
            raise invalid_argument("the ciphertext is not made of whole blocks") from error
        if not self._length_bytes:
            raise invalid_argument("the ciphertext is not made of whole blocks")
        try:
            return self._unpadder.update(rest) + self._unpadder.finalize()
        except ValueError as error:
            raise PsaError(PsaStatus.INVALID_PADDING) from error


def _mode_bits(key_type: KeyType, alg: Algorithm) -> tuple[int, ...]:
    if key_type == KeyType.DES:
        return (64, 128, 192)
    return (256, _XTS_ONLY_BITS) if alg == Algorithm.XTS else (128, 192, 256)


def rows() -> tuple[Row, ...]:
    """What keys of ciphers can do."""
    stream = frozenset((Algorithm.STREAM_CIPHER,))
    table = [
        Row(("cipher_encrypt", "cipher_decrypt"), KeyType.ARC4, ARC4_BITS, stream),
        Row(("cipher_encrypt", "cipher_decrypt"), KeyType.CHACHA20, (256,), stream),
    ]
    for key_type, supported in _MODES_OF.items():
        key_bits = _mode_bits(key_type, Algorithm.CBC_PKCS7)
        block_bytes = key_type.block_size_bytes
        macs = with_truncations(Algorithm.CMAC, block_bytes) | with_truncations(Algorithm.CBC_MAC, block_bytes)
        table += (
            Row(("cipher_encrypt", "cipher_decrypt"), key_type, key_bits, supported - {Algorithm.XTS}),
            Row(("mac_compute", "mac_verify"), key_type, key_bits, macs),
        )
    xts = frozenset((Algorithm.XTS,))
    table.append(Row(("cipher_encrypt", "cipher_decrypt"), KeyType.AES, _mode_bits(KeyType.AES, Algorithm.XTS), xts))
    return tuple(table) + aead_rows()
