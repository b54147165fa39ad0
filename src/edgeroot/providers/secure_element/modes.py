"""AES in PSA's modes over an element that encrypts and decrypts single blocks.

The key never leaves the element; what is chained between blocks is here. GCM's hash is computed with the element's own
multiplication; its subkey passes through this process, as it does in Microchip's library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hmac import compare_digest
from typing import Final

from edgeroot.psa import Algorithm, PsaError, PsaStatus, Secret

BLOCK_BYTES: Final = 16
GCM_TAG_BYTES: Final = (4, 8, 12, 13, 14, 15, 16)  # NIST SP 800-38D §5.2.1.2
CCM_TAG_BYTES: Final = (4, 6, 8, 10, 12, 14, 16)  # NIST SP 800-38C, appendix A.1
CIPHERS: Final = frozenset(
    {
        Algorithm.ECB_NO_PADDING,
        Algorithm.CBC_NO_PADDING,
        Algorithm.CBC_PKCS7,
        Algorithm.CTR,
        Algorithm.CFB,
        Algorithm.OFB,
    }
)
_WHOLE_BLOCKS: Final = frozenset({Algorithm.ECB_NO_PADDING, Algorithm.CBC_NO_PADDING, Algorithm.CBC_PKCS7})
_ZERO: Final = bytes(BLOCK_BYTES)
_GCM_USUAL_NONCE_BYTES: Final = 12
_GCM_NONCE_BYTES: Final = range(8, 128 + 1)
_CCM_NONCE_BYTES: Final = range(7, 13 + 1)
_CMAC_CONSTANT: Final = 0x87  # NIST SP 800-38B §5.3

Block = Callable[[bytes], bytes]


class Aes:
    """A key by what an element does with it: a block encrypted, decrypted, and two multiplied."""

    def __init__(self, encrypt: Block, decrypt: Block, multiply: Callable[[bytes, bytes], bytes]) -> None:
        self._encrypt = encrypt
        self._decrypt = decrypt
        self._multiply = multiply

    # Ciphers (PSA Crypto API, clause 10.4)

    def encrypt(self, alg: Algorithm, plaintext: bytes, random_iv: Callable[[], bytes]) -> bytes:
        """The IV, where the mode has one, and the ciphertext."""
        if alg == Algorithm.CBC_PKCS7:
            missing = BLOCK_BYTES - len(plaintext) % BLOCK_BYTES
            plaintext += bytes([missing]) * missing
        _check_blocks(alg, plaintext)
        if alg == Algorithm.ECB_NO_PADDING:
            return b"".join(self._encrypt(block) for block in _blocks(plaintext))
        iv = random_iv()
        return iv + self._chained(alg, iv, plaintext, encrypts=True)

    def decrypt(self, alg: Algorithm, ciphertext: bytes) -> Secret:
        """The plaintext; INVALID_PADDING if it has a padding that is none."""
        if alg == Algorithm.ECB_NO_PADDING:
            _check_blocks(alg, ciphertext)
            return Secret(b"".join(self._decrypt(block) for block in _blocks(ciphertext)))
        if len(ciphertext) < BLOCK_BYTES:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the ciphertext is shorter than an IV")
        iv, rest = ciphertext[:BLOCK_BYTES], ciphertext[BLOCK_BYTES:]
        _check_blocks(alg, rest)
        plaintext = self._chained(alg, iv, rest, encrypts=False)
        return _unpadded(plaintext) if alg == Algorithm.CBC_PKCS7 else Secret(plaintext)

    def _chained(self, alg: Algorithm, iv: bytes, data: bytes, *, encrypts: bool) -> bytes:
        if alg == Algorithm.CTR:
            return _xor(data, self._counted(iv, len(data), BLOCK_BYTES))
        out, last = bytearray(), iv
        for block in _blocks(data):
            if alg in _WHOLE_BLOCKS:
                done = self._encrypt(_xor(block, last)) if encrypts else _xor(self._decrypt(block), last)
                last = done if encrypts else block
            else:
                stream = self._encrypt(last)
                done = _xor(block, stream)
                last = stream if alg == Algorithm.OFB else done if encrypts else block
            out += done
        return bytes(out)

    def _counted(self, first: bytes, size: int, counter_bytes: int) -> bytes:
        """A key stream from a counter in the block's last bytes."""
        head, start = first[: BLOCK_BYTES - counter_bytes], int.from_bytes(first[BLOCK_BYTES - counter_bytes :], "big")
        numbers = range(start, start - (-size // BLOCK_BYTES))
        most = 1 << 8 * counter_bytes
        return b"".join(self._encrypt(head + (number % most).to_bytes(counter_bytes, "big")) for number in numbers)

    # Authenticated encryption (clause 10.5)

    def seal(self, alg: Algorithm, nonce: bytes, additional_data: bytes, plaintext: bytes) -> bytes:
        """The ciphertext and behind it the tag."""
        mode, tag_bytes = self._mode(alg, nonce, len(plaintext)), alg.tag_length_bytes
        ciphertext = mode.crypt(plaintext)
        return ciphertext + mode.tag(additional_data, plaintext, ciphertext)[:tag_bytes]

    def unseal(self, alg: Algorithm, nonce: bytes, additional_data: bytes, sealed: bytes) -> Secret:
        """The plaintext; INVALID_SIGNATURE if the tag does not match."""
        tag_bytes = alg.tag_length_bytes
        mode = self._mode(alg, nonce, len(sealed) - tag_bytes)
        ciphertext, tag = sealed[: len(sealed) - tag_bytes], sealed[len(sealed) - tag_bytes :]
        plaintext = mode.crypt(ciphertext)
        if not compare_digest(mode.tag(additional_data, plaintext, ciphertext)[:tag_bytes], tag):
            raise PsaError(PsaStatus.INVALID_SIGNATURE)
        return Secret(plaintext)

    def _mode(self, alg: Algorithm, nonce: bytes, plaintext_bytes: int) -> _Gcm | _Ccm:
        if plaintext_bytes < 0:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the ciphertext is shorter than its tag")
        tag_bytes = alg.tag_length_bytes
        is_gcm = alg == Algorithm.GCM.with_tag_length(tag_bytes)
        if len(nonce) not in (_GCM_NONCE_BYTES if is_gcm else _CCM_NONCE_BYTES):
            raise PsaError(PsaStatus.INVALID_ARGUMENT, f"{alg!r} takes no nonce of {len(nonce)} bytes")
        if is_gcm:
            return _Gcm(self._encrypt, self._multiply, self._counted, nonce)
        if plaintext_bytes >> 8 * (BLOCK_BYTES - 1 - len(nonce)):
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the text is too long for CCM with a nonce of this length")
        return _Ccm(self._encrypt, self._counted, nonce, tag_bytes)

    # Message authentication (clause 10.3)

    def cmac(self, data: bytes) -> bytes:
        """NIST SP 800-38B."""
        one = _doubled(self._encrypt(_ZERO))
        *blocks, last = _blocks(data) if data else (b"",)
        if len(last) == BLOCK_BYTES:
            last = _xor(last, one)
        else:
            last = _xor((last + b"\x80").ljust(BLOCK_BYTES, b"\0"), _doubled(one))
        return _cbc_mac(self._encrypt, [*blocks, last])


_Counted = Callable[[bytes, int, int], bytes]


class _Gcm:
    """NIST SP 800-38D with one nonce."""

    def __init__(
        self, encrypt: Block, multiply: Callable[[bytes, bytes], bytes], counted: _Counted, nonce: bytes
    ) -> None:
        self._multiply = multiply
        self._counted = counted
        self._subkey = encrypt(_ZERO)
        if len(nonce) == _GCM_USUAL_NONCE_BYTES:
            self._first = nonce + b"\0\0\0\x01"
        else:
            self._first = self._hash(_whole(nonce) + bytes(8) + _bits(nonce))
        self._mask = encrypt(self._first)

    def crypt(self, data: bytes) -> bytes:
        counter = (int.from_bytes(self._first[12:], "big") + 1) % (1 << 32)
        return _xor(data, self._counted(self._first[:12] + counter.to_bytes(4, "big"), len(data), 4))

    def tag(self, additional_data: bytes, _plaintext: bytes, ciphertext: bytes) -> bytes:
        lengths = _bits(additional_data) + _bits(ciphertext)
        return _xor(self._hash(_whole(additional_data) + _whole(ciphertext) + lengths), self._mask)

    def _hash(self, data: bytes) -> bytes:
        hashed = _ZERO
        for block in _blocks(data):
            hashed = self._multiply(self._subkey, _xor(hashed, block))
        return hashed


class _Ccm:
    """NIST SP 800-38C with one nonce."""

    def __init__(self, encrypt: Block, counted: _Counted, nonce: bytes, tag_bytes: int) -> None:
        self._encrypt = encrypt
        self._counted = counted
        self._nonce = nonce
        self._tag_bytes = tag_bytes
        self._length_bytes = BLOCK_BYTES - 1 - len(nonce)

    def _counter(self, number: int) -> bytes:
        head = bytes([self._length_bytes - 1]) + self._nonce
        return head + number.to_bytes(self._length_bytes, "big")

    def crypt(self, data: bytes) -> bytes:
        return _xor(data, self._counted(self._counter(1), len(data), self._length_bytes))

    def tag(self, additional_data: bytes, plaintext: bytes, _ciphertext: bytes) -> bytes:
        flags = bool(additional_data) << 6 | (self._tag_bytes - 2) // 2 << 3 | self._length_bytes - 1
        first = bytes([flags]) + self._nonce + len(plaintext).to_bytes(self._length_bytes, "big")
        before = _whole(_ccm_length(len(additional_data)) + additional_data) if additional_data else b""
        mac = _cbc_mac(self._encrypt, _blocks(first + before + _whole(plaintext)))
        return _xor(mac, self._encrypt(self._counter(0)))


def _ccm_length(size: int) -> bytes:
    """Of the additional data (appendix A.2.2)."""
    return size.to_bytes(2, "big") if size < 0xFF00 else b"\xff\xfe" + size.to_bytes(4, "big")


def _cbc_mac(encrypt: Block, blocks: Iterable[bytes]) -> bytes:
    mac = _ZERO
    for block in blocks:
        mac = encrypt(_xor(mac, block))
    return mac


def _check_blocks(alg: Algorithm, data: bytes) -> None:
    if alg in _WHOLE_BLOCKS and len(data) % BLOCK_BYTES:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"{alg!r} works on whole blocks of {BLOCK_BYTES} bytes")


def _unpadded(padded: bytes) -> Secret:
    size = padded[-1] if padded else 0
    if not 1 <= size <= BLOCK_BYTES or padded[-size:] != bytes([size]) * size:
        raise PsaError(PsaStatus.INVALID_PADDING, "the padding is wrong")
    return Secret(padded[:-size])


def _blocks(data: bytes) -> list[bytes]:
    return [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]


def _whole(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK_BYTES)


def _bits(data: bytes) -> bytes:
    return (8 * len(data)).to_bytes(8, "big")


def _xor(data: bytes, stream: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(data, stream, strict=False))


def _doubled(block: bytes) -> bytes:
    number = int.from_bytes(block, "big") << 1
    if number >> 8 * BLOCK_BYTES:
        number = number ^ _CMAC_CONSTANT ^ 1 << 8 * BLOCK_BYTES
    return number.to_bytes(BLOCK_BYTES, "big")
