"""Structures of TPM 2.0 as values and bytes (TPM 2.0 Library, Part 2), as far as this provider uses them.

Numbers are big-endian; a TPM2B is its 16-bit size and that many bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct, error
from typing import Final

_U16: Final = Struct(">H")
_U32: Final = Struct(">I")


class Alg(IntEnum):
    """``TPM_ALG_ID`` (Part 2, clause 6.3)."""

    RSA = 0x0001
    SHA1 = 0x0004
    AES = 0x0006
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
    SHA3_256 = 0x0027
    SHA3_384 = 0x0028
    SHA3_512 = 0x0029
    CFB = 0x0043


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


class MalformedError(ValueError):
    """The bytes are no such structure."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """``TPMT_RSA_SCHEME``, ``TPMT_ECC_SCHEME``: an algorithm, and its hash where it has one."""

    algorithm: int = Alg.NULL
    hash_algorithm: int = Alg.NULL

    def __bytes__(self) -> bytes:
        if self.algorithm in (Alg.NULL, Alg.RSAES):
            return _U16.pack(self.algorithm)
        return _U16.pack(self.algorithm) + _U16.pack(self.hash_algorithm)


NO_SCHEME: Final = Scheme()


@dataclass(frozen=True, slots=True)
class Symmetric:
    """``TPMT_SYM_DEF_OBJECT``: the cipher with which a parent protects its children; none for other keys."""

    key_bits: int = 0

    def __bytes__(self) -> bytes:
        if not self.key_bits:
            return _U16.pack(Alg.NULL)
        return _U16.pack(Alg.AES) + _U16.pack(self.key_bits) + _U16.pack(Alg.CFB)


NO_CIPHER: Final = Symmetric()


@dataclass(frozen=True, slots=True)
class RsaPublic:
    """``TPMS_RSA_PARMS`` and the modulus; exponent 0 stands for 65537."""

    key_bits: int
    scheme: Scheme = NO_SCHEME
    symmetric: Symmetric = NO_CIPHER
    exponent: int = 0
    modulus: bytes = b""


@dataclass(frozen=True, slots=True)
class EccPublic:
    """``TPMS_ECC_PARMS`` and the point; coordinates may lack leading zeros."""

    curve: int
    scheme: Scheme = NO_SCHEME
    symmetric: Symmetric = NO_CIPHER
    x: bytes = b""
    y: bytes = b""


@dataclass(frozen=True, slots=True)
class Public:
    """``TPMT_PUBLIC`` (Part 2, clause 12.2.4)."""

    detail: RsaPublic | EccPublic
    flags: ObjectFlags
    policy: bytes = b""
    name_algorithm: int = Alg.SHA256

    def __bytes__(self) -> bytes:
        detail = self.detail
        kind = Alg.RSA if isinstance(detail, RsaPublic) else Alg.ECC
        head = _U16.pack(kind) + _U16.pack(self.name_algorithm) + _U32.pack(self.flags) + sized(self.policy)
        common = bytes(detail.symmetric) + bytes(detail.scheme)
        if isinstance(detail, RsaPublic):
            return head + common + _U16.pack(detail.key_bits) + _U32.pack(detail.exponent) + sized(detail.modulus)
        key_derivation = _U16.pack(Alg.NULL)
        return head + common + _U16.pack(detail.curve) + key_derivation + sized(detail.x) + sized(detail.y)

    @classmethod
    def from_bytes(cls, data: bytes) -> Public:
        """MalformedError for anything but the public area of an RSA or ECC key."""
        reader = Reader(data)
        kind, name_algorithm = reader.u16(), reader.u16()
        flags, policy = ObjectFlags(reader.u32()), reader.sized()
        if kind not in (Alg.RSA, Alg.ECC):
            raise MalformedError(f"keys of type {kind:#06x} are not used here")
        symmetric, scheme = _symmetric(reader), _scheme(reader)
        detail: RsaPublic | EccPublic
        if kind == Alg.RSA:
            detail = RsaPublic(reader.u16(), scheme, symmetric, reader.u32(), reader.sized())
        else:
            curve = reader.u16()
            _scheme(reader)  # the key derivation's, which nothing here uses
            detail = EccPublic(curve, scheme, symmetric, reader.sized(), reader.sized())
        reader.end()
        return cls(detail, flags, policy, name_algorithm)


def sized(data: bytes) -> bytes:
    """A TPM2B with this content."""
    return _U16.pack(len(data)) + data


class Reader:
    """Takes bytes apart from the front; MalformedError where they end too early or too late."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def u16(self) -> int:
        return self._number(_U16)

    def u32(self) -> int:
        return self._number(_U32)

    def sized(self) -> bytes:
        size = self.u16()
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise MalformedError("the bytes end within a field")
        self._at += size
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
    key_bits, mode = reader.u16(), reader.u16()
    if (algorithm, mode) != (Alg.AES, Alg.CFB):
        raise MalformedError(f"the cipher {algorithm:#06x} is not used here")
    return Symmetric(key_bits)


def _scheme(reader: Reader) -> Scheme:
    algorithm = reader.u16()
    if algorithm in (Alg.NULL, Alg.RSAES):
        return Scheme(algorithm)
    return Scheme(algorithm, reader.u16())
