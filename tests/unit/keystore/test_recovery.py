from __future__ import annotations

from collections.abc import Sequence

import pytest

from edgeroot.keystore.lease import Lease, leases_directory_for
from edgeroot.keystore.recovery import MAX_ORPHANS, claim_of, end_of, look_up_outcome, orphans
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
from edgeroot.testing.keystore_kit import ATTRIBUTES
from tests.unit.keystore.keystore_support import PROVIDER, Crash, Store, record

KEY = record("key")
MARKED = record("marked")
AWAY = record("away", provider="pkcs11")
PROVIDERS = (PROVIDER, "pkcs11")


def test_what_the_living_hold_is_no_orphan(store: Store) -> None:
    lease = Lease.acquire(leases_directory_for(store.path))
    store.apply([Insert(MARKED), Mark(MARKED.identity, "dead"), Reserve(KEY, lease.holder), Reserve(AWAY, NOBODY)])

    assert {orphan.record.identity.key_name for orphan in orphans(store.reader, PROVIDERS)} == {"marked", "away"}
    lease.release()
    assert len(orphans(store.reader, PROVIDERS)) == 3


def test_many_orphans_come_in_portions_and_none_keeps_another_providers_from_its_turn(store: Store) -> None:
    store.apply([Reserve(record(str(number)), "dead") for number in range(MAX_ORPHANS + 1)])
    store.apply([Reserve(AWAY, "dead")])

    found = orphans(store.reader, PROVIDERS)
    assert len(found) == MAX_ORPHANS + 1
    assert AWAY in [orphan.record for orphan in found]
    store.apply([Release(orphan.record.identity, "dead") for orphan in found])
    assert len(orphans(store.reader, PROVIDERS)) == 1
    assert orphans(store.reader, ["another"]) == []


@pytest.mark.parametrize(
    ("refusal", "reserved", "marked"),
    [
        (None, Release(KEY.identity, "me"), Finish(MARKED.identity, "me")),
        (
            PsaStatus.NOT_PERMITTED,
            Commit(KEY.identity, "me", KEY.reference, KEY.attributes),
            Unmark(MARKED.identity, "me"),
        ),
        (
            PsaStatus.COMMUNICATION_FAILURE,
            Claim(KEY.identity, "me", NOBODY),
            Claim(MARKED.identity, "me", NOBODY),
        ),
    ],
)
def test_how_an_orphan_ends(store: Store, refusal: PsaStatus | None, reserved: Write, marked: Write) -> None:
    store.apply([Insert(MARKED), Mark(MARKED.identity, "dead"), Reserve(KEY, "dead")])
    found = {orphan.record.identity.key_name: orphan for orphan in orphans(store.reader, PROVIDERS)}
    store.apply([claim_of(orphan, "me") for orphan in found.values()])

    ends = [end_of(found["key"], "me", refusal), end_of(found["marked"], "me", refusal)]
    assert ends == [reserved, marked]
    assert {outcome.result for outcome in store.apply(ends)} == {Result.DONE}


def test_who_claims_an_orphan_first_has_it_and_its_late_holder_no_more(store: Store) -> None:
    store.apply([Reserve(KEY, "slow")])
    [orphan] = orphans(store.reader, PROVIDERS)

    assert [outcome.result for outcome in store.apply([claim_of(orphan, "me"), claim_of(orphan, "too late")])] == [
        Result.DONE,
        Result.CONFLICT,
    ]
    late: list[Write] = [Commit(KEY.identity, "slow", b"r", ATTRIBUTES[0]), Release(KEY.identity, "slow")]
    assert [outcome.result for outcome in store.apply(late)] == [Result.CONFLICT] * 2


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
        ([Reserve(KEY, "dead")], Claim(KEY.identity, "dead", "me")),
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


def test_name_taken_by_somebody_else_is_not_our_insert(store: Store) -> None:
    store.apply([Insert(record(reference=b"theirs"))])

    assert look_up_outcome(store.reader, Insert(KEY)) == Outcome(
        Result.FAILED, "the writer ended before it stored this write"
    )
