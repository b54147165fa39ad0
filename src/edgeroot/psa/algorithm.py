"""Algorithms with their PSA encodings (PSA Crypto API 1.2, clause 10 and appendix B.1)."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Final

_CATEGORY: Final = 0x7F000000
_HASH_MASK: Final = 0x000000FF
_MAC_TRUNCATION: Final = 0x003F0000
_AEAD_TAG: Final = 0x003F0000
_AEAD_DEFAULT_TAG: Final = 16 << 16
_LENGTH_SHIFT: Final = 16
_LENGTH_MAX: Final = 63
_AGREEMENT_MASK: Final = 0x7FFF0000
_DERIVATION_MASK: Final = 0x0000FFFF


class Hash(IntEnum):
    """Hash algorithms; ``ANY`` (PSA_ALG_ANY_HASH) stands in policies only."""

    MD2 = 0x02000001
    MD4 = 0x02000002
    MD5 = 0x02000003
    RIPEMD160 = 0x02000004
    SHA_1 = 0x02000005
    SHA_224 = 0x02000008
    SHA_256 = 0x02000009
    SHA_384 = 0x0200000A
    SHA_512 = 0x0200000B
    SHA_512_224 = 0x0200000C
    SHA_512_256 = 0x0200000D
    SHA3_224 = 0x02000010
    SHA3_256 = 0x02000011
    SHA3_384 = 0x02000012
    SHA3_512 = 0x02000013
    ANY = 0x020000FF

    @property
    def length_bytes(self) -> int:
        """The digest's length (PSA_HASH_LENGTH); 0 for ``ANY``."""
        return _HASH_LENGTH[self]


_HASH_LENGTH: Final[dict[int, int]] = {
    Hash.MD2: 16,
    Hash.MD4: 16,
    Hash.MD5: 16,
    Hash.RIPEMD160: 20,
    Hash.SHA_1: 20,
    Hash.SHA_224: 28,
    Hash.SHA_256: 32,
    Hash.SHA_384: 48,
    Hash.SHA_512: 64,
    Hash.SHA_512_224: 28,
    Hash.SHA_512_256: 32,
    Hash.SHA3_224: 28,
    Hash.SHA3_256: 32,
    Hash.SHA3_384: 48,
    Hash.SHA3_512: 64,
    Hash.ANY: 0,
}
_HASHES: Final[dict[int, Hash]] = {h & _HASH_MASK: h for h in Hash}


class Algorithm(int):
    """``psa_algorithm_t``, 32 bits. Compare with the constants, build families with the class methods."""

    __slots__ = ()

    NONE: ClassVar[Algorithm]
    CBC_MAC: ClassVar[Algorithm]
    CMAC: ClassVar[Algorithm]
    STREAM_CIPHER: ClassVar[Algorithm]
    CTR: ClassVar[Algorithm]
    CFB: ClassVar[Algorithm]
    OFB: ClassVar[Algorithm]
    XTS: ClassVar[Algorithm]
    ECB_NO_PADDING: ClassVar[Algorithm]
    CBC_NO_PADDING: ClassVar[Algorithm]
    CBC_PKCS7: ClassVar[Algorithm]
    CCM: ClassVar[Algorithm]
    GCM: ClassVar[Algorithm]
    CHACHA20_POLY1305: ClassVar[Algorithm]
    RSA_PKCS1V15_SIGN_RAW: ClassVar[Algorithm]
    ECDSA_ANY: ClassVar[Algorithm]
    RSA_PKCS1V15_CRYPT: ClassVar[Algorithm]
    FFDH: ClassVar[Algorithm]
    ECDH: ClassVar[Algorithm]

    # Families

    @classmethod
    def from_hash(cls, hash_alg: Hash) -> Algorithm:
        return cls(hash_alg)

    @classmethod
    def hmac(cls, hash_alg: Hash) -> Algorithm:
        return cls(0x03800000 | hash_alg & _HASH_MASK)

    @classmethod
    def rsa_pkcs1v15_sign(cls, hash_alg: Hash) -> Algorithm:
        return cls(0x06000200 | hash_alg & _HASH_MASK)

    @classmethod
    def rsa_pss(cls, hash_alg: Hash) -> Algorithm:
        return cls(0x06000300 | hash_alg & _HASH_MASK)

    @classmethod
    def ecdsa(cls, hash_alg: Hash) -> Algorithm:
        return cls(0x06000600 | hash_alg & _HASH_MASK)

    @classmethod
    def deterministic_ecdsa(cls, hash_alg: Hash) -> Algorithm:
        return cls(0x06000700 | hash_alg & _HASH_MASK)

    @classmethod
    def rsa_oaep(cls, hash_alg: Hash) -> Algorithm:
        return cls(0x07000300 | hash_alg & _HASH_MASK)

    @classmethod
    def hkdf(cls, hash_alg: Hash) -> Algorithm:
        return cls(0x08000100 | hash_alg & _HASH_MASK)

    @classmethod
    def tls12_prf(cls, hash_alg: Hash) -> Algorithm:
        return cls(0x08000200 | hash_alg & _HASH_MASK)

    @classmethod
    def tls12_psk_to_ms(cls, hash_alg: Hash) -> Algorithm:
        return cls(0x08000300 | hash_alg & _HASH_MASK)

    @classmethod
    def key_agreement(cls, agreement: Algorithm, derivation: Algorithm) -> Algorithm:
        """Key agreement followed by a derivation (PSA_ALG_KEY_AGREEMENT)."""
        return cls(agreement & _AGREEMENT_MASK | derivation & _DERIVATION_MASK)

    def truncated_mac(self, length_bytes: int) -> Algorithm:
        """This MAC cut to ``length_bytes``, 1 to 63 (PSA_ALG_TRUNCATED_MAC); ValueError otherwise."""
        if not self.is_mac or not 0 < length_bytes <= _LENGTH_MAX:
            raise ValueError(f"{self!r} cannot be truncated to {length_bytes} bytes")
        return Algorithm(self & ~_MAC_TRUNCATION | length_bytes << _LENGTH_SHIFT)

    def with_tag_length(self, length_bytes: int) -> Algorithm:
        """This AEAD with a tag of ``length_bytes``, 1 to 63 (PSA_ALG_AEAD_WITH_SHORTENED_TAG); ValueError otherwise."""
        if not self.is_aead or not 0 < length_bytes <= _LENGTH_MAX:
            raise ValueError(f"{self!r} cannot have a tag of {length_bytes} bytes")
        return Algorithm(self & ~_AEAD_TAG | length_bytes << _LENGTH_SHIFT)

    # Predicates (PSA_ALG_IS_*)

    @property
    def is_hash(self) -> bool:
        return self & _CATEGORY == 0x02000000

    @property
    def is_mac(self) -> bool:
        return self & _CATEGORY == 0x03000000

    @property
    def is_hmac(self) -> bool:
        return self & 0x7FC0FF00 == 0x03800000

    @property
    def is_block_cipher_mac(self) -> bool:
        return self & 0x7FC00000 == 0x03C00000

    @property
    def is_cipher(self) -> bool:
        return self & _CATEGORY == 0x04000000

    @property
    def is_aead(self) -> bool:
        return self & _CATEGORY == 0x05000000

    @property
    def is_sign(self) -> bool:
        return self & _CATEGORY == 0x06000000

    @property
    def is_rsa_sign(self) -> bool:
        return self & 0x7FFFFF00 in (0x06000200, 0x06000300)

    @property
    def is_rsa_pkcs1v15_sign(self) -> bool:
        return self & 0x7FFFFF00 == 0x06000200

    @property
    def is_rsa_pss(self) -> bool:
        return self & 0x7FFFFF00 == 0x06000300

    @property
    def is_ecdsa(self) -> bool:
        return self & 0x7FFFFE00 == 0x06000600

    @property
    def is_deterministic_ecdsa(self) -> bool:
        return self & 0x7FFFFF00 == 0x06000700

    @property
    def is_asymmetric_encryption(self) -> bool:
        return self & _CATEGORY == 0x07000000

    @property
    def is_rsa_oaep(self) -> bool:
        return self & 0x7FFFFF00 == 0x07000300

    @property
    def is_key_derivation(self) -> bool:
        return self & _CATEGORY == 0x08000000

    @property
    def is_key_agreement(self) -> bool:
        return self & _CATEGORY == 0x09000000

    @property
    def is_raw_key_agreement(self) -> bool:
        return self.is_key_agreement and self & _DERIVATION_MASK == 0

    @property
    def is_wildcard(self) -> bool:
        """Whether this may stand in a policy only: a signature over *any* hash."""
        return self.hash is Hash.ANY

    # Parts

    @property
    def hash(self) -> Hash | None:
        """The hash inside (PSA_ALG_GET_HASH), or the algorithm itself if it is one; None where there is none."""
        if self.is_hash or self.is_hmac or self.is_sign or self.is_rsa_oaep or self.is_key_derivation:
            return _HASHES.get(self & _HASH_MASK)
        if self.is_key_agreement and not self.is_raw_key_agreement:
            return _HASHES.get(self & _HASH_MASK)
        return None

    @property
    def raw_key_agreement(self) -> Algorithm:
        """The agreement's own part (PSA_ALG_KEY_AGREEMENT_GET_BASE)."""
        return Algorithm(self & _AGREEMENT_MASK)

    @property
    def key_derivation(self) -> Algorithm:
        """The derivation behind an agreement (PSA_ALG_KEY_AGREEMENT_GET_KDF); NONE if it is raw."""
        part = self & _DERIVATION_MASK
        return Algorithm(0x08000000 | part) if part else Algorithm.NONE

    @property
    def mac_length_bytes(self) -> int:
        """The length a MAC was truncated to; 0 for full length."""
        return (self & _MAC_TRUNCATION) >> _LENGTH_SHIFT

    @property
    def full_length_mac(self) -> Algorithm:
        return Algorithm(self & ~_MAC_TRUNCATION)

    @property
    def tag_length_bytes(self) -> int:
        """The length of an AEAD's tag."""
        return (self & _AEAD_TAG) >> _LENGTH_SHIFT

    @property
    def aead_default(self) -> Algorithm:
        """This AEAD with its default tag (PSA_ALG_AEAD_WITH_DEFAULT_LENGTH_TAG)."""
        return Algorithm(self & ~_AEAD_TAG | _AEAD_DEFAULT_TAG)

    def __repr__(self) -> str:
        name = _NAMES.get(self)
        if name is not None:
            return name
        if self.is_hash and self.hash is not None:
            return self.hash.name
        if self.is_mac and self.mac_length_bytes:
            return f"TRUNCATED_MAC({self.full_length_mac!r}, {self.mac_length_bytes})"
        if self.is_aead and self.aead_default in _NAMES:
            return f"AEAD_WITH_SHORTENED_TAG({self.aead_default!r}, {self.tag_length_bytes})"
        if self.is_key_agreement and self.raw_key_agreement in _NAMES:
            return f"KEY_AGREEMENT({self.raw_key_agreement!r}, {self.key_derivation!r})"
        family = _FAMILIES.get(self & ~_HASH_MASK)
        if family is not None and self.hash is not None:
            return f"{family}({self.hash.name})"
        return f"Algorithm({int(self):#010x})"

    __str__ = __repr__


_NAMES: Final[dict[int, str]] = {
    0x00000000: "NONE",
    0x03C00100: "CBC_MAC",
    0x03C00200: "CMAC",
    0x04800100: "STREAM_CIPHER",
    0x04C01000: "CTR",
    0x04C01100: "CFB",
    0x04C01200: "OFB",
    0x0440FF00: "XTS",
    0x04404400: "ECB_NO_PADDING",
    0x04404000: "CBC_NO_PADDING",
    0x04404100: "CBC_PKCS7",
    0x05500100: "CCM",
    0x05500200: "GCM",
    0x05100500: "CHACHA20_POLY1305",
    0x06000200: "RSA_PKCS1V15_SIGN_RAW",
    0x06000600: "ECDSA_ANY",
    0x07000200: "RSA_PKCS1V15_CRYPT",
    0x09010000: "FFDH",
    0x09020000: "ECDH",
}
_FAMILIES: Final[dict[int, str]] = {
    0x03800000: "HMAC",
    0x06000200: "RSA_PKCS1V15_SIGN",
    0x06000300: "RSA_PSS",
    0x06000600: "ECDSA",
    0x06000700: "DETERMINISTIC_ECDSA",
    0x07000300: "RSA_OAEP",
    0x08000100: "HKDF",
    0x08000200: "TLS12_PRF",
    0x08000300: "TLS12_PSK_TO_MS",
}
for _value, _name in _NAMES.items():
    setattr(Algorithm, _name, Algorithm(_value))
