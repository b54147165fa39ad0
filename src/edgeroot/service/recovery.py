"""What processes of a running service leave behind when they are killed, or when their back end is.

A creation or destruction that nobody answered is undone or finished here, so that its name is free again and its back
end keeps no key that nobody has. At the start of a service that is done before the first request; see
:mod:`edgeroot.keystore.recovery`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyRecord, KeyStoreError, StoredKey
from edgeroot.keystore.recovery import claim_of, end_of, orphans
from edgeroot.keystore.writes import Claim, Outcome, Result
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.service.creation import KeyFactory
from edgeroot.service.effects import BodySteps, StepsTo, StoreWrite, expect
from edgeroot.service.mounted import MountedProvider
from edgeroot.wire.status import ResponseStatus, WireError

_log: Final = logging.getLogger(__name__)
_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 80.0


class Recovery:
    """Rounds of looking for orphans and resolving them. ``holders`` are the leases of this process, one a store.

    An orphan has to be seen twice: what its process had sent to a back end before it ended has been done by then.
    """

    def __init__(
        self,
        providers: Sequence[MountedProvider],
        readers: Sequence[Reader],
        holders: Sequence[str],
        factory: KeyFactory,
    ) -> None:
        self._mounted = {name: one for one in providers for name in (one.name, one.objects_name)}
        self._readers = readers
        self._holders = holders
        self._factory = factory
        self._seen: set[StoredKey] = set()
        self._begun: set[KeyRecord] = set()  # claimed, and the store has not said yet that they have ended
        self.pause_s = _PAUSE_S
        """How long to wait before the next round: longer each time, while a back end is away."""

    def round(self) -> BodySteps:
        """Steps that end with the empty body, whatever happens."""
        resolved = waiting = 0
        try:
            found = self._found()
            before, self._seen = self._seen, {orphan for _, orphan in found}
            for store, orphan in [one for one in found if one[1] in before]:
                outcome = yield from self._resolve(store, orphan)
                if outcome is not None:
                    resolved, waiting = resolved + outcome, waiting + (not outcome)
        except (KeyStoreError, OSError, WireError):  # of the store, of leases, and of a writer that does not answer
            return b""  # whoever needs the store says what is wrong with it
        self.pause_s = min(2 * self.pause_s, _LONGEST_PAUSE_S) if waiting else _PAUSE_S
        if resolved:
            _log.warning("%d creations or destructions that nobody had answered were undone or finished", resolved)
        return b""

    def _found(self) -> list[tuple[int, StoredKey]]:
        """Orphans of our providers, and what we have begun ourselves, each with the index of its store."""
        found: list[tuple[int, StoredKey]] = []
        for store, (reader, holder) in enumerate(zip(self._readers, self._holders, strict=True)):
            providers = [name for name, mounted in self._mounted.items() if mounted.store == store]
            found += ((store, orphan) for orphan in orphans(reader, providers))
            if self._begun:
                found += ((store, one) for one in reader.pending(holder) if one.record in self._begun)
        return found

    def _resolve(self, store: int, orphan: StoredKey) -> StepsTo[bool | None]:
        """Whether the orphan has ended; None if it was somebody else's."""
        holder, record = self._holders[store], orphan.record
        if orphan.holder != holder:
            self._begun.add(record)
            claimed = expect(Outcome, (yield StoreWrite(store, claim_of(orphan, holder))))
            if claimed.result is not Result.DONE:
                self._begun.discard(record)
                return None
        refusal: PsaStatus | None = None
        try:
            yield from self._factory.destroy_in_back_end(self._mounted[record.identity.provider], record.reference)
        except PsaError as error:
            refusal = error.status
        except WireError as error:
            refused = error.status is ResponseStatus.PSA_ERROR_NOT_PERMITTED
            refusal = PsaStatus.NOT_PERMITTED if refused else PsaStatus.COMMUNICATION_FAILURE
        end = end_of(orphan, holder, refusal)
        ended = expect(Outcome, (yield StoreWrite(store, end)))
        if ended.result in (Result.DONE, Result.CONFLICT):
            self._begun.discard(record)
        return ended.result is Result.DONE and not isinstance(end, Claim)
