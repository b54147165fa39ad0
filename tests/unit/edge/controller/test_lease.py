from __future__ import annotations

from dataclasses import replace

from edgeroot.edge.controller.lease import DURATION_S, HOLD_S, Election, Record

THEIRS = Record(version="7", holder="other")


def test_the_first_one_takes_it_and_renews_what_is_its_own() -> None:
    election = Election("me")
    assert election.first() == Record(version="", holder="me")
    election.renewed(100.0)

    assert election.leading(100.0)
    mine = Record(version="8", holder="me")
    assert election.wanted(mine, 105.0) == mine


def test_nobody_writes_who_has_not_renewed_it_in_time() -> None:
    election = Election("me")
    assert not election.leading(0.0)
    election.renewed(100.0)

    assert election.leading(100.0 + HOLD_S - 0.1)
    assert not election.leading(100.0 + HOLD_S)


def test_another_ones_is_left_alone_while_it_changes() -> None:
    election = Election("me")
    for turn in range(10):
        assert election.wanted(replace(THEIRS, version=str(turn)), turn * 10.0) is None


def test_one_that_has_not_changed_for_its_whole_duration_is_free() -> None:
    election = Election("me")
    assert election.wanted(THEIRS, 1000.0) is None
    assert election.wanted(THEIRS, 1000.0 + DURATION_S - 0.1) is None

    assert election.wanted(THEIRS, 1000.0 + DURATION_S) == Record(version="7", holder="me", transitions=1)


def test_one_that_was_given_up_is_free_at_once() -> None:
    first, second = Election("me"), Election("other")
    mine = Record(version="3", holder="me")

    assert second.wanted(first.given_up(mine), 0.0) == Record(version="3", holder="other", transitions=1)


def test_who_sees_it_in_anothers_hands_stops_at_once() -> None:
    election = Election("me")
    election.renewed(100.0)

    assert election.wanted(THEIRS, 101.0) is None
    assert not election.leading(101.0)


def test_two_replicas_never_write_at_the_same_time() -> None:
    # The other one's last renewal was asked for at 0 and seen at most a request's time later.
    holder, heir = Election("a"), Election("b")
    holder.renewed(0.0)
    record = Record(version="1", holder="a")
    heir.wanted(record, 0.0)

    moments = [tenths / 10 for tenths in range(300)]
    free = next(at for at in moments if heir.wanted(record, at) is not None)
    assert free - max(at for at in moments if holder.leading(at)) >= 5.0
