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


def _cut(alg: Algorithm, mac: bytes) -> bytes:
    length_bytes = alg.mac_length_bytes or len(mac)
    if length_bytes > len(mac):
        raise invalid_argument(f"{alg!r} is longer than the MAC itself")
    if length_bytes < _SHORTEST_BYTES:
        raise not_supported(f"a MAC of {length_bytes} bytes")
    return mac[:length_bytes]


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
        hash_alg = alg.hash
        if not alg.is_hmac or hash_alg is None or hash_alg is Hash.ANY:
            raise self._mismatch(f"compute a MAC with {alg!r}")
        algorithm = HASHES.get(hash_alg)
        if algorithm is None:
            raise not_supported(f"hash algorithm {hash_alg.name}")
        context = hmac.HMAC(self._material, algorithm)
        context.update(data)
        return _cut(alg, context.finalize())

    def mac_verify(self, alg: Algorithm, data: bytes, mac: bytes) -> None:
        compare(self.mac_compute(alg, data), mac)


def block_cipher_mac(algorithm: BlockCipherAlgorithm, alg: Algorithm, data: bytes) -> bytes:
    """CMAC or CBC-MAC with this block cipher; INVALID_ARGUMENT for any other algorithm."""
    match alg.full_length_mac:
        case Algorithm.CMAC:
            context = CMAC(algorithm)
            context.update(data)
            return _cut(alg, context.finalize())
        case Algorithm.CBC_MAC:
            block_bytes = algorithm.block_size // 8
            padded = data.ljust(max(block_bytes, -(-len(data) // block_bytes) * block_bytes), b"\0")
            encryptor = Cipher(algorithm, modes.CBC(bytes(block_bytes))).encryptor()
            return _cut(alg, (encryptor.update(padded) + encryptor.finalize())[-block_bytes:])
        case _:
            raise invalid_argument(f"{alg!r} is no MAC of a block cipher")


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
