from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.keystore.records import KeyIdentity, KeyState, StoredKey
from edgeroot.keystore.write_codec import (
    MAX_MESSAGE_BYTES,
    decode_outcome,
    decode_write,
    encode_outcome,
    encode_write,
)
from edgeroot.keystore.writes import Outcome, RemoveClient, Result, SetProviderState
from edgeroot.testing.keystore_kit import random_write
from tests.unit.keystore.keystore_support import record

OUTCOMES = [
    Outcome(Result.DONE),
    Outcome(Result.FAILED, "the disk is öut of order"),
    Outcome(Result.DONE, count=2**40),
    Outcome(
        Result.DONE,
        stored=(StoredKey(record(), KeyState.MARKED, "h"), StoredKey(record("b\0"), KeyState.LIVE, None)),
    ),
]


@given(st.integers(0, 2**32))
def test_every_write_survives_the_channel(seed: int) -> None:
    write = random_write(random.Random(seed))

    assert decode_write(encode_write(write)) == write


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_outcomes_survive_the_channel(outcome: Outcome) -> None:
    assert decode_outcome(encode_outcome(outcome)) == outcome


@given(st.integers(0, 2**32))
def test_shortened_and_lengthened_writes_are_refused(seed: int) -> None:
    message = encode_write(random_write(random.Random(seed)))

    for wrong in (*(message[:size] for size in range(0, len(message), 7)), message + b"\0"):
        with pytest.raises(ValueError):
            decode_write(wrong)


@given(st.binary(max_size=200))
def test_garbage_is_decoded_or_refused(garbage: bytes) -> None:
    for decode in (decode_write, decode_outcome):
        try:
            decode(garbage)
        except ValueError:
            continue


def test_a_length_beyond_the_message_takes_no_memory() -> None:
    claim_orphans_with_many_holders = b"\x0c" + b"\xff\xff" + b"\xff\xff\xff\xff"
    claim_orphans_with_a_long_holder = b"\x0c" + b"\1\0" + b"\xff\xff\xff\xff"

    with pytest.raises(ValueError, match="too early"):
        decode_write(claim_orphans_with_many_holders)
    with pytest.raises(ValueError, match="another length"):
        decode_write(claim_orphans_with_a_long_holder)


def test_too_much_is_refused_on_both_sides() -> None:
    with pytest.raises(ValueError, match="more than"):
        encode_write(SetProviderState("p", bytes(MAX_MESSAGE_BYTES)))
    with pytest.raises(ValueError, match="too long"):
        decode_write(bytes(MAX_MESSAGE_BYTES + 1))


def test_numbers_and_text_outside_the_format_are_refused() -> None:
    with pytest.raises(ValueError, match="32 bits"):
        encode_write(RemoveClient(2**32, "a", "p"))
    with pytest.raises(ValueError, match="surrogates"):
        encode_write(RemoveClient(1, "\ud800", "p"))


def test_identities_with_equal_concatenations_differ() -> None:
    assert encode_write(RemoveClient(1, "ab", "c")) != encode_write(RemoveClient(1, "a", "bc"))
    assert KeyIdentity(1, "ab", "c", "") != KeyIdentity(1, "a", "bc", "")
