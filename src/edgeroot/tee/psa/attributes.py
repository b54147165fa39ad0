"""``psa_key_attributes_t`` (PSA Crypto API 1.2, clause 9.1)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from edgeroot.abi.key_attributes import LIFETIME_PERSISTENT, LIFETIME_VOLATILE, AbiKeyAttributes
from edgeroot.psa import Algorithm, KeyAttributes, KeyType, PsaError, PsaStatus, UsageFlags

_KEY_TYPE_MAX: Final = 0xFFFF


@dataclass(slots=True)
class PsaKeyAttributes:
    """A new one is what ``PSA_KEY_ATTRIBUTES_INIT`` is: a volatile key of no type, for nothing."""

    type: int = 0
    bits: int = 0
    usage_flags: int = 0
    algorithm: int = 0
    lifetime: int = LIFETIME_VOLATILE
    id: int = 0

    @classmethod
    def of(cls, attributes: KeyAttributes, *, key_id: int = 0) -> PsaKeyAttributes:
        """From the rest of this package's; persistent if there is an id."""
        made = cls(int(attributes.key_type), attributes.key_bits, 0, int(attributes.algorithm))
        made.psa_set_key_usage_flags(attributes.usage)
        if key_id:
            made.psa_set_key_id(key_id)
        return made

    def psa_set_key_id(self, key_id: int) -> None:
        """Declare the key as persistent, unless its lifetime says so already."""
        self.id = key_id
        if self.lifetime & 0xFF == LIFETIME_VOLATILE:
            self.lifetime = self.lifetime & ~0xFF | LIFETIME_PERSISTENT

    def psa_set_key_lifetime(self, lifetime: int) -> None:
        """A volatile lifetime takes the id away."""
        self.lifetime = lifetime
        if lifetime & 0xFF == LIFETIME_VOLATILE:
            self.id = 0

    def psa_set_key_type(self, key_type: int) -> None:
        self.type = int(key_type)

    def psa_set_key_bits(self, bits: int) -> None:
        self.bits = bits

    def psa_set_key_algorithm(self, algorithm: int) -> None:
        self.algorithm = int(algorithm)

    def psa_set_key_usage_flags(self, usage_flags: int) -> None:
        """Whoever may sign or verify a hash may do so with a message."""
        self.usage_flags = int(UsageFlags(usage_flags).with_implied())

    def psa_get_key_id(self) -> int:
        return self.id

    def psa_get_key_lifetime(self) -> int:
        return self.lifetime

    def psa_get_key_type(self) -> KeyType:
        return KeyType(self.type)

    def psa_get_key_bits(self) -> int:
        return self.bits

    def psa_get_key_algorithm(self) -> Algorithm:
        return Algorithm(self.algorithm)

    def psa_get_key_usage_flags(self) -> UsageFlags:
        return UsageFlags(self.usage_flags)

    def psa_reset_key_attributes(self) -> None:
        """Back to a new one."""
        for field in fields(self):
            setattr(self, field.name, field.default)

    def to_abi(self) -> AbiKeyAttributes:
        """As they travel. INVALID_ARGUMENT for a type of more than 16 bits."""
        if self.type > _KEY_TYPE_MAX:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, f"there is no key type {self.type:#x}")
        return AbiKeyAttributes(
            key_type=self.type,
            key_bits=self.bits,
            lifetime=self.lifetime,
            key_id=self.id,
            usage=self.usage_flags,
            algorithm=self.algorithm,
        )

    @classmethod
    def from_abi(cls, found: AbiKeyAttributes) -> PsaKeyAttributes:
        return cls(found.key_type, found.key_bits, found.usage, found.algorithm, found.lifetime, found.key_id)
