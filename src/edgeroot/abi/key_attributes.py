"""Key attributes as the crypto services carry them, lifetime and id included."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from edgeroot.psa import Algorithm, KeyAttributes, KeyType, PsaError, PsaStatus, UsageFlags

LIFETIME_VOLATILE: Final = 0
LIFETIME_PERSISTENT: Final = 1
LOCATION_LOCAL_STORAGE: Final = 0x000000
LOCATION_PRIMARY_SECURE_ELEMENT: Final = 0x000001
_PERSISTENCE: Final = 0xFF
_LOCATION_SHIFT: Final = 8
_STRUCT: Final = Struct("<6I")
_KEY_TYPE_MAX: Final = 0xFFFF


def persistent_at(location: int) -> int:
    """The lifetime of a persistent key at this location."""
    return location << _LOCATION_SHIFT | LIFETIME_PERSISTENT


@dataclass(frozen=True, slots=True, kw_only=True)
class AbiKeyAttributes:
    """``ts_crypto_key_attributes``, in the order of its fields: plain u32 numbers with their PSA encodings."""

    key_type: int = 0
    key_bits: int = 0
    lifetime: int = LIFETIME_VOLATILE
    key_id: int = 0
    usage: int = 0
    algorithm: int = 0

    @classmethod
    def from_psa(
        cls, attributes: KeyAttributes, *, lifetime: int = LIFETIME_VOLATILE, key_id: int = 0
    ) -> AbiKeyAttributes:
        return cls(
            key_type=int(attributes.key_type),
            key_bits=attributes.key_bits,
            lifetime=lifetime,
            key_id=key_id,
            usage=int(attributes.usage),
            algorithm=int(attributes.algorithm),
        )

    def to_psa(self) -> KeyAttributes:
        """Without lifetime and id. PsaError INVALID_ARGUMENT for a key type of more than 16 bits."""
        if self.key_type > _KEY_TYPE_MAX:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, f"there is no key type {self.key_type:#x}")
        return KeyAttributes(KeyType(self.key_type), self.key_bits, UsageFlags(self.usage), Algorithm(self.algorithm))

    @property
    def is_persistent(self) -> bool:
        """Whether ``key_id`` means anything: only with exactly the default persistence, wherever the key is."""
        return self.lifetime & _PERSISTENCE == LIFETIME_PERSISTENT

    @property
    def location(self) -> int:
        """Where the key is (PSA Crypto API 1.2, clause 9.2, key locations)."""
        return self.lifetime >> _LOCATION_SHIFT

    def encode(self) -> bytes:
        """24 bytes; struct.error for a number that is not an unsigned 32-bit one."""
        return _STRUCT.pack(self.key_type, self.key_bits, self.lifetime, self.key_id, self.usage, self.algorithm)

    @classmethod
    def decode(cls, octets: bytes) -> AbiKeyAttributes:
        """From exactly 24 bytes."""
        key_type, key_bits, lifetime, key_id, usage, algorithm = _STRUCT.unpack(octets)
        return cls(
            key_type=key_type, key_bits=key_bits, lifetime=lifetime, key_id=key_id, usage=usage, algorithm=algorithm
        )
