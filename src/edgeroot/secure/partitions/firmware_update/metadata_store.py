"""The two copies of the metadata, each in a block of its own.

A copy is the metadata of version 2 at the start of the block, where the first boot stages read it, and at the end of
the block the agent's own record of 40 bytes: 32 bytes that name the boot, the bank that was booted (u8), whether it was
the active one (u8), 2 zero bytes, CRC-32 of all the block before it (u32). Between them are bytes 0xff.

The first copy is always written before the second, and one is durable before the other is touched. So one of them is
whole at any moment, and where both are whole and differ, the first is the newer.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final
from zlib import crc32

from edgeroot.abi.fwu_objects import FwuMetadata, FwuObjectError
from edgeroot.secure.partitions.firmware_update.layout import BLOCK_BYTES
from edgeroot.secure.partitions.firmware_update.ports import Flash

_RECORD: Final = Struct("<32sBB2x")
_CRC: Final = Struct("<I")
_RECORD_AT: Final = BLOCK_BYTES - _CRC.size - _RECORD.size
_ERASED: Final = b"\xff"
_COPIES: Final = (0, BLOCK_BYTES)
BOOT_ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRecord:
    """Which boot the agent has seen. ``boot_id`` has 32 bytes and is another one in each boot."""

    boot_id: bytes
    bank: int
    was_active: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """``boot`` is None where a tool or a boot stage has written the metadata, and no agent since."""

    metadata: FwuMetadata
    boot: BootRecord | None = None


class MetadataStore:
    """Reads, repairs and replaces the metadata."""

    def __init__(self, flash: Flash) -> None:
        self._flash = flash

    def load(self) -> Stored | None:
        """What is stored, after making both copies the same again; None if neither can be read."""
        blocks = self._blocks()
        newest = _newest(blocks)
        if newest is None:
            return None
        block, stored = newest
        for offset, old in zip(_COPIES, blocks, strict=True):
            if old != block:
                self._replace(offset, block)
        return stored

    def peek(self) -> Stored | None:
        """What is stored, without a repair: for boot stages, which write nothing."""
        newest = _newest(self._blocks())
        return None if newest is None else newest[1]

    def _blocks(self) -> list[bytes]:
        return [self._flash.read(offset, BLOCK_BYTES) for offset in _COPIES]

    def save(self, metadata: FwuMetadata, boot: BootRecord | None) -> None:
        """Replace both copies. Whenever this is interrupted, :meth:`load` finds the old ones or the new ones.

        ``boot`` is None where no agent has run yet.
        """
        block = metadata.encode().ljust(_RECORD_AT if boot else BLOCK_BYTES, _ERASED)
        if boot is not None:
            block += _RECORD.pack(boot.boot_id, boot.bank, boot.was_active)
            block += _CRC.pack(crc32(block))
        for offset in _COPIES:
            self._replace(offset, block)

    def _replace(self, offset: int, block: bytes) -> None:
        self._flash.erase(offset, BLOCK_BYTES)
        self._flash.write(offset, block)
        self._flash.sync()


def _newest(blocks: list[bytes]) -> tuple[bytes, Stored] | None:
    """The copy that counts, and what it says; None if neither can be read."""
    found = [(block, _decode(block)) for block in blocks]
    whole = [(block, stored) for block, stored in found if stored is not None]
    # A copy without a record comes last: it may be one of ours that was torn behind the metadata.
    return min(whole, key=lambda one: one[1].boot is None) if whole else None


def _decode(block: bytes) -> Stored | None:
    try:
        metadata = FwuMetadata.decode(block)
    except FwuObjectError:
        return None
    end = _RECORD_AT + _RECORD.size
    if crc32(block[:end]) != _CRC.unpack_from(block, end)[0]:
        return Stored(metadata)
    boot_id, bank, was_active = _RECORD.unpack_from(block, _RECORD_AT)
    return Stored(metadata, BootRecord(boot_id=boot_id, bank=bank, was_active=bool(was_active)))
