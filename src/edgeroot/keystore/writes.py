"""What the one writer can be asked for, and what it answers.

Where the reference is a blob that the store keeps, :class:`Insert` and :class:`Remove` are the whole life of a key.
Where the back end keeps the key, creation is :class:`Reserve`, back end, :class:`Commit` (or :class:`Release` if the
back end refused), and destruction is :class:`Mark`, back end, :class:`Finish` (or :class:`Unmark`). What stays behind
reserved or marked is resolved by whoever takes it with :class:`Claim`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from edgeroot.keystore.records import KeyIdentity, KeyRecord, StoredKey
from edgeroot.psa import KeyAttributes

NOBODY: Final = ""
"""The holder of what its holder has given up. It has no lease, and so counts as dead."""


@dataclass(frozen=True, slots=True)
class Insert:
    """A new live key. ALREADY_EXISTS if the name is taken by a record in any state.

    TOO_MANY if its application has ``max_keys`` records in this store already, in whatever state; 0 is no bound.
    """

    record: KeyRecord
    max_keys: int = 0


@dataclass(frozen=True, slots=True)
class Remove:
    """The live key with this reference goes. DOES_NOT_EXIST if there is none, CONFLICT if it has another reference.

    Because of the reference, a removal that has to be sent again never meets a later key of the same name.
    """

    identity: KeyIdentity
    reference: bytes


@dataclass(frozen=True, slots=True)
class Reserve:
    """Takes the name, with the reference that the back end plans to use.

    ALREADY_EXISTS and TOO_MANY as for :class:`Insert`.
    """

    record: KeyRecord
    holder: str
    max_keys: int = 0


@dataclass(frozen=True, slots=True)
class Commit:
    """The holder's reservation becomes a live key. CONFLICT if the reservation is no longer the holder's."""

    identity: KeyIdentity
    holder: str
    reference: bytes
    attributes: KeyAttributes


@dataclass(frozen=True, slots=True)
class Release:
    """The holder's reservation goes. CONFLICT if it is no longer the holder's."""

    identity: KeyIdentity
    holder: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A live key is no longer to be used. The outcome holds the record whose reference is now to be destroyed.

    DOES_NOT_EXIST if there is no live key; it may be that somebody else is destroying it.
    """

    identity: KeyIdentity
    holder: str


@dataclass(frozen=True, slots=True)
class Unmark:
    """The back end refused to destroy: the holder's marked key lives again. CONFLICT if it is not the holder's."""

    identity: KeyIdentity
    holder: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The holder's marked key goes. CONFLICT if it is no longer the holder's."""

    identity: KeyIdentity
    holder: str


@dataclass(frozen=True, slots=True)
class Replace:
    """The live key is from now on reached by another reference. CONFLICT if it no longer has the old one."""

    identity: KeyIdentity
    old_reference: bytes
    new_reference: bytes


@dataclass(frozen=True, slots=True)
class RemoveClient:
    """All live keys of an application in one provider go; ``Outcome.count`` says how many that were."""

    authenticator: int
    application: str
    provider: str


@dataclass(frozen=True, slots=True)
class SetProviderState:
    """The few bytes that a provider wants back at its next start."""

    provider: str
    state: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What a holder reserved or marked passes to another one. CONFLICT if it is no longer the first one's."""

    identity: KeyIdentity
    holder: str
    next_holder: str


Write = (
    Insert
    | Remove
    | Reserve
    | Commit
    | Release
    | Mark
    | Unmark
    | Finish
    | Replace
    | RemoveClient
    | SetProviderState
    | Claim
)


class Result(IntEnum):
    DONE = 0
    ALREADY_EXISTS = 1
    DOES_NOT_EXIST = 2
    CONFLICT = 3
    """Somebody else changed the record in the meantime."""
    NO_SPACE = 4
    """The disk is full; nothing of the write is stored (PSA_ERROR_INSUFFICIENT_STORAGE)."""
    FAILED = 5
    """The store cannot be written; nothing of the write is stored (PSA_ERROR_STORAGE_FAILURE)."""
    TOO_MANY = 6
    """The application may have no more keys; nothing of the write is stored (PSA_ERROR_INSUFFICIENT_STORAGE)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``detail`` is for logs. ``stored`` holds what :class:`Mark` marked."""

    result: Result
    detail: str = ""
    count: int = 0
    stored: tuple[StoredKey, ...] = ()
