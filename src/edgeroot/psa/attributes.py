"""What a key is and what it may be used for (PSA Crypto API 1.2, clauses 9.2 and 9.7)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from struct import Struct
from typing import Final

from edgeroot.psa.algorithm import Algorithm
from edgeroot.psa.key_type import KeyType

_ENCODED: Final = Struct("<HIII")


class UsageFlags(IntFlag):
    """``psa_key_usage_t``."""

    NONE = 0
    EXPORT = 0x0001
    COPY = 0x0002
    CACHE = 0x0004
    ENCRYPT = 0x0100
    DECRYPT = 0x0200
    SIGN_MESSAGE = 0x0400
    VERIFY_MESSAGE = 0x0800
    SIGN_HASH = 0x1000
    VERIFY_HASH = 0x2000
    DERIVE = 0x4000

    def with_implied(self) -> UsageFlags:
        """These flags and what they imply: hash signing implies message signing, and so for verifying."""
        implied = self
        if self & UsageFlags.SIGN_HASH:
            implied |= UsageFlags.SIGN_MESSAGE
        if self & UsageFlags.VERIFY_HASH:
            implied |= UsageFlags.VERIFY_MESSAGE
        return implied


@dataclass(frozen=True, slots=True)
class KeyAttributes:
    """``psa_key_attributes_t`` without lifetime and id, which Parsec does not carry: every key is persistent.

    ``key_bits`` is the size in bits as PSA counts it; 0 asks an import to infer it.
    """

    key_type: KeyType
    key_bits: int
    usage: UsageFlags
    algorithm: Algorithm

    def __bytes__(self) -> bytes:
        """14 bytes, little-endian: type u16, bits u32, usage u32, algorithm u32. For records and as sealing context."""
        return _ENCODED.pack(self.key_type, self.key_bits, self.usage, self.algorithm)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> KeyAttributes:
        """The reverse of ``bytes()``; ValueError if the length is wrong."""
        if len(encoded) != _ENCODED.size:
            raise ValueError(f"encoded key attributes have {_ENCODED.size} bytes, not {len(encoded)}")
        key_type, key_bits, usage, algorithm = _ENCODED.unpack(encoded)
        return cls(KeyType(key_type), key_bits, UsageFlags(usage), Algorithm(algorithm))
