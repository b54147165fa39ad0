"""Message authentication codes (PSA Crypto API 1.2, clause 10.3), whole or cut to their first bytes.

CBC-MAC is MAC algorithm 1 of ISO/IEC 9797-1 with padding method 1: zero bytes fill the last block, and empty data
counts as one block of zeros. It is only as safe as the caller's messages are of fixed length; CMAC is the better one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from cryptography.hazmat.primitives import hmac
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, modes
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.constant_time import bytes_eq

from edgeroot.engine.errors import invalid_argument, invalid_signature, not_supported
from edgeroot.engine.hashes import HASHES
from edgeroot.engine.key import EngineKey, Row
from edgeroot.psa import Algorithm, Hash, KeyAttributes, KeyType, Secret

# Below this a MAC can be guessed; the reference implementation draws the line at the same place.
_SHORTEST_BYTES: Final = 4
_LONGEST_TRUNCATION_BYTES: Final = 63


def _cut_bytes(alg: Algorithm, full_bytes: int) -> int:
    """How much of a MAC of full length is left."""
    length_bytes = alg.mac_length_bytes or full_bytes
    if length_bytes > full_bytes:
        raise invalid_argument(f"{alg!r} is longer than the MAC itself")
    if length_bytes < _SHORTEST_BYTES:
        raise not_supported(f"a MAC of {length_bytes} bytes")
    return length_bytes


class MacStream:
    """A MAC of what it is fed, cut to the algorithm's length."""

    __slots__ = ("_alg", "_context")

    def __init__(self, context: hmac.HMAC | CMAC | CbcMac, alg: Algorithm) -> None:
        self._context = context
        self._alg = alg

    def update(self, data: bytes) -> None:
        self._context.update(data)

    def finalize(self) -> bytes:
        mac = self._context.finalize()
        return mac[: _cut_bytes(self._alg, len(mac))]


class CbcMac:
    """MAC algorithm 1 of ISO/IEC 9797-1 with padding method 1."""

    __slots__ = ("_block_bytes", "_encryptor", "_last", "_length_bytes")

    def __init__(self, algorithm: BlockCipherAlgorithm) -> None:
        self._block_bytes = algorithm.block_size // 8
        self._encryptor = Cipher(algorithm, modes.CBC(bytes(self._block_bytes))).encryptor()
        self._last = b""
        self._length_bytes = 0

    def update(self, data: bytes) -> None:
        self._length_bytes += len(data)
        self._last = (self._last + self._encryptor.update(data))[-self._block_bytes :]

    def finalize(self) -> bytes:
        # Zero bytes fill the last block, and empty data is one block of zeros.
        missing = -self._length_bytes % self._block_bytes if self._length_bytes else self._block_bytes
        self.update(bytes(missing))
        self._encryptor.finalize()
        return self._last


def compare(computed: bytes, mac: bytes) -> None:
    """Returns if both are equal, in time that depends on the length alone; raises INVALID_SIGNATURE if not."""
    if not bytes_eq(computed, mac):
        raise invalid_signature()


class HmacKey(EngineKey):
    """A key for HMAC."""

    __slots__ = ("_material",)

    def __init__(self, attributes: KeyAttributes, material: Secret) -> None:
        super().__init__(attributes)
        self._material = material

    def mac_compute(self, alg: Algorithm, data: bytes) -> bytes:
        context = self.mac_context(alg)
        context.update(data)
        return context.finalize()

    def mac_context(self, alg: Algorithm) -> MacStream:
        """The algorithm with this key, ready for data."""
        hash_alg = alg.hash
        if not alg.is_hmac or hash_alg is None or hash_alg is Hash.ANY:
            raise self._mismatch(f"compute a MAC with {alg!r}")
        algorithm = HASHES.get(hash_alg)
        if algorithm is None:
            raise not_supported(f"hash algorithm {hash_alg.name}")
        _cut_bytes(alg, hash_alg.length_bytes)
        return MacStream(hmac.HMAC(self._material, algorithm), alg)

    def mac_verify(self, alg: Algorithm, data: bytes, mac: bytes) -> None:
        compare(self.mac_compute(alg, data), mac)


def block_cipher_mac(algorithm: BlockCipherAlgorithm, alg: Algorithm) -> MacStream:
    """CMAC or CBC-MAC with this block cipher; INVALID_ARGUMENT for any other algorithm."""
    match alg.full_length_mac:
        case Algorithm.CMAC:
            context: CMAC | CbcMac = CMAC(algorithm)
        case Algorithm.CBC_MAC:
            context = CbcMac(algorithm)
        case _:
            raise invalid_argument(f"{alg!r} is no MAC of a block cipher")
    _cut_bytes(alg, algorithm.block_size // 8)
    return MacStream(context, alg)


def with_truncations(alg: Algorithm, length_bytes: int) -> frozenset[Algorithm]:
    """A MAC of this full length and all that it may be cut to."""
    cuts = range(_SHORTEST_BYTES, min(length_bytes, _LONGEST_TRUNCATION_BYTES) + 1)
    return frozenset((alg, *(alg.truncated_mac(cut) for cut in cuts)))


def rows(key_bits: Collection[int]) -> tuple[Row, ...]:
    """What HMAC keys of these sizes can do."""
    algorithms: frozenset[Algorithm] = frozenset()
    for hash_alg in HASHES:
        algorithms |= with_truncations(Algorithm.hmac(hash_alg), hash_alg.length_bytes)
    return (Row(("mac_compute", "mac_verify"), KeyType.HMAC, key_bits, algorithms),)
