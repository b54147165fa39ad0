"""The table of volatile keys, in memory that all contexts of the partition share.

Layout: an index of 8-byte names (owner << 32 | id, 0 for a free slot), then for each slot a record as it would be
stored, preceded by its length (u32) and padded to SLOT_BYTES. Whoever changes the table holds the partition's lock;
whoever reads it without must ask :mod:`generations` whether what it read was whole.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.partitions.crypto import record
from edgeroot.secure.partitions.crypto.names import VOLATILE_MIN, VOLATILE_PER_SOURCE, key_name, owner_of
from edgeroot.secure.partitions.crypto.record import KeyRecord

SLOTS: Final = 256
SLOT_BYTES: Final = 4096 + 64
MATERIAL_MAX_BYTES: Final = 4096
_NAME_BYTES: Final = 8
_LENGTH: Final = Struct("<I")
SIZE_BYTES: Final = SLOTS * (_NAME_BYTES + SLOT_BYTES)


class VolatileKeys:
    """The table in ``buffer``, which has SIZE_BYTES, all zero at first."""

    __slots__ = ("_names", "_slots")

    def __init__(self, buffer: memoryview) -> None:
        index_bytes = SLOTS * _NAME_BYTES
        self._names = buffer[:index_bytes].cast("Q")
        self._slots = buffer[index_bytes:SIZE_BYTES]

    def get(self, name: int) -> KeyRecord | None:
        """The key, or None if there is none of this name; DATA_CORRUPT if what was read is no key."""
        slot = self._find(name)
        if slot is None:
            return None
        (length,) = _LENGTH.unpack_from(self._slots, slot * SLOT_BYTES)
        start = slot * SLOT_BYTES + _LENGTH.size
        return record.decode_record(bytes(self._slots[start : start + length]))

    def next_name(self, owner: int) -> int:
        """The name that the owner's next key gets: the lowest free id.

        INSUFFICIENT_MEMORY if the owner has as many as it may have, or if the table is full.
        """
        names = self._names.tolist()
        if 0 in names:
            taken = {name for name in names if name and owner_of(name) == owner}
            for key_id in range(VOLATILE_MIN, VOLATILE_MIN + VOLATILE_PER_SOURCE):
                if (name := key_name(owner, key_id)) not in taken:
                    return name
        raise PsaError(PsaStatus.INSUFFICIENT_MEMORY, "there is no room for another volatile key")

    def put(self, name: int, key: KeyRecord) -> None:
        """Add a key under a name from :meth:`next_name`; INSUFFICIENT_MEMORY if the material is too long for a slot."""
        check_size(key)
        slot = self._find(0)
        assert slot is not None
        data = record.encode_record(key)
        start = slot * SLOT_BYTES
        self._slots[start : start + _LENGTH.size + len(data)] = _LENGTH.pack(len(data)) + data
        self._names[slot] = name

    def remove(self, name: int) -> bool:
        """Wipe a key; whether there was one."""
        slot = self._find(name)
        if slot is None:
            return False
        self._names[slot] = 0
        self._slots[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] = bytes(SLOT_BYTES)
        return True

    def _find(self, name: int) -> int | None:
        try:
            return self._names.tolist().index(name)
        except ValueError:
            return None


def check_size(key: KeyRecord) -> None:
    if len(key.material) > MATERIAL_MAX_BYTES:
        raise PsaError(PsaStatus.INSUFFICIENT_MEMORY, f"a volatile key has at most {MATERIAL_MAX_BYTES} bytes")
