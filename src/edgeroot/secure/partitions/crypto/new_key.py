"""The attributes that a caller asks for a new key: which are impossible, and what the key then gets.

The order of the checks and their statuses are those of Mbed TLS 3.6 (``psa_start_key_creation``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final, NamedTuple

from edgeroot.abi.key_attributes import LIFETIME_VOLATILE, LOCATION_LOCAL_STORAGE, AbiKeyAttributes
from edgeroot.psa import KeyAttributes, PsaError, PsaStatus, UsageFlags
from edgeroot.secure.partitions.crypto.names import is_user_id
from edgeroot.secure.partitions.crypto.policy import VERIFY_DERIVATION

MAX_KEY_BITS: Final = 0xFFF8
_USAGE: Final = VERIFY_DERIVATION | sum(UsageFlags)


class NewKey(NamedTuple):
    """A key to be made: its attributes, with the usage that its flags imply; its id, 0 for a volatile key; where."""

    attributes: KeyAttributes
    key_id: int
    location: int

    @property
    def is_local(self) -> bool:
        return self.location == LOCATION_LOCAL_STORAGE


def new_key(asked: AbiKeyAttributes, locations: Collection[int]) -> NewKey:
    """INVALID_ARGUMENT for a lifetime, id or usage that no key has, NOT_SUPPORTED for a size beyond all bounds.

    An id is heard only with the persistent lifetime. ``locations`` are those that there are; the local one keeps
    volatile keys, too.
    """
    attributes = asked.to_psa()
    if asked.location not in locations or not (asked.is_persistent or asked.lifetime == LIFETIME_VOLATILE):
        # Other kinds of persistence lose the id.
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"there is no lifetime {asked.lifetime:#x}")
    key_id = asked.key_id if asked.is_persistent else 0
    if asked.is_persistent and not is_user_id(key_id):
        raise PsaError(PsaStatus.INVALID_ARGUMENT, "a persistent key has an id from 1 to 0x3fffffff")
    if asked.usage & ~_USAGE:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, "unknown usage flags")
    if asked.key_bits > MAX_KEY_BITS:
        raise PsaError(PsaStatus.NOT_SUPPORTED, f"a key of {asked.key_bits} bits")
    return NewKey(replace(attributes, usage=attributes.usage.with_implied()), key_id, asked.location)


def require_local(asked: NewKey) -> None:
    """NOT_SUPPORTED for a secure element, into which a key comes by being made there, and in no other way."""
    if not asked.is_local:
        raise PsaError(PsaStatus.NOT_SUPPORTED, "keys of the secure element are generated there")
