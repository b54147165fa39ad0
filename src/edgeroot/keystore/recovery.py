"""What becomes of writes whose process died, and of writes whose answer never came."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Final

from edgeroot.keystore.lease import is_held, leases_directory_for
from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyState, StoredKey
from edgeroot.keystore.writes import (
    NOBODY,
    Claim,
    Commit,
    Finish,
    Insert,
    Mark,
    Outcome,
    Release,
    Remove,
    RemoveClient,
    Replace,
    Reserve,
    Result,
    SetProviderState,
    Unmark,
    Write,
)
from edgeroot.psa import PsaStatus

MAX_ORPHANS: Final = 64


def orphans(reader: Reader, providers: Iterable[str]) -> list[StoredKey]:
    """What was reserved or marked of these providers by somebody who is no more, or was given up. KeyStoreError.

    Up to ``MAX_ORPHANS`` for each provider and holder: ask again when these have ended.
    """
    directory = leases_directory_for(reader.path)
    dead = [holder for holder in reader.pending_holders() if not is_held(directory, holder)]
    return [
        orphan
        for holder, provider in product(dead, providers)
        for orphan in reader.pending_of_provider(holder, provider, limit=MAX_ORPHANS)
    ]


def claim_of(orphan: StoredKey, holder: str) -> Claim:
    """What makes it the holder's, unless somebody else was first (CONFLICT)."""
    return Claim(orphan.record.identity, orphan.holder or NOBODY, holder)


def end_of(orphan: StoredKey, holder: str, refusal: PsaStatus | None) -> Finish | Release | Unmark | Commit | Claim:
    """How an orphan ends that ``holder`` has claimed and had the back end destroy, which did it or gave a refusal.

    Neither a creation nor a destruction that nobody answered leaves a key behind: what is not there any more is no
    refusal. What may not be destroyed (NOT_PERMITTED: a write-once object) lives on under its name. For any other
    refusal (the back end is away) the record is given up and keeps its name taken, until somebody tries again.
    """
    record = orphan.record
    is_marked = orphan.state is KeyState.MARKED
    if refusal is None:
        return Finish(record.identity, holder) if is_marked else Release(record.identity, holder)
    if refusal is not PsaStatus.NOT_PERMITTED:
        return Claim(record.identity, holder, NOBODY)
    if is_marked:
        return Unmark(record.identity, holder)
    return Commit(record.identity, holder, record.reference, record.attributes)


def look_up_outcome(reader: Reader, write: Write) -> Outcome:
    """What became of a write that the last writer did not answer; to be asked once the next writer runs.

    DONE if the store shows its effect, else FAILED: nothing of it is stored, and it may be sent again by whoever knows
    that it still makes sense. Raises KeyStoreError.
    """
    match write:
        case RemoveClient(authenticator, application, provider):
            listed = reader.list_keys(authenticator, application)
            done = all(listing.identity.provider != provider for listing in listed)
        case SetProviderState(provider, state):
            done = reader.provider_state(provider) == state
        case Insert(record) | Reserve(record):
            done = _shows(write, reader.look_up(record.identity))
        case _:
            stored = reader.look_up(write.identity)
            done = _shows(write, stored)
            if isinstance(write, Mark) and done and stored is not None:
                return Outcome(Result.DONE, stored=(stored,))
    return Outcome(Result.DONE) if done else Outcome(Result.FAILED, "the writer ended before it stored this write")


def _shows(write: Write, stored: StoredKey | None) -> bool:
    is_live = stored is not None and stored.state is KeyState.LIVE
    match write:
        case Insert(record):
            return stored == StoredKey(record, KeyState.LIVE, None)
        case Reserve(record, holder):
            return stored == StoredKey(record, KeyState.RESERVED, holder)
        case Commit(_, _, reference) | Replace(_, _, reference):
            return is_live and _reference(stored) == reference
        case Unmark():
            return is_live
        case Remove(_, reference):
            return not is_live or _reference(stored) != reference
        case Mark(_, holder):
            return _is_held(stored, KeyState.MARKED, holder)
        case Release(_, holder):
            return not _is_held(stored, KeyState.RESERVED, holder)
        case Finish(_, holder):
            return not _is_held(stored, KeyState.MARKED, holder)
        case Claim(_, _, next_holder):
            return stored is not None and stored.holder == next_holder
    raise TypeError(f"{type(write).__name__} is not about one key")


def _reference(stored: StoredKey | None) -> bytes | None:
    return None if stored is None else stored.record.reference


def _is_held(stored: StoredKey | None, state: KeyState, holder: str) -> bool:
    return stored is not None and stored.state is state and stored.holder == holder
