"""What becomes of writes whose process died, and of writes whose answer never came."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyState, StoredKey
from edgeroot.keystore.writes import (
    ClaimOrphans,
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
from edgeroot.psa import PsaError, PsaStatus


class Resolution(NamedTuple):
    """``writes`` are to be sent to the writer; ``waiting`` are to be tried again when their back ends are there."""

    writes: list[Finish | Release | Unmark | Commit]
    waiting: list[StoredKey]


def resolve_orphans(orphans: Iterable[StoredKey], destroy: Callable[[str, bytes], None]) -> Resolution:
    """For records that :class:`ClaimOrphans` handed over, makes the back ends forget the keys.

    Neither a creation nor a destruction that nobody answered leaves a key behind. ``destroy(provider, reference)`` is
    :meth:`edgeroot.providers.api.Provider.destroy` of the provider instance of that name; to destroy what is not there
    is no error. What may not be destroyed (NOT_PERMITTED: a write-once object) lives on under its name. While it raises
    another PsaError (the back end is away, or not configured), the record keeps its name taken.
    """
    writes: list[Finish | Release | Unmark | Commit] = []
    waiting = []
    for orphan in orphans:
        identity = orphan.record.identity
        holder = orphan.holder or ""
        is_marked = orphan.state is KeyState.MARKED
        try:
            destroy(identity.provider, orphan.record.reference)
        except PsaError as error:
            if error.status is not PsaStatus.NOT_PERMITTED:
                waiting.append(orphan)
            elif is_marked:
                writes.append(Unmark(identity, holder))
            else:
                writes.append(Commit(identity, holder, orphan.record.reference, orphan.record.attributes))
            continue
        writes.append(Finish(identity, holder) if is_marked else Release(identity, holder))
    return Resolution(writes, waiting)


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
        case ClaimOrphans(holder):
            return Outcome(Result.DONE, stored=tuple(reader.pending(holder)))
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
    raise TypeError(f"{type(write).__name__} is not about one key")


def _reference(stored: StoredKey | None) -> bytes | None:
    return None if stored is None else stored.record.reference


def _is_held(stored: StoredKey | None, state: KeyState, holder: str) -> bool:
    return stored is not None and stored.state is state and stored.holder == holder
