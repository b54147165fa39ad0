"""Where a key is: its id in the crypto partition, and by which attributes it is recognised there.

A reference, version 1, has 19 bytes: version u8 (1), key id u32, then the attributes that the key was made with
(14 bytes, :meth:`edgeroot.psa.KeyAttributes.__bytes__`; 0 bits where an import inferred the size). Little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from edgeroot.abi.key_attributes import AbiKeyAttributes
from edgeroot.psa import KeyAttributes, PsaError, PsaStatus

_HEAD: Final = Struct("<BI")
_VERSION: Final = 1
_UPSTREAM_ID_BYTES: Final = 4
KEY_ID_USER_MAX: Final = 0x3FFFFFFF
"""PSA_KEY_ID_USER_MAX"""


@dataclass(frozen=True, slots=True)
class KeyReference:
    """A key in the crypto partition."""

    key_id: int
    attributes: KeyAttributes

    def __bytes__(self) -> bytes:
        return _HEAD.pack(_VERSION, self.key_id) + bytes(self.attributes)

    @classmethod
    def from_bytes(cls, reference: bytes) -> KeyReference:
        """PsaError DATA_INVALID for anything that this provider did not make."""
        try:
            version, key_id = _HEAD.unpack_from(reference)
            attributes = KeyAttributes.from_bytes(reference[_HEAD.size :])
        except Exception as error:
            raise PsaError(PsaStatus.DATA_INVALID, "the key's reference is not this provider's") from error
        if version != _VERSION:
            raise PsaError(PsaStatus.DATA_INVALID, f"the key's reference has version {version}, not {_VERSION}")
        return cls(key_id, attributes)

    @classmethod
    def of_upstream(cls, key_id: bytes, attributes: KeyAttributes) -> KeyReference:
        """A key that upstream's provider has made, which it knows by its id (u32, little-endian) in the same partition.

        PsaError DATA_INVALID for what is no such id.
        """
        number = int.from_bytes(key_id[:_UPSTREAM_ID_BYTES], "little")
        if len(key_id) < _UPSTREAM_ID_BYTES or not 0 < number <= KEY_ID_USER_MAX:
            raise PsaError(PsaStatus.DATA_INVALID, "the record names no key id of the secure world")
        return cls(number, attributes)

    def matches(self, found: AbiKeyAttributes) -> bool:
        """Whether a key with these attributes is the one that was made; the partition adds implied usage."""
        ours = self.attributes
        return (
            found.key_type == ours.key_type
            and found.algorithm == ours.algorithm
            and found.usage == int(ours.usage.with_implied())
            and ours.key_bits in (0, found.key_bits)
        )
