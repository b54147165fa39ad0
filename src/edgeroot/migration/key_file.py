"""Key files of Mbed TLS's PSA storage, as upstream's Mbed Crypto provider leaves them in its working directory.

A file is internal trusted storage's (magic, size, flags, data), and its data a stored key (magic, version 0, lifetime,
type, size, policy, length, material). Integers are little-endian; the material is in the clear.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from edgeroot.migration.errors import MigrationError
from edgeroot.psa import KeyType, Secret

_STORAGE: Final = Struct("<8sII")
_STORAGE_MAGIC: Final = b"PSA\0ITS\0"
_KEY: Final = Struct("<8sIIHHIIII")
_KEY_MAGIC: Final = b"PSA\0KEY\0"
_KEY_VERSION: Final = 0


@dataclass(frozen=True, slots=True)
class StoredMaterial:
    """The part of a key that upstream's record of it does not have."""

    key_type: KeyType
    key_bits: int
    material: Secret = field(repr=False)


def file_name(key_id: int) -> str:
    """Of a key of Mbed TLS's by its id; the upper half of a storage id is the owner, whom upstream does not set."""
    return f"{0:08x}{key_id:08x}.psa_its"


def decode_key_file(data: bytes) -> StoredMaterial:
    """MigrationError if it is not a whole file of this format."""
    if len(data) < _STORAGE.size + _KEY.size:
        raise MigrationError("the key file ends too early")
    magic, size_bytes, _flags = _STORAGE.unpack_from(data)
    if magic != _STORAGE_MAGIC:
        raise MigrationError("the key file is not one of Mbed TLS's storage")
    if size_bytes != len(data) - _STORAGE.size:
        raise MigrationError("the key file has not the length that it says")
    key_magic, version, _lifetime, key_type, key_bits, _usage, _alg, _alg2, length = _KEY.unpack_from(
        data, _STORAGE.size
    )
    if key_magic != _KEY_MAGIC or version != _KEY_VERSION:
        raise MigrationError("the key file holds no key of Mbed TLS's in version 0")
    material = data[_STORAGE.size + _KEY.size :]
    if length != len(material):
        raise MigrationError("the key in the key file has not the length that it says")
    return StoredMaterial(KeyType(key_type), key_bits, Secret(material))
