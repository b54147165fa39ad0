"""What firmware update reads and keeps: the image directory and the metadata (DEN0118, appendix A).

Both are packed and little-endian, GUIDs in UEFI's octet order. The metadata is what the first boot stages choose the
bank by; two copies are kept, and the CRC-32 at the head of each covers everything behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from struct import Struct
from typing import Final
from uuid import UUID
from zlib import crc32

_DIRECTORY: Final = Struct("<6I")
_DIRECTORY_VERSION: Final = 2
_IMAGE: Final = Struct("<16s5I4x")
_HEAD: Final = Struct("<4I")
_HEAD_2: Final = Struct("<IHH4s4x")
_DESCRIPTOR: Final = Struct("<BxHHH")
_ENTRY: Final = Struct("<16s16s")
_BANK: Final = Struct("<16sI4x")
_BODY_2: Final = _HEAD.size + _HEAD_2.size
_CRC_BYTES: Final = 4
_BANKS_1: Final = 2
_BANKS_MAX: Final = 4


class FwuState(Enum):
    """States of an update agent."""

    INITIALIZING = "initializing"
    REGULAR = "regular"
    STAGING = "staging"
    TRIAL_PENDING = "trial pending"
    TRIAL = "trial"


class FwuObjectError(ValueError):
    """The bytes are no image directory or no valid metadata; the message says why."""


class ClientPermissions(IntFlag):
    """What a client may do with an image."""

    WRITE = 1
    READ = 2


class BankState(IntEnum):
    """A bank's state in metadata of version 2. Bits are only ever cleared, as flash does without erasing."""

    INVALID = 0xFF
    VALID = 0xFE
    ACCEPTED = 0xFC


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """One image of the directory."""

    image_type: UUID
    client_permissions: int
    max_size_bytes: int
    lowest_accepted_version: int
    version: int
    accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDirectory:
    """``correct_boot``: 1 if the bank that was to be booted was."""

    correct_boot: int
    images: tuple[ImageInfo, ...]

    def encode(self) -> bytes:
        """struct.error for a number that is not an unsigned 32-bit one."""
        header = _DIRECTORY.pack(
            _DIRECTORY_VERSION, _DIRECTORY.size, len(self.images), self.correct_boot, _IMAGE.size, 0
        )
        return header + b"".join(
            _IMAGE.pack(
                one.image_type.bytes_le,
                one.client_permissions,
                one.max_size_bytes,
                one.lowest_accepted_version,
                one.version,
                one.accepted,
            )
            for one in self.images
        )

    @classmethod
    def decode(cls, data: bytes) -> ImageDirectory:
        """FwuObjectError. Entries may be longer than is known here."""
        if len(data) < _DIRECTORY.size:
            raise FwuObjectError(f"an image directory of {len(data)} bytes")
        version, offset, count, correct_boot, image_bytes, _ = _DIRECTORY.unpack_from(data)
        if version != _DIRECTORY_VERSION:
            raise FwuObjectError(f"an image directory of version {version}")
        if offset < _DIRECTORY.size or image_bytes < _IMAGE.size or offset + count * image_bytes > len(data):
            raise FwuObjectError(f"{count} images of {image_bytes} bytes at {offset} of {len(data)} bytes")
        images = []
        for at in range(offset, offset + count * image_bytes, image_bytes):
            image_type, permissions, max_size_bytes, lowest, current, accepted = _IMAGE.unpack_from(data, at)
            images.append(
                ImageInfo(
                    image_type=UUID(bytes_le=image_type),
                    client_permissions=permissions,
                    max_size_bytes=max_size_bytes,
                    lowest_accepted_version=lowest,
                    version=current,
                    accepted=accepted,
                )
            )
        return cls(correct_boot=correct_boot, images=tuple(images))


@dataclass(frozen=True, slots=True, kw_only=True)
class BankImage:
    """An image in one bank. ``accepted`` is 0 or 1."""

    image: UUID
    accepted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """An image in every bank; ``location`` is the storage volume."""

    image_type: UUID
    location: UUID
    banks: tuple[BankImage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FwuMetadata:
    """Version 1 has two banks and no ``bank_states``; version 2 has up to four, and a state (u8) for each of them."""

    version: int
    active_index: int
    previous_active_index: int
    images: tuple[ImageEntry, ...]
    bank_states: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """FwuObjectError if the banks do not fit the version; struct.error for a number out of its field's range."""
        bank_count = self._bank_count()
        if any(len(entry.banks) != bank_count for entry in self.images):
            raise FwuObjectError(f"an image is not in {bank_count} banks")
        entries = b"".join(map(_encode_entry, self.images))
        if self.version == 1:
            middle = b""
        else:
            descriptor = _DESCRIPTOR.pack(bank_count, len(self.images), _entry_bytes(bank_count), _BANK.size)
            size_bytes = _BODY_2 + len(descriptor) + len(entries)
            states = bytes(self.bank_states).ljust(_BANKS_MAX, bytes([BankState.INVALID]))
            middle = _HEAD_2.pack(size_bytes, _BODY_2, 0, states) + descriptor
        head = _HEAD.pack(0, self.version, self.active_index, self.previous_active_index)
        body = head[_CRC_BYTES:] + middle + entries
        return crc32(body).to_bytes(_CRC_BYTES, "little") + body

    @classmethod
    def decode(cls, data: bytes) -> FwuMetadata:
        """FwuObjectError, also for a wrong CRC-32. Version 1 does not say its size: ``data`` must end with it."""
        if len(data) < _HEAD.size:
            raise FwuObjectError(f"metadata of {len(data)} bytes")
        _, version, active, previous = _HEAD.unpack_from(data)
        if version == 1:
            _check_crc(data)
            images, states = _decode_entries(data[_HEAD.size :], _BANKS_1), b""
        elif version == 2:
            images, states = _decode_2(data)
        else:
            raise FwuObjectError(f"metadata of version {version}")
        return cls(
            version=version,
            active_index=active,
            previous_active_index=previous,
            images=images,
            bank_states=tuple(states),
        )

    def _bank_count(self) -> int:
        if self.version == 1 and not self.bank_states:
            return _BANKS_1
        if self.version == 2 and 0 < len(self.bank_states) <= _BANKS_MAX:
            return len(self.bank_states)
        raise FwuObjectError(f"metadata of version {self.version} with {len(self.bank_states)} bank states")


def _entry_bytes(bank_count: int) -> int:
    return _ENTRY.size + bank_count * _BANK.size


def _encode_entry(entry: ImageEntry) -> bytes:
    banks = b"".join(_BANK.pack(one.image.bytes_le, one.accepted) for one in entry.banks)
    return _ENTRY.pack(entry.image_type.bytes_le, entry.location.bytes_le) + banks


def _check_crc(data: bytes) -> None:
    if crc32(data[_CRC_BYTES:]) != int.from_bytes(data[:_CRC_BYTES], "little"):
        raise FwuObjectError("the metadata's CRC-32 is wrong")


def _decode_2(data: bytes) -> tuple[tuple[ImageEntry, ...], bytes]:
    """The images and the states of the banks."""
    if len(data) < _BODY_2 + _DESCRIPTOR.size:
        raise FwuObjectError(f"metadata of {len(data)} bytes")
    size_bytes, offset, _, states = _HEAD_2.unpack_from(data, _HEAD.size)
    if size_bytes > len(data) or offset < _BODY_2 or offset + _DESCRIPTOR.size > size_bytes:
        raise FwuObjectError(f"metadata of {size_bytes} bytes with its images at {offset} of {len(data)} bytes")
    _check_crc(data[:size_bytes])
    bank_count, image_count, entry_bytes, bank_bytes = _DESCRIPTOR.unpack_from(data, offset)
    if not 0 < bank_count <= _BANKS_MAX or bank_bytes != _BANK.size or entry_bytes != _entry_bytes(bank_count):
        raise FwuObjectError(f"{bank_count} banks of {bank_bytes} bytes in entries of {entry_bytes}")
    begin = offset + _DESCRIPTOR.size
    end = begin + image_count * entry_bytes
    if end > size_bytes:
        raise FwuObjectError(f"{image_count} images in metadata of {size_bytes} bytes")
    return _decode_entries(data[begin:end], bank_count), states[:bank_count]


def _decode_entries(data: bytes, bank_count: int) -> tuple[ImageEntry, ...]:
    entry_bytes = _entry_bytes(bank_count)
    if len(data) % entry_bytes:
        raise FwuObjectError(f"{len(data)} bytes are no whole number of images")
    entries = []
    for at in range(0, len(data), entry_bytes):
        image_type, location = _ENTRY.unpack_from(data, at)
        banks = _BANK.iter_unpack(data[at + _ENTRY.size : at + entry_bytes])
        entries.append(
            ImageEntry(
                image_type=UUID(bytes_le=image_type),
                location=UUID(bytes_le=location),
                banks=tuple(BankImage(image=UUID(bytes_le=octets), accepted=accepted) for octets, accepted in banks),
            )
        )
    return tuple(entries)
