"""How often applications may ask, over all workers."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from edgeroot.auth import Identity
from edgeroot.daemon.rates import RateTable
from tests.support.forked import outcome_of

TILL = Identity(4, "spiffe://a/ns/shop/sa/till")
CAMERA = Identity(4, "spiffe://a/ns/yard/sa/camera")
TENTH_NS = 100_000_000


@dataclass(slots=True)
class Clock:
    now_ns: int = 10**12

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def granted(table: RateTable, identity: Identity, asked: int, *, burst: int = 5) -> int:
    return sum(table.take(identity, interval_ns=TENTH_NS, burst=burst) for _ in range(asked))


def test_a_burst_then_the_rate(clock: Clock) -> None:
    table = RateTable(clock)
    assert granted(table, TILL, 20) == 5
    clock.now_ns += TENTH_NS - 1
    assert granted(table, TILL, 20) == 0
    clock.now_ns += 1
    assert granted(table, TILL, 20) == 1
    clock.now_ns += 3 * TENTH_NS
    assert granted(table, TILL, 20) == 3
    clock.now_ns += 3600 * 10**9
    assert granted(table, TILL, 20) == 5  # a long pause gives no more than a burst


def test_applications_do_not_use_up_each_others_requests(clock: Clock) -> None:
    table = RateTable(clock)
    assert granted(table, TILL, 20) == 5
    assert granted(table, CAMERA, 20) == 5
    assert granted(table, TILL._replace(authenticator=1), 20) == 5


def test_the_same_application_in_several_workers_has_one_bucket(clock: Clock) -> None:
    table = RateTable(clock)

    def work() -> int:
        return granted(table, CAMERA, 2) + granted(table, TILL, 3)

    assert [outcome_of(work) for _ in range(4)] == [5, 4, 1, 0]
    assert granted(table, TILL, 1) == 0


def test_workers_at_the_same_time_get_no_more_than_one(clock: Clock) -> None:
    table = RateTable(clock)
    reading, writing = os.pipe()
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writing, bytes((granted(table, TILL, 5000, burst=100),)))
            finally:
                os._exit(0)
        pids.append(pid)
    os.close(writing)
    for pid in pids:
        os.waitpid(pid, 0)
    with os.fdopen(reading, "rb") as pipe:
        counts = list(pipe.read())
    assert len(counts) == 4
    # A worker that is interrupted inside is not waited for: then one request is not counted.
    assert 100 <= sum(counts) <= 104


def test_a_row_whose_bucket_is_full_again_is_for_the_next(clock: Clock) -> None:
    table = RateTable(clock, rows=3)
    many = [Identity(4, f"spiffe://a/{number}") for number in range(4)]
    assert [granted(table, one, 9) for one in many[:2]] == [5, 5]
    assert granted(table, many[2], 9) == 5  # in the last row
    assert granted(table, many[3], 9) == 0  # which all share who come while nobody is idle
    clock.now_ns += 5 * TENTH_NS
    assert granted(table, many[3], 9) == 5
    assert granted(table, many[0], 9) == 5
