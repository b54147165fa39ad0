"""A stored key's record (version 2), which the storage partition seals.

Magic "EGK2" (4 bytes), attributes (14 bytes, see :class:`edgeroot.psa.KeyAttributes`), origin u8 (see
:class:`edgeroot.psa.KeyOrigin`), length of the material u32, the material in the engine's format; integers are
little-endian, and nothing follows. Persistence and id are in its uid.

A key in the secure element has the magic "EGS2" instead, and for its material the name that it has there. Records of
version 1 (the magics end in "1") have no origin; they are read and no longer written.

A magic of four zero bytes marks a record that is still being written in pieces: there is no key yet.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from edgeroot.abi.key_attributes import LOCATION_LOCAL_STORAGE, LOCATION_PRIMARY_SECURE_ELEMENT
from edgeroot.psa import KeyAttributes, KeyOrigin, PsaError, PsaStatus, Secret

MAGIC: Final = b"EGK2"
ELEMENT_MAGIC: Final = b"EGS2"
UNFINISHED: Final = bytes(len(MAGIC))
_MAGICS: Final = {LOCATION_LOCAL_STORAGE: MAGIC, LOCATION_PRIMARY_SECURE_ELEMENT: ELEMENT_MAGIC}
_LOCATIONS: Final = {magic: location for location, magic in _MAGICS.items()}
_HEAD: Final = Struct("<4s14sBI")
_OLD_LOCATIONS: Final = {b"EGK1": LOCATION_LOCAL_STORAGE, b"EGS1": LOCATION_PRIMARY_SECURE_ELEMENT}
_OLD_HEAD: Final = Struct("<4s14sI")
_ORIGINS: Final = frozenset(KeyOrigin)
HEAD_BYTES: Final = _HEAD.size


class KeyRecord(NamedTuple):
    """A key as it is kept."""

    attributes: KeyAttributes
    material: Secret
    location: int = LOCATION_LOCAL_STORAGE
    origin: KeyOrigin = KeyOrigin.UNKNOWN


def encode_record(record: KeyRecord) -> Secret:
    magic = _MAGICS[record.location]
    head = _HEAD.pack(magic, bytes(record.attributes), record.origin, len(record.material))
    return Secret(head + record.material)


def decode_record(data: bytes) -> KeyRecord:
    """The reverse; DATA_CORRUPT for anything else."""
    is_old = data[: len(MAGIC)] in _OLD_LOCATIONS
    head = _OLD_HEAD if is_old else _HEAD
    if len(data) < head.size:
        raise PsaError(PsaStatus.DATA_CORRUPT, "the key's record is cut off")
    magic, attributes, *origins, material_bytes = head.unpack_from(data)
    location = (_OLD_LOCATIONS if is_old else _LOCATIONS).get(magic)
    material = data[head.size :]
    origin = origins[0] if origins else KeyOrigin.UNKNOWN
    if location is None or not material or material_bytes != len(material) or origin not in _ORIGINS:
        raise PsaError(PsaStatus.DATA_CORRUPT, "the key's record is malformed")
    return KeyRecord(KeyAttributes.from_bytes(attributes), Secret(material), location, KeyOrigin(origin))
