from __future__ import annotations

from collections.abc import Mapping

import pytest

from edgeroot.edge.device_plugin.health import Outcome, Rules, SlotHealth
from edgeroot.edge.device_plugin.slots import Slot, first_slots

SLOTS = first_slots(3)
RULES = Rules(bad_rounds=3, good_rounds=2)
DOWN = dict.fromkeys(SLOTS, Outcome.FAILED)


def play(health: SlotHealth, truth: Mapping[Slot, Outcome]) -> set[Slot]:
    """One round as ``probe`` does it; the slots that were pinged."""
    outcomes = {slot: truth[slot] for slot in health.in_turn(SLOTS)}
    if health.calls_for_all(outcomes):
        outcomes = dict(truth)
    health.conclude(SLOTS, outcomes)
    return set(outcomes)


def up(**others: Outcome) -> dict[Slot, Outcome]:
    return {slot: others.get(f"s{slot.number}", Outcome.ANSWERED) for slot in SLOTS}


@pytest.fixture
def healthy() -> SlotHealth:
    health = SlotHealth(RULES)
    play(health, up())
    assert health.healthy == set(SLOTS)
    return health


def test_nothing_is_healthy_before_it_has_answered() -> None:
    health = SlotHealth(RULES)

    assert health.healthy == set()
    assert play(health, DOWN) == set(SLOTS)
    assert health.healthy == set()


def test_in_quiet_times_each_round_pings_the_next(healthy: SlotHealth) -> None:
    assert [play(healthy, up()) for _ in range(3)] == [{SLOTS[1]}, {SLOTS[2]}, {SLOTS[0]}]


def test_a_short_absence_changes_nothing(healthy: SlotHealth) -> None:
    for _ in range(5):
        play(healthy, DOWN)
        play(healthy, DOWN)
        assert healthy.healthy == set(SLOTS)
        play(healthy, up())
        assert healthy.healthy == set(SLOTS)


def test_a_long_one_makes_all_slots_unhealthy_at_once(healthy: SlotHealth) -> None:
    seen = []
    for _ in range(3):
        play(healthy, DOWN)
        seen.append(len(healthy.healthy))

    assert seen == [3, 3, 0]


def test_after_it_one_answer_is_not_enough(healthy: SlotHealth) -> None:
    for _ in range(3):
        play(healthy, DOWN)

    for truth, expected in ((up(), 0), (DOWN, 0), (up(), 0), (up(), 3)):
        play(healthy, truth)
        assert len(healthy.healthy) == expected


def test_one_slot_that_is_gone_takes_no_other_along(healthy: SlotHealth) -> None:
    for _ in range(6):
        play(healthy, up(s1=Outcome.FAILED))

    assert healthy.healthy == {SLOTS[0], SLOTS[2]}
    assert SLOTS[1] in play(healthy, up(s1=Outcome.FAILED))


@pytest.mark.parametrize("rounds", [1, 12])
def test_a_slot_at_its_bound_is_healthy_while_the_service_answers_others(healthy: SlotHealth, rounds: int) -> None:
    for _ in range(rounds):
        play(healthy, up(s1=Outcome.CLOSED))

    assert healthy.healthy == set(SLOTS)


def test_a_service_that_closes_every_connection_is_not_healthy(healthy: SlotHealth) -> None:
    for _ in range(3):
        play(healthy, dict.fromkeys(SLOTS, Outcome.CLOSED))

    assert healthy.healthy == set()


def test_a_slot_that_is_taken_away_is_forgotten(healthy: SlotHealth) -> None:
    healthy.conclude(SLOTS[:2], {})
    assert healthy.healthy == set(SLOTS[:2])

    healthy.conclude(SLOTS, {SLOTS[2]: Outcome.FAILED})
    assert healthy.healthy == set(SLOTS[:2])


def test_without_slots_there_is_nothing_to_ping() -> None:
    assert SlotHealth(RULES).in_turn(()) == frozenset()
