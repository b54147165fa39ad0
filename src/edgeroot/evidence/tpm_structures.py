"""Keys of a TPM 2.0 as values and bytes (TPM 2.0 Library, Part 2): as far as the TPM provider makes and uses them.

Numbers are big-endian; a TPM2B is its 16-bit size and that many bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct, error
from typing import ClassVar, Final

from edgeroot.evidence.errors import EvidenceError

_U8: Final = Struct(">B")
_U16: Final = Struct(">H")
_U32: Final = Struct(">I")
_U64: Final = Struct(">Q")


class Alg(IntEnum):
    """``TPM_ALG_ID`` (Part 2, clause 6.3)."""

    RSA = 0x0001
    SHA1 = 0x0004
    HMAC = 0x0005
    AES = 0x0006
    KEYEDHASH = 0x0008
    SHA256 = 0x000B
    SHA384 = 0x000C
    SHA512 = 0x000D
    NULL = 0x0010
    RSASSA = 0x0014
    RSAES = 0x0015
    RSAPSS = 0x0016
    OAEP = 0x0017
    ECDSA = 0x0018
    ECDH = 0x0019
    ECC = 0x0023
    SYMCIPHER = 0x0025
    SHA3_256 = 0x0027
    SHA3_384 = 0x0028
    SHA3_512 = 0x0029
    CTR = 0x0040
    OFB = 0x0041
    CBC = 0x0042
    CFB = 0x0043
    ECB = 0x0044


HASH_NAMES: Final[dict[int, str]] = {
    Alg.SHA1: "sha1",
    Alg.SHA256: "sha256",
    Alg.SHA384: "sha384",
    Alg.SHA512: "sha512",
}
"""How :mod:`hashlib` calls the algorithms of names and of PCR banks."""


class Curve(IntEnum):
    """``TPM_ECC_CURVE`` (Part 2, clause 6.4)."""

    NIST_P192 = 0x0001
    NIST_P224 = 0x0002
    NIST_P256 = 0x0003
    NIST_P384 = 0x0004
    NIST_P521 = 0x0005


class ObjectFlags(IntFlag):
    """``TPMA_OBJECT`` (Part 2, clause 8.3)."""

    FIXED_TPM = 1 << 1
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    USER_WITH_AUTH = 1 << 6
    ADMIN_WITH_POLICY = 1 << 7
    NO_DA = 1 << 10
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


BORN_HERE: Final = ObjectFlags.FIXED_TPM | ObjectFlags.FIXED_PARENT | ObjectFlags.SENSITIVE_DATA_ORIGIN
"""A TPM has made this key, and it can be in no other (Part 2, clause 8.3.3)."""


class MalformedError(EvidenceError):
    """The bytes are no such structure."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """``TPMT_RSA_SCHEME``, ``TPMT_ECC_SCHEME``, ``TPMT_KEYEDHASH_SCHEME``: an algorithm, and its hash if it has one."""

    algorithm: int = Alg.NULL
    hash_algorithm: int = Alg.NULL

    def __bytes__(self) -> bytes:
        if self.algorithm in (Alg.NULL, Alg.RSAES):
            return _U16.pack(self.algorithm)
        return _U16.pack(self.algorithm) + _U16.pack(self.hash_algorithm)


NO_SCHEME: Final = Scheme()


@dataclass(frozen=True, slots=True)
class Symmetric:
    """``TPMT_SYM_DEF_OBJECT``: AES and its mode, NULL for any; no cipher at all for 0 bits."""

    key_bits: int = 0
    mode: int = Alg.CFB

    def __bytes__(self) -> bytes:
        if not self.key_bits:
            return _U16.pack(Alg.NULL)
        return _U16.pack(Alg.AES) + _U16.pack(self.key_bits) + _U16.pack(self.mode)


NO_CIPHER: Final = Symmetric()


@dataclass(frozen=True, slots=True)
class RsaPublic:
    """``TPMS_RSA_PARMS`` and the modulus; exponent 0 stands for 65537. ``symmetric`` protects a parent's children."""

    kind: ClassVar[int] = Alg.RSA
    key_bits: int
    scheme: Scheme = NO_SCHEME
    symmetric: Symmetric = NO_CIPHER
    exponent: int = 0
    modulus: bytes = b""

    def __bytes__(self) -> bytes:
        head = bytes(self.symmetric) + bytes(self.scheme)
        return head + _U16.pack(self.key_bits) + _U32.pack(self.exponent) + sized(self.modulus)


@dataclass(frozen=True, slots=True)
class EccPublic:
    """``TPMS_ECC_PARMS`` and the point; coordinates may lack leading zeros."""

    kind: ClassVar[int] = Alg.ECC
    curve: int
    scheme: Scheme = NO_SCHEME
    symmetric: Symmetric = NO_CIPHER
    x: bytes = b""
    y: bytes = b""

    def __bytes__(self) -> bytes:
        head = bytes(self.symmetric) + bytes(self.scheme)
        no_derivation = _U16.pack(Alg.NULL)
        return head + _U16.pack(self.curve) + no_derivation + sized(self.x) + sized(self.y)


@dataclass(frozen=True, slots=True)
class KeyedHashPublic:
    """``TPMS_KEYEDHASH_PARMS`` of a key for HMAC, and the digest that stands for it."""

    kind: ClassVar[int] = Alg.KEYEDHASH
    scheme: Scheme = NO_SCHEME
    unique: bytes = b""

    def __bytes__(self) -> bytes:
        return bytes(self.scheme) + sized(self.unique)


@dataclass(frozen=True, slots=True)
class CipherPublic:
    """``TPMS_SYMCIPHER_PARMS`` of a key for AES, and the digest that stands for it."""

    kind: ClassVar[int] = Alg.SYMCIPHER
    symmetric: Symmetric
    unique: bytes = b""

    def __bytes__(self) -> bytes:
        return bytes(self.symmetric) + sized(self.unique)


Detail = RsaPublic | EccPublic | KeyedHashPublic | CipherPublic


@dataclass(frozen=True, slots=True)
class Public:
    """``TPMT_PUBLIC`` (Part 2, clause 12.2.4)."""

    detail: Detail
    flags: ObjectFlags
    policy: bytes = b""
    name_algorithm: int = Alg.SHA256

    def __bytes__(self) -> bytes:
        head = _U16.pack(self.detail.kind) + _U16.pack(self.name_algorithm) + _U32.pack(self.flags)
        return head + sized(self.policy) + bytes(self.detail)

    @property
    def name(self) -> bytes:
        """The number of a hash algorithm, and the digest of all this (Part 1, clause 16). MalformedError if unknown."""
        algorithm = HASH_NAMES.get(self.name_algorithm)
        if algorithm is None:
            raise MalformedError(f"names by the algorithm {self.name_algorithm:#06x} are not used here")
        return _U16.pack(self.name_algorithm) + hashlib.new(algorithm, bytes(self)).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> Public:
        """MalformedError for anything but the public area of a key that is used here."""
        reader = Reader(data)
        kind, name_algorithm = reader.u16(), reader.u16()
        flags, policy = ObjectFlags(reader.u32()), reader.sized()
        read = _DETAILS.get(kind)
        if read is None:
            raise MalformedError(f"keys of type {kind:#06x} are not used here")
        detail = read(reader)
        reader.end()
        public = cls(detail, flags, policy, name_algorithm)
        if bytes(public) != data:
            raise MalformedError("what it says more is not used here")
        return public


def sized(data: bytes) -> bytes:
    """A TPM2B with this content."""
    return _U16.pack(len(data)) + data


class Reader:
    """Takes bytes apart from the front; MalformedError where they end too early or too late."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def u8(self) -> int:
        return self._number(_U8)

    def u16(self) -> int:
        return self._number(_U16)

    def u32(self) -> int:
        return self._number(_U32)

    def u64(self) -> int:
        return self._number(_U64)

    def sized(self) -> bytes:
        return self.take(self.u16())

    def take(self, size_bytes: int) -> bytes:
        taken = self._data[self._at : self._at + size_bytes]
        if len(taken) != size_bytes:
            raise MalformedError("the bytes end within a field")
        self._at += size_bytes
        return taken

    def end(self) -> None:
        if self._at != len(self._data):
            raise MalformedError("more bytes than fields")

    def _number(self, form: Struct) -> int:
        try:
            number: int = form.unpack_from(self._data, self._at)[0]
        except error as problem:
            raise MalformedError("the bytes end within a number") from problem
        self._at += form.size
        return number


def _symmetric(reader: Reader) -> Symmetric:
    algorithm = reader.u16()
    if algorithm == Alg.NULL:
        return NO_CIPHER
    if algorithm != Alg.AES:
        raise MalformedError(f"the cipher {algorithm:#06x} is not used here")
    return Symmetric(reader.u16(), reader.u16())


def _scheme(reader: Reader) -> Scheme:
    algorithm = reader.u16()
    if algorithm in (Alg.NULL, Alg.RSAES):
        return Scheme(algorithm)
    return Scheme(algorithm, reader.u16())


def _rsa(reader: Reader) -> RsaPublic:
    symmetric, scheme = _symmetric(reader), _scheme(reader)
    return RsaPublic(reader.u16(), scheme, symmetric, reader.u32(), reader.sized())


def _ecc(reader: Reader) -> EccPublic:
    symmetric, scheme, curve = _symmetric(reader), _scheme(reader), reader.u16()
    _scheme(reader)  # the key derivation's, which nothing here uses
    return EccPublic(curve, scheme, symmetric, reader.sized(), reader.sized())


def _keyed_hash(reader: Reader) -> KeyedHashPublic:
    return KeyedHashPublic(_scheme(reader), reader.sized())


def _cipher(reader: Reader) -> CipherPublic:
    return CipherPublic(_symmetric(reader), reader.sized())


_DETAILS: Final[dict[int, Callable[[Reader], Detail]]] = {
    Alg.RSA: _rsa,
    Alg.ECC: _ecc,
    Alg.KEYEDHASH: _keyed_hash,
    Alg.SYMCIPHER: _cipher,
}
