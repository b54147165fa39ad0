"""Creating and destroying keys so that a crash at any moment loses no acknowledged key and leaves no ghost.

Where the reference is a blob, the record *is* the key, and each of the two is a single write. Where the back end keeps
the key, the name is reserved under the planned place first, and marked before the back end destroys; whoever dies in
between leaves a record that says what has to be cleaned up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from edgeroot.keystore.records import KeyIdentity, KeyRecord
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
    Reserve,
    Result,
    Unmark,
    Write,
)
from edgeroot.providers.api import Created
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.service.effects import BodySteps, EffectOutcome, StepsTo, StoreWrite, carry_out, expect
from edgeroot.service.jobs import Job, JobOutcome
from edgeroot.service.keys import KeyCache
from edgeroot.service.making import NewKey, NewObject
from edgeroot.service.mounted import MountedProvider
from edgeroot.service.quotas import Limit, QuotaError
from edgeroot.wire.codec import encode_operation
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.operations import PsaDestroyKey
from edgeroot.wire.status import ResponseStatus, WireError

_log: Final = logging.getLogger(__name__)
_STATUS: Final = {
    Result.ALREADY_EXISTS: ResponseStatus.PSA_ERROR_ALREADY_EXISTS,
    Result.DOES_NOT_EXIST: ResponseStatus.PSA_ERROR_DOES_NOT_EXIST,
    Result.CONFLICT: ResponseStatus.KEY_INFO_MANAGER_ERROR,
    Result.NO_SPACE: ResponseStatus.PSA_ERROR_INSUFFICIENT_STORAGE,
    Result.FAILED: ResponseStatus.KEY_INFO_MANAGER_ERROR,
}
# Back-end errors after which nobody knows whether the key was made or destroyed.
_UNCERTAIN: Final = (
    ResponseStatus.PSA_ERROR_COMMUNICATION_FAILURE,
    ResponseStatus.PSA_ERROR_HARDWARE_FAILURE,
    ResponseStatus.PSA_ERROR_STORAGE_FAILURE,
    ResponseStatus.PSA_ERROR_GENERIC_ERROR,
    ResponseStatus.PSA_ERROR_CORRUPTION_DETECTED,
    ResponseStatus.CONNECTION_ERROR,  # it did not answer in time
)
_PLACES_TO_TRY: Final = 3


def write_done(outcome: EffectOutcome) -> Outcome:
    """The outcome of a write that was carried out; WireError for any other."""
    written = expect(Outcome, outcome)
    if written.result is Result.TOO_MANY:
        raise QuotaError(Limit.MAX_KEYS, "there are as many already")
    if written.result is not Result.DONE:
        raise WireError(_STATUS[written.result], written.detail)
    return written


def _is_uncertain(error: WireError | PsaError) -> bool:
    """A back end in this process raises PsaError; what it raised elsewhere comes back as the job's wire status."""
    return _wire_status(error) in _UNCERTAIN


def _wire_status(error: WireError | PsaError) -> ResponseStatus:
    return error.status if isinstance(error, WireError) else ResponseStatus.from_psa(error.status)


class _PlaceTakenError(PsaError):
    """Somebody else took the planned place first: another one will do."""


class KeyFactory:
    """Creates and destroys keys. ``holders`` are the leases of this process, one for each store."""

    def __init__(self, holders: Sequence[str], keys: KeyCache) -> None:
        self._holders = holders
        self._keys = keys

    def create(self, mounted: MountedProvider, identity: KeyIdentity, new: NewKey) -> BodySteps:
        """Steps that end with the empty body."""
        if mounted.provider.keeps_keys:
            return self.create_in_back_end(mounted, identity, new)
        return self._create_blob(mounted, identity, new)

    def destroy(self, mounted: MountedProvider, identity: KeyIdentity, find: Callable[[], bytes]) -> BodySteps:
        """Steps that end with the empty body; WireError PsaErrorDoesNotExist if there is no such key.

        ``find`` gives the live key's reference, or raises that same error.
        """
        if mounted.provider.keeps_keys:
            return self.destroy_kept(mounted, identity)
        return self._remove(mounted, identity, find)

    def destroy_kept(self, mounted: MountedProvider, identity: KeyIdentity) -> BodySteps:
        """Steps that end with the empty body, for a key or object that the back end keeps."""
        marked = write_done((yield StoreWrite(mounted.store, Mark(identity, self._holders[mounted.store]))))
        try:
            yield from self.destroy_in_back_end(mounted, marked.stored[0].record.reference)
        except (WireError, PsaError) as error:
            if _is_uncertain(error):
                yield from self._give_up(mounted, identity, error)
            else:
                write_done((yield StoreWrite(mounted.store, Unmark(identity, self._holders[mounted.store]))))
            raise
        write_done((yield StoreWrite(mounted.store, Finish(identity, self._holders[mounted.store]))))
        return b""

    def _remove(self, mounted: MountedProvider, identity: KeyIdentity, find: Callable[[], bytes]) -> BodySteps:
        while True:
            outcome = expect(Outcome, (yield StoreWrite(mounted.store, Remove(identity, find()))))
            if outcome.result is not Result.CONFLICT:
                write_done(outcome)
                return b""
            # Somebody made the name's next key, or moved this one, since it was looked up: look again.

    def remove_all(self, mounted: MountedProvider, authenticator: int, application: str) -> BodySteps:
        """Steps that destroy an application's keys in a provider that keeps none itself."""
        write_done((yield StoreWrite(mounted.store, RemoveClient(authenticator, application, mounted.name))))
        return b""

    def destroy_each(self, mounted: MountedProvider, identities: Iterable[KeyIdentity]) -> BodySteps:
        """Steps that destroy what a back end keeps; one failure does not keep the others."""
        for identity in identities:
            try:
                yield from self.destroy_kept(mounted, identity)
            except (WireError, PsaError) as error:
                _log.warning("a key or object of a deleted client could not be destroyed: %s", error)
        return b""

    def _create_blob(self, mounted: MountedProvider, identity: KeyIdentity, new: NewKey) -> BodySteps:
        created = yield from new.make(mounted, None)
        record = KeyRecord(identity, created.reference, created.attributes)
        generation = self._keys.generation(identity)
        write_done((yield StoreWrite(mounted.store, Insert(record, new.max_keys))))
        self._keys.note(record, generation)
        return b""

    def create_in_back_end(self, mounted: MountedProvider, identity: KeyIdentity, new: NewKey | NewObject) -> BodySteps:
        """Steps that end with the empty body, when the back end has it and the store says where."""
        for _ in range(_PLACES_TO_TRY - 1):
            try:
                return (yield from self._create_at_a_place(mounted, identity, new))
            except _PlaceTakenError:
                continue
        return (yield from self._create_at_a_place(mounted, identity, new))

    def _create_at_a_place(self, mounted: MountedProvider, identity: KeyIdentity, new: NewKey | NewObject) -> BodySteps:
        holder = self._holders[mounted.store]
        planned = yield from new.plan(mounted)
        record = KeyRecord(identity, planned, new.attributes)
        write_done((yield StoreWrite(mounted.store, Reserve(record, holder, new.max_keys))))
        try:
            created = yield from new.make(mounted, planned)
        except (WireError, PsaError) as error:
            made = _is_uncertain(error) and not (yield from self._undo(mounted, identity, planned))
            if not made:
                yield from self._tell(mounted, Release(identity, holder))
                if _wire_status(error) is ResponseStatus.PSA_ERROR_ALREADY_EXISTS:
                    raise _PlaceTakenError(
                        PsaStatus.GENERIC_ERROR, "the back end has a key at the planned place"
                    ) from error
                raise
            created = Created(planned, new.attributes)
        commit = Commit(identity, holder, created.reference, created.attributes)
        write_done((yield StoreWrite(mounted.store, commit)))
        return b""

    def _undo(self, mounted: MountedProvider, identity: KeyIdentity, planned: bytes) -> StepsTo[bool]:
        """Destroy what may have been made; False if it is there and cannot be destroyed (a write-once object)."""
        try:
            yield from self.destroy_in_back_end(mounted, planned)
        except (WireError, PsaError) as error:
            if _wire_status(error) is ResponseStatus.PSA_ERROR_NOT_PERMITTED:
                return False
            yield from self._give_up(mounted, identity, error)
            raise
        return True

    def _give_up(self, mounted: MountedProvider, identity: KeyIdentity, error: WireError | PsaError) -> BodySteps:
        """Leave to the recovery what nobody knows the fate of; not what was only too slow, and is still under way."""
        if _wire_status(error) is ResponseStatus.CONNECTION_ERROR:
            return b""
        return (yield from self._tell(mounted, Claim(identity, self._holders[mounted.store], NOBODY)))

    def _tell(self, mounted: MountedProvider, write: Write) -> BodySteps:
        outcome = expect(Outcome, (yield StoreWrite(mounted.store, write)))
        if outcome.result is not Result.DONE:
            _log.warning("the store did not take note: %s", outcome.detail or outcome.result.name)
        return b""

    def destroy_in_back_end(self, mounted: MountedProvider, reference: bytes) -> BodySteps:
        """Steps that end with the empty body, when the back end has no such key or object."""
        if mounted.stepped is not None:
            yield from carry_out(mounted.stepped.destroy(reference))
            return b""
        if not mounted.remote:
            mounted.provider.destroy(reference)
            return b""
        body = encode_operation(PsaDestroyKey(""))  # who carries a job out needs no name
        job = Job(mounted.index, Opcode.PSA_DESTROY_KEY, body, reference)
        expect(JobOutcome, (yield job)).raise_for_status()
        return b""
