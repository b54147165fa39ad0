"""A stored key's record (version 1), which the storage partition seals.

Magic "EGK1" (4 bytes), attributes (14 bytes, see :class:`edgeroot.psa.KeyAttributes`), length of the material u32, the
material in the engine's format; integers are little-endian, and nothing follows. Persistence and id are in its uid.

A key in the secure element has the magic "EGS1" instead, and for its material the name that it has there.

A magic of four zero bytes marks a record that is still being written in pieces: there is no key yet.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from edgeroot.abi.key_attributes import LOCATION_LOCAL_STORAGE, LOCATION_PRIMARY_SECURE_ELEMENT
from edgeroot.psa import KeyAttributes, PsaError, PsaStatus, Secret

MAGIC: Final = b"EGK1"
ELEMENT_MAGIC: Final = b"EGS1"
UNFINISHED: Final = bytes(len(MAGIC))
_MAGICS: Final = {LOCATION_LOCAL_STORAGE: MAGIC, LOCATION_PRIMARY_SECURE_ELEMENT: ELEMENT_MAGIC}
_LOCATIONS: Final = {magic: location for location, magic in _MAGICS.items()}
_HEAD: Final = Struct("<4s14sI")
HEAD_BYTES: Final = _HEAD.size


class KeyRecord(NamedTuple):
    """A key as it is kept."""

    attributes: KeyAttributes
    material: Secret
    location: int = LOCATION_LOCAL_STORAGE


def encode_record(record: KeyRecord) -> Secret:
    magic = _MAGICS[record.location]
    return Secret(_HEAD.pack(magic, bytes(record.attributes), len(record.material)) + record.material)


def decode_record(data: bytes) -> KeyRecord:
    """The reverse; DATA_CORRUPT for anything else."""
    if len(data) < HEAD_BYTES:
        raise PsaError(PsaStatus.DATA_CORRUPT, "the key's record is cut off")
    magic, attributes, material_bytes = _HEAD.unpack_from(data)
    material = data[HEAD_BYTES:]
    location = _LOCATIONS.get(magic)
    if location is None or not material or material_bytes != len(material):
        raise PsaError(PsaStatus.DATA_CORRUPT, "the key's record is malformed")
    return KeyRecord(KeyAttributes.from_bytes(attributes), Secret(material), location)
