from __future__ import annotations

from edgeroot.verifier.server.limits import RateLimit


def test_twice_the_rate_at_once_and_the_rate_then() -> None:
    limit = RateLimit(5)
    assert [limit.allows("a", 0.0) for _ in range(11)] == [True] * 10 + [False]
    assert [limit.allows("a", 0.25) for _ in range(2)] == [True, False]
    assert limit.allows("b", 0.25)
    assert [limit.allows("a", 100.0) for _ in range(11)] == [True] * 10 + [False]


def test_there_is_room_for_so_many_addresses() -> None:
    limit = RateLimit(0.1)
    assert limit.allows("first", 0.0)
    assert not limit.allows("first", 0.0)
    for number in range(10_000):
        limit.allows(str(number), 0.0)
    assert limit.allows("first", 0.0), "the address not seen longest is remembered for ever"
