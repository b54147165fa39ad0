"""The books of open channels: which context serves whom, how many there may be, and that they end."""

from __future__ import annotations

from collections import Counter

import pytest

from edgeroot.secure.spm.channels import Channels

ALICE, BOB = 1, 2


@pytest.fixture
def channels() -> Channels[str]:
    return Channels()


def open_one(channels: Channels[str], source_id: int, contexts: list[str]) -> tuple[int, str]:
    context = channels.choose(source_id, contexts)
    assert context is not None
    return channels.opened(source_id, context), context


@pytest.mark.parametrize(("contexts", "used"), [("a", 1), ("ab", 1), ("abc", 2), ("abcd", 2), ("abcdefgh", 4)])
def test_a_source_is_spread_evenly_over_half_of_the_contexts(channels: Channels[str], contexts: str, used: int) -> None:
    counts = Counter(open_one(channels, ALICE, list(contexts))[1] for _ in range(5 * used))
    assert set(counts.values()) == {5}
    assert len(counts) == used


def test_the_next_source_gets_the_contexts_with_the_least_to_do(channels: Channels[str]) -> None:
    of_alice = open_one(channels, ALICE, ["a", "b"])[1]
    assert open_one(channels, BOB, ["a", "b"])[1] != of_alice


def test_what_has_ended_is_counted_no_more(channels: Channels[str]) -> None:
    number, context = open_one(channels, ALICE, ["a"])
    open_one(channels, BOB, ["a"])
    channels.closed(number, context)
    assert channels.count("a") == 1
    channels.closed(number, context)  # which was said already
    assert channels.count("a") == 1


def test_only_the_serving_context_ends_a_channel(channels: Channels[str]) -> None:
    number, _ = open_one(channels, ALICE, ["a"])
    open_one(channels, ALICE, ["b"])
    channels.closed(number, "b")
    channels.closed(number + 7, "a")
    assert (channels.count("a"), channels.count("b")) == (1, 1)


def test_channels_end_with_their_context(channels: Channels[str]) -> None:
    number, _ = open_one(channels, ALICE, ["a"])
    other, _ = open_one(channels, ALICE, ["b"])
    channels.forget("a")
    channels.closed(number, "a")
    assert (channels.count("a"), channels.count("b")) == (0, 1)
    channels.closed(other, "b")
    assert channels.count("b") == 0


def test_a_source_has_256_at_most_in_a_context_and_others_are_not_affected(channels: Channels[str]) -> None:
    numbers = [open_one(channels, ALICE, ["a"])[0] for _ in range(256)]
    assert channels.choose(ALICE, ["a"]) is None
    assert channels.choose(BOB, ["a"]) == "a"
    channels.closed(numbers[100], "a")
    assert channels.choose(ALICE, ["a"]) == "a"


def test_numbers_are_those_of_no_other_open_channel(channels: Channels[str]) -> None:
    first, _ = open_one(channels, ALICE, ["a"])
    channels._number = 0xFFFFFFFF - 1  # after many channels
    later = [open_one(channels, ALICE, ["a"])[0] for _ in range(4)]
    assert len({first, *later}) == 5
    assert all(0 <= number <= 0xFFFFFFFF for number in later)
