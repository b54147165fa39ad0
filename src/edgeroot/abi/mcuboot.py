"""MCUboot's image format: a header, the body, and type-length-value records (TLVs) after it.

All numbers are little-endian. Header, 32 bytes: magic 0x96f3b83d, load address (u32), header size (u16), size of the
protected TLVs with their info (u16), body size (u32), flags (u32), version (u8, u8, u16, u32), padding (u32, zero).
Then, after the body, twice: info (magic u16, size with the info u16) and TLVs (kind u16, length u16, value). The
protected ones (magic 0x6908) are hashed and signed like header and body, the others (0x6907) hold hash, key, signature.

Read strictly: what a device has no use for is refused, and so is a byte too many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

HEADER_BYTES: Final = 32
HEADER_MAGIC: Final = 0x96F3B83D
INFO_MAGIC: Final = 0x6907
PROTECTED_INFO_MAGIC: Final = 0x6908
HEADER: Final = Struct("<IIHHIIBBHII")
INFO: Final = Struct("<HH")
DEPENDENCY: Final = Struct("<B3xBBHI")
COUNTER: Final = Struct("<I")


class ImageError(Exception):
    """The image is not to run; the message says why."""


class UntrustedImageError(ImageError):
    """It was changed, or nobody signed it whose images run here."""


class RevokedKeyError(UntrustedImageError):
    """It is signed with a key whose images ran here once, and run no more."""


class OldImageError(ImageError):
    """It ran once, and is not to run again."""


ENCRYPTED_AES128: Final = 0x04
ENCRYPTED_AES256: Final = 0x08
_KEY_BYTES: Final = {0: 0, ENCRYPTED_AES128: 16, ENCRYPTED_AES256: 32}


class TlvKind(IntEnum):
    """The kinds that are known here."""

    PUBLIC_KEY = 0x02
    SHA256 = 0x10
    RSA2048_PSS = 0x20
    ECDSA = 0x22
    RSA3072_PSS = 0x23
    ED25519 = 0x24
    ENCRYPTION_EC256 = 0x32
    ENCRYPTION_X25519 = 0x33
    DEPENDENCY = 0x40
    SECURITY_COUNTER = 0x50


_PROTECTED: Final = frozenset({TlvKind.DEPENDENCY, TlvKind.SECURITY_COUNTER})
_REMEDIES: Final = {0x01: " (sign with `imgtool sign --public-key-format full`, so that the image holds its key)"}


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """An image's version, ordered by its parts."""

    major: int
    minor: int = 0
    revision: int = 0
    build: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.revision}+{self.build}"

    @property
    def short(self) -> str:
        """Without a build number if that is 0."""
        return str(self) if self.build else f"{self.major}.{self.minor}.{self.revision}"


@dataclass(frozen=True, slots=True)
class Dependency:
    """The image with this index has to be of this version or a later one."""

    image_index: int
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What an image says of itself."""

    version: Version
    security_counter: int
    dependencies: tuple[Dependency, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A decoded image that nobody has verified. ``hashed_bytes`` of it are hashed and signed.

    ``body`` begins at ``body_at``. It is encrypted with a key of ``encryption_key_bytes``, unless that is 0; hashed is
    what it was before.
    """

    version: Version
    body: memoryview
    body_at: int
    encryption_key_bytes: int
    hashed_bytes: int
    security_counter: int
    dependencies: tuple[Dependency, ...]
    unprotected: tuple[tuple[TlvKind, bytes], ...]

    def described(self) -> Description:
        """All of it that has to be remembered once it was verified."""
        return Description(version=self.version, security_counter=self.security_counter, dependencies=self.dependencies)


def decode_image(data: bytes) -> Image:
    """ImageError for whatever is not exactly an image of this format."""
    if len(data) < HEADER_BYTES:
        raise ImageError(f"it has {len(data)} bytes, less than a header")
    magic, load_address, header_bytes, protected_bytes, body_bytes, flags, *version, padding = HEADER.unpack_from(data)
    if magic != HEADER_MAGIC:
        raise ImageError("it does not begin with the magic number of MCUboot's format")
    if flags not in _KEY_BYTES or load_address or padding:
        raise ImageError(
            f"flags {flags:#x}, load address {load_address:#x}, padding {padding:#x}: no image of this kind runs here"
        )
    if header_bytes < HEADER_BYTES:
        raise ImageError(f"its header claims to have {header_bytes} bytes")
    body_end = header_bytes + body_bytes
    hashed_bytes = body_end + protected_bytes
    if hashed_bytes > len(data):
        raise ImageError(f"it is cut off: {hashed_bytes} bytes are signed, and it has {len(data)}")
    protected = _tlvs(data[body_end:hashed_bytes], PROTECTED_INFO_MAGIC, _PROTECTED) if protected_bytes else ()
    unprotected = _tlvs(data[hashed_bytes:], INFO_MAGIC, frozenset(TlvKind) - _PROTECTED)
    counters = [value for kind, value in protected if kind is TlvKind.SECURITY_COUNTER]
    if len(counters) != 1 or len(counters[0]) != COUNTER.size:
        raise ImageError("it has not exactly one security counter of 4 bytes (imgtool sign --security-counter)")
    return Image(
        version=Version(*version),
        body=memoryview(data)[header_bytes:body_end],
        body_at=header_bytes,
        encryption_key_bytes=_KEY_BYTES[flags],
        hashed_bytes=hashed_bytes,
        security_counter=COUNTER.unpack(counters[0])[0],
        dependencies=tuple(_dependency(value) for kind, value in protected if kind is TlvKind.DEPENDENCY),
        unprotected=unprotected,
    )


def header_version(header: bytes) -> Version | None:
    """The version that a header of 32 bytes says; None if it is none."""
    if len(header) < HEADER_BYTES or HEADER.unpack_from(header)[0] != HEADER_MAGIC:
        return None
    return Version(*HEADER.unpack_from(header)[6:10])


def image_bytes(read: Callable[[int, int], bytes]) -> int:
    """How long the image is that lies in front of erased flash; ImageError if there is none.

    ``read`` gives the bytes at an offset, as many as there are; what they say is not looked at any further.
    """
    header = read(0, HEADER_BYTES)
    if len(header) < HEADER_BYTES or HEADER.unpack(header)[0] != HEADER_MAGIC:
        raise ImageError("there is no image")
    _, _, header_bytes, protected_bytes, body_bytes, *_ = HEADER.unpack(header)
    hashed_bytes: int = header_bytes + body_bytes + protected_bytes
    info = read(hashed_bytes, INFO.size)
    if len(info) < INFO.size:
        raise ImageError(f"it is cut off: {hashed_bytes} bytes are signed")
    _, unprotected_bytes = INFO.unpack(info)
    return hashed_bytes + int(unprotected_bytes)


def _tlvs(area: bytes, magic: int, allowed: frozenset[TlvKind]) -> tuple[tuple[TlvKind, bytes], ...]:
    if len(area) < INFO.size or INFO.unpack_from(area) != (magic, len(area)):
        raise ImageError(f"the TLVs of magic {magic:#x} are cut off, too long or not there")
    found = []
    at = INFO.size
    while at < len(area):
        if at + INFO.size > len(area):
            raise ImageError("a TLV is cut off")
        number, size_bytes = INFO.unpack_from(area, at)
        at += INFO.size
        if number not in allowed:
            raise ImageError(f"a TLV of kind {number:#06x} has no place there{_REMEDIES.get(number, '')}")
        if at + size_bytes > len(area):
            raise ImageError("a TLV is cut off")
        found.append((TlvKind(number), area[at : at + size_bytes]))
        at += size_bytes
    return tuple(found)


def _dependency(value: bytes) -> Dependency:
    if len(value) != DEPENDENCY.size or value[1:4] != bytes(3):
        raise ImageError("a dependency has not the form of one")
    image_index, *version = DEPENDENCY.unpack(value)
    return Dependency(image_index, Version(*version))
