"""The agent's schedule by itself, and 5,000 of them with one verifier, in simulated time."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from edgeroot.edge.agent.schedule import Failure, Schedule

AGENTS = 5_000
INTERVAL_S = 600.0
LIFETIME_S = 1_800.0
NOW_S = 1_800_000_000.0


def schedule(name: str = "node-1", *, chance: Callable[[], float] = lambda: 0.5) -> Schedule:
    return Schedule(name=name, interval_s=INTERVAL_S, chance=chance)


def affirmed(one: Schedule, now_s: float, lifetime_s: float | None = LIFETIME_S) -> float:
    return one.after_result(now_s, is_affirming=True, lifetime_s=lifetime_s)


def test_each_node_has_its_own_place_in_the_interval() -> None:
    one = schedule()
    first_s = NOW_S + affirmed(one, NOW_S)
    again_s = first_s + affirmed(one, first_s)
    assert again_s - first_s == pytest.approx(INTERVAL_S)
    restarted_s = NOW_S + 321 + affirmed(schedule(), NOW_S + 321)
    assert (restarted_s - first_s) % INTERVAL_S == pytest.approx(0, abs=1e-3)
    places = [int((NOW_S + affirmed(schedule(f"node-{number}"), NOW_S)) % INTERVAL_S // 60) for number in range(1_000)]
    counts = Counter(places)
    assert set(counts) == set(range(10))
    assert max(counts.values()) < 150, "an even spread is 100"


def test_chance_moves_it_a_little_and_never_twice_in_a_row() -> None:
    for chance in (lambda: 0.0, lambda: 0.999):
        one = schedule(chance=chance)
        at_s = NOW_S + affirmed(one, NOW_S)
        for _ in range(5):
            pause_s = affirmed(one, at_s)
            assert 0.9 * INTERVAL_S < pause_s < 1.15 * INTERVAL_S
            at_s += pause_s


def test_a_result_that_expires_soon_is_followed_soon() -> None:
    for lifetime_s in (60.0, 300.0, 600.0):
        for chance in (lambda: 0.0, lambda: 0.999):
            assert affirmed(schedule(chance=chance), NOW_S, lifetime_s) <= lifetime_s / 2
    assert affirmed(schedule(), NOW_S, 0.0) == 10, "no verifier has itself asked all the time"
    assert affirmed(schedule(), NOW_S, -1e9) == 10
    assert affirmed(schedule(), NOW_S, None) == affirmed(schedule(), NOW_S, 1e9)


def test_a_node_that_is_not_affirmed_asks_more_often() -> None:
    at_s, one = NOW_S, schedule()
    for _ in range(3):
        pause_s = one.after_result(at_s, is_affirming=False, lifetime_s=LIFETIME_S)
        assert pause_s < 1.2 * INTERVAL_S / 5
        at_s += pause_s


def test_pauses_grow_to_a_bound_and_a_result_ends_them() -> None:
    one = schedule(chance=lambda: 0.999999)
    pauses = [one.after_failure(Failure.AWAY) for _ in range(12)]
    assert pauses[:4] == pytest.approx([2, 4, 8, 16], rel=1e-3)
    assert pauses[-1] == pytest.approx(240, rel=1e-3)
    assert [one.after_failure(kind) for kind in (Failure.LOCAL, Failure.BUSY, Failure.REFUSED)] == pytest.approx(
        [30, 120, INTERVAL_S], rel=1e-3
    )
    affirmed(one, NOW_S)
    assert one.after_failure(Failure.AWAY) == pytest.approx(2, rel=1e-3)
    assert schedule(chance=lambda: 0.0).after_failure(Failure.AWAY) == 0
    for _ in range(100_000):
        one.failures += 1
    assert one.after_failure(Failure.AWAY) <= 240


def test_nobody_comes_back_before_he_is_told_to() -> None:
    one = schedule(chance=lambda: 0.0)
    assert one.after_failure(Failure.BUSY, 7.0) == 7
    assert one.after_failure(Failure.BUSY, 1e12) == INTERVAL_S, "the longest that a verifier can send somebody away for"


@dataclass
class Site:
    """Agents and a verifier. ``reached`` is whether an agent gets through; ``capacity`` results a second at most.

    ``asked`` counts those that got through, by the second; ``results`` holds, of each, when it had results.
    """

    agents: int
    reached: Callable[[int, float], bool]
    capacity: int
    seed: int = 1
    asked: Counter[int] = field(default_factory=Counter)
    results: dict[int, list[float]] = field(default_factory=dict)

    def run(self, first: Callable[[int], float], until_s: float) -> None:
        chance = random.Random(self.seed)
        schedules = [schedule(f"node-{number}", chance=chance.random) for number in range(self.agents)]
        served: Counter[int] = Counter()
        events = [(first(number), number) for number in range(self.agents)]
        self.results = {number: [] for number in range(self.agents)}
        heapq.heapify(events)
        while events[0][0] < until_s:
            at_s, number = events[0]
            one = schedules[number]
            if not self.reached(number, at_s):
                pause_s = one.after_failure(Failure.AWAY)
            else:
                self.asked[int(at_s)] += 1
                if served[int(at_s)] >= self.capacity:
                    pause_s = one.after_failure(Failure.BUSY, 1.0)
                else:
                    served[int(at_s)] += 1
                    self.results[number].append(at_s)
                    pause_s = affirmed(one, NOW_S + at_s)
            heapq.heapreplace(events, (at_s + pause_s, number))

    def rate(self, begin_s: float, end_s: float) -> int:
        """The busiest second's."""
        return max(count for at_s, count in self.asked.items() if begin_s <= at_s < end_s)


OUTAGE_S = (3_000.0, 6_600.0)
ENOUGH = 1_000_000


def back_s(number: int) -> float:
    """When an agent is connected again after the outage: all within a minute."""
    return OUTAGE_S[1] + random.Random(f"{number}").uniform(0, 60)


@pytest.mark.parametrize("capacity", [ENOUGH, 50])
def test_5000_agents_come_back_after_an_hour(capacity: int) -> None:
    """Nobody is lost, the verifier is not run over, and after five minutes all is as before."""
    returns = [back_s(number) for number in range(AGENTS)]
    site = Site(AGENTS, lambda number, at_s: not OUTAGE_S[0] <= at_s < returns[number], capacity)
    site.run(lambda number: random.Random(-number).uniform(0, INTERVAL_S), until_s=OUTAGE_S[1] + 4_000)
    before = site.rate(1_000, OUTAGE_S[0])
    assert before < 30, "five thousand in ten minutes are 8.3 a second"
    came_back = [next(at_s for at_s in site.results[number] if at_s >= OUTAGE_S[1]) for number in range(AGENTS)]
    late = [came_s - returns[number] for number, came_s in enumerate(came_back)]
    assert max(late) < 300
    assert site.rate(OUTAGE_S[1], OUTAGE_S[1] + 360) < 100
    assert site.rate(OUTAGE_S[1] + 360, OUTAGE_S[1] + 4_000) < 30, "they stay together"


def test_5000_agents_start_within_a_minute_and_are_all_heard() -> None:
    """A cold start asks at once; a verifier that manages 50 a second sends the rest away, and has all of them soon."""
    site = Site(AGENTS, lambda _number, _at_s: True, capacity=50)
    site.run(lambda number: random.Random(number).uniform(0, 60), until_s=3_600)
    first = [results[0] for results in site.results.values()]
    assert max(first) < 300
    assert site.rate(0, 120) < 200
    assert site.rate(900, 3_600) < 30


def test_a_single_agent_that_starts_waits_for_nothing() -> None:
    site = Site(1, lambda _number, at_s: at_s > 1, capacity=1)
    site.run(lambda _number: 0.0, until_s=100)
    assert 1 < site.results[0][0] < 10


def test_no_result_runs_out_while_the_verifier_is_there() -> None:
    site = Site(50, lambda _number, at_s: not 7_000 <= at_s < 7_300, capacity=ENOUGH)
    site.run(float, until_s=20_000)
    gaps = [after - before for one in site.results.values() for before, after in pairwise(one)]
    assert max(gaps) < LIFETIME_S / 1.5
