"""Which key: its owner and its id, and what the id's range says (PSA Crypto API 1.2, clause 9.5).

A key's name is one integer, owner << 32 | id, which is also the uid of a persistent key's record in the storage
partition, as with Mbed TLS. Two sources may therefore use the same id for different keys.
"""

from __future__ import annotations

from typing import Final

from edgeroot.abi.key_attributes import LIFETIME_VOLATILE, persistent_at
from edgeroot.psa import PsaError, PsaStatus

USER_MIN: Final = 0x00000001
USER_MAX: Final = 0x3FFFFFFF
VOLATILE_MIN: Final = 0x7FFFFFE0
VOLATILE_PER_SOURCE: Final = 32
_ID_BITS: Final = 32


def key_name(owner: int, key_id: int) -> int:
    return owner << _ID_BITS | key_id


def owner_of(name: int) -> int:
    return name >> _ID_BITS


def id_of(name: int) -> int:
    return name & 0xFFFFFFFF


def is_user_id(key_id: int) -> bool:
    """Whether a persistent key may have this id."""
    return USER_MIN <= key_id <= USER_MAX


def is_volatile_id(key_id: int) -> bool:
    """Whether this is an id that the partition gives to a volatile key."""
    return VOLATILE_MIN <= key_id < VOLATILE_MIN + VOLATILE_PER_SOURCE


def lifetime_of(key_id: int, location: int) -> int:
    return LIFETIME_VOLATILE if is_volatile_id(key_id) else persistent_at(location)


def unknown_key() -> PsaError:
    """There is no such key of this source: INVALID_HANDLE, as Mbed TLS says it, and not DOES_NOT_EXIST."""
    return PsaError(PsaStatus.INVALID_HANDLE, "there is no such key")
