"""Key types and families with their PSA encodings (PSA Crypto API 1.2, clause 9.3 and appendix B.2)."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Final

_CATEGORY_MASK: Final = 0x7000
_PAIR_BITS: Final = 0x3000
_ECC_PUBLIC: Final = 0x4100
_ECC_PAIR: Final = 0x7100
_DH_PUBLIC: Final = 0x4200
_DH_PAIR: Final = 0x7200


class EccFamily(IntEnum):
    """``psa_ecc_family_t``."""

    SECP_K1 = 0x17
    SECP_R1 = 0x12
    SECP_R2 = 0x1B
    SECT_K1 = 0x27
    SECT_R1 = 0x22
    SECT_R2 = 0x2B
    BRAINPOOL_P_R1 = 0x30
    FRP = 0x33
    MONTGOMERY = 0x41
    TWISTED_EDWARDS = 0x42


class DhFamily(IntEnum):
    """``psa_dh_family_t``."""

    RFC7919 = 0x03


class KeyType(int):
    """``psa_key_type_t``, 16 bits. Compare with the constants, build families with the class methods."""

    __slots__ = ()

    NONE: ClassVar[KeyType]
    RAW_DATA: ClassVar[KeyType]
    HMAC: ClassVar[KeyType]
    DERIVE: ClassVar[KeyType]
    AES: ClassVar[KeyType]
    DES: ClassVar[KeyType]
    CAMELLIA: ClassVar[KeyType]
    ARC4: ClassVar[KeyType]
    CHACHA20: ClassVar[KeyType]
    RSA_PUBLIC_KEY: ClassVar[KeyType]
    RSA_KEY_PAIR: ClassVar[KeyType]

    @classmethod
    def ecc_key_pair(cls, family: EccFamily) -> KeyType:
        return cls(_ECC_PAIR | family)

    @classmethod
    def ecc_public_key(cls, family: EccFamily) -> KeyType:
        return cls(_ECC_PUBLIC | family)

    @classmethod
    def dh_key_pair(cls, family: DhFamily) -> KeyType:
        return cls(_DH_PAIR | family)

    @classmethod
    def dh_public_key(cls, family: DhFamily) -> KeyType:
        return cls(_DH_PUBLIC | family)

    @property
    def is_asymmetric(self) -> bool:
        return self & _CATEGORY_MASK & 0x4000 != 0

    @property
    def is_public_key(self) -> bool:
        return self & _CATEGORY_MASK == 0x4000

    @property
    def is_key_pair(self) -> bool:
        return self & _CATEGORY_MASK == 0x7000

    @property
    def is_rsa(self) -> bool:
        return self.public_of_pair == 0x4001

    @property
    def is_ecc(self) -> bool:
        return self.public_of_pair & 0xFF00 == _ECC_PUBLIC

    @property
    def is_dh(self) -> bool:
        return self.public_of_pair & 0xFF00 == _DH_PUBLIC

    @property
    def public_of_pair(self) -> KeyType:
        """The public key's type for a pair; any other type as it is (PSA_KEY_TYPE_PUBLIC_KEY_OF_KEY_PAIR)."""
        return KeyType(self & ~_PAIR_BITS) if self.is_key_pair else self

    @property
    def ecc_family(self) -> EccFamily:
        """The curve family of an ECC key; ValueError for any other type."""
        if not self.is_ecc:
            raise ValueError(f"{self!r} is not an elliptic curve key")
        return EccFamily(self & 0xFF)

    @property
    def dh_family(self) -> DhFamily:
        """The group family of a DH key; ValueError for any other type."""
        if not self.is_dh:
            raise ValueError(f"{self!r} is not a Diffie-Hellman key")
        return DhFamily(self & 0xFF)

    @property
    def block_size_bytes(self) -> int:
        """The block of a block cipher, 1 for a stream cipher, 0 for a key that is no cipher's."""
        return _BLOCK_SIZE.get(self, 0)

    def __repr__(self) -> str:
        name = _NAMES.get(self)
        if name is not None:
            return name
        for test, family in ((self.is_ecc, EccFamily), (self.is_dh, DhFamily)):
            if test and self & 0xFF in list(family):
                kind = "ECC" if family is EccFamily else "DH"
                return f"{kind}_{'KEY_PAIR' if self.is_key_pair else 'PUBLIC_KEY'}({family(self & 0xFF).name})"
        return f"KeyType({int(self):#06x})"

    __str__ = __repr__


_NAMES: Final[dict[int, str]] = {
    0x0000: "NONE",
    0x1001: "RAW_DATA",
    0x1100: "HMAC",
    0x1200: "DERIVE",
    0x2400: "AES",
    0x2301: "DES",
    0x2403: "CAMELLIA",
    0x2002: "ARC4",
    0x2004: "CHACHA20",
    0x4001: "RSA_PUBLIC_KEY",
    0x7001: "RSA_KEY_PAIR",
}
for _value, _name in _NAMES.items():
    setattr(KeyType, _name, KeyType(_value))
_BLOCK_SIZE: Final[dict[int, int]] = {0x2400: 16, 0x2403: 16, 0x2301: 8, 0x2002: 1, 0x2004: 1}
