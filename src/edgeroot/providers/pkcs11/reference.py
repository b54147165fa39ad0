"""Where a key is: the CKA_ID of its objects in the token, and which type they are of.

A reference, version 1, has 3 bytes and the CKA_ID: version u8 (1), key type u16, little-endian. An id that is planned
here has 16 random bytes; upstream's have 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from edgeroot.psa import KeyType, PsaError, PsaStatus

_HEAD: Final = Struct("<BH")
_VERSION: Final = 1
PLANNED_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class KeyReference:
    """The objects of a key."""

    key_type: KeyType
    object_id: bytes

    def __bytes__(self) -> bytes:
        return _HEAD.pack(_VERSION, self.key_type) + self.object_id

    @classmethod
    def from_bytes(cls, reference: bytes) -> KeyReference:
        """PsaError DATA_INVALID for anything that this provider did not make."""
        if len(reference) <= _HEAD.size:
            raise PsaError(PsaStatus.DATA_INVALID, "the key's reference is not this provider's")
        version, key_type = _HEAD.unpack_from(reference)
        if version != _VERSION:
            raise PsaError(PsaStatus.DATA_INVALID, f"the key's reference has version {version}, not {_VERSION}")
        return cls(KeyType(key_type), reference[_HEAD.size :])
