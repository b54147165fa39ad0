from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgeroot.keystore.recovery import Resolution, look_up_outcome, resolve_orphans
from edgeroot.keystore.writes import (
    MAX_ORPHANS,
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
from edgeroot.testing.keystore_kit import ATTRIBUTES
from tests.unit.keystore.keystore_support import PROVIDER, Crash, Store, record

KEY = record("key")
MARKED = record("marked")
AWAY = record("away", provider="pkcs11")


def test_orphans_are_destroyed_and_their_names_become_free(store: Store) -> None:
    store.apply([Insert(MARKED), Mark(MARKED.identity, "dead"), Reserve(KEY, "dead"), Reserve(AWAY, "dead")])
    store.apply([Reserve(record("busy"), "alive")])
    orphans = store.apply([ClaimOrphans("me", ("dead",))])[0].stored
    destroyed = []

    def destroy(provider: str, reference: bytes) -> None:
        if provider == "pkcs11":
            raise PsaError(PsaStatus.COMMUNICATION_FAILURE)
        destroyed.append(reference)

    resolution = resolve_orphans(orphans, destroy)
    assert sorted(resolution.writes, key=str) == [Finish(MARKED.identity, "me"), Release(KEY.identity, "me")]
    assert destroyed == [b"blob", b"blob"]
    assert [waiting.record for waiting in resolution.waiting] == [AWAY]
    assert {outcome.result for outcome in store.apply(resolution.writes)} == {Result.DONE}
    taken = [r.identity.key_name for r in (KEY, MARKED, AWAY) if store.reader.exists_any_state(r.identity)]
    assert taken == ["away"]

    again = resolve_orphans(resolution.waiting, lambda provider, reference: None)
    assert again == Resolution([Release(AWAY.identity, "me")], [])


def test_late_holder_finds_its_reservation_gone(store: Store) -> None:
    store.apply([Reserve(KEY, "slow"), ClaimOrphans("me", ("slow",))])

    late: list[Write] = [Commit(KEY.identity, "slow", b"r", ATTRIBUTES[0]), Release(KEY.identity, "slow")]
    assert [outcome.result for outcome in store.apply(late)] == [Result.CONFLICT] * 2


def test_many_orphans_come_in_portions(store: Store) -> None:
    store.apply([Reserve(record(str(number)), "dead") for number in range(MAX_ORPHANS + 1)])
    claim = ClaimOrphans("me", ("dead",))

    assert [len(store.apply([claim])[0].stored) for _ in range(3)] == [MAX_ORPHANS, 1, 0]


@pytest.mark.parametrize(
    ("before", "write"),
    [
        ([], Insert(KEY)),
        ([Insert(KEY)], Remove(KEY.identity, KEY.reference)),
        ([], Reserve(KEY, "h")),
        ([Reserve(KEY, "h")], Commit(KEY.identity, "h", b"r", ATTRIBUTES[0])),
        ([Reserve(KEY, "h")], Release(KEY.identity, "h")),
        ([Insert(KEY)], Mark(KEY.identity, "h")),
        ([Insert(KEY), Mark(KEY.identity, "h")], Unmark(KEY.identity, "h")),
        ([Insert(KEY), Mark(KEY.identity, "h")], Finish(KEY.identity, "h")),
        ([Insert(KEY)], Replace(KEY.identity, b"blob", b"new")),
        ([Insert(KEY)], RemoveClient(3, "1000", PROVIDER)),
        ([], SetProviderState(PROVIDER, b"state")),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("is_committed", [True, False])
def test_unanswered_write_is_looked_up(
    store: Store, before: Sequence[Write], write: Write, *, is_committed: bool
) -> None:
    store.apply(before)
    store.mortal.statements_left = 4 if is_committed and isinstance(write, Replace) else 3 if is_committed else 2
    with pytest.raises(Crash):
        store.apply([write])
    store.reopen()

    outcome = look_up_outcome(store.reader, write)
    assert outcome.result is (Result.DONE if is_committed else Result.FAILED)
    if isinstance(write, Mark) and is_committed:
        assert [stored.record for stored in outcome.stored] == [KEY]


def test_unanswered_claim_still_hands_over(store: Store) -> None:
    store.apply([Reserve(KEY, "dead"), ClaimOrphans("me", ("dead",))])

    outcome = look_up_outcome(store.reader, ClaimOrphans("me", ("dead",)))
    assert [stored.record for stored in outcome.stored] == [KEY]


def test_name_taken_by_somebody_else_is_not_our_insert(store: Store) -> None:
    store.apply([Insert(record(reference=b"theirs"))])

    assert look_up_outcome(store.reader, Insert(KEY)) == Outcome(
        Result.FAILED, "the writer ended before it stored this write"
    )
