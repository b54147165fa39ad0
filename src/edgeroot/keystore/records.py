"""What the store holds: whose key it is, where it is, what it may be used for, and in which state its record is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from edgeroot.psa import KeyAttributes


class KeyStoreError(Exception):
    """The store cannot be used, or a record in it cannot be read; the message says which file and what to do."""


class KeyIdentity(NamedTuple):
    """Names one key. Two identities are the same only if all four parts are, compared as they are spelt.

    ``authenticator`` is the number of the authentication type (Parsec book, "Authentication type"), ``provider`` the
    configured name of the provider instance. ``application`` and ``key_name`` may be any Unicode text, empty and with
    NUL included.
    """

    authenticator: int
    application: str
    provider: str
    key_name: str


class KeyState(IntEnum):
    """A live record names a usable key. The others are seen by the writer and by recovery only."""

    LIVE = 0
    RESERVED = 1
    """The name is taken for a key that the back end is about to make."""
    MARKED = 2
    """The key is about to be destroyed by the back end; nobody uses it any more."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """``reference`` is the provider's own (a sealed blob, or the place of the key in the back end)."""

    identity: KeyIdentity
    reference: bytes
    attributes: KeyAttributes


class KeyListing(NamedTuple):
    """A live key as lists show it, without the reference, which may be large."""

    identity: KeyIdentity
    attributes: KeyAttributes


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A record in any state. ``holder`` names the lease of whoever reserved or marked it; None while it is live."""

    record: KeyRecord
    state: KeyState
    holder: str | None


@lru_cache(maxsize=1024)
def attributes_of(encoded: bytes) -> KeyAttributes:
    """``KeyAttributes.from_bytes``, remembered: few different ones are in use at a time, and they are slow to build."""
    return KeyAttributes.from_bytes(encoded)
