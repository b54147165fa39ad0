from __future__ import annotations

import pytest

from edgeroot.psa import PsaError
from edgeroot.secure.partitions.crypto.contexts import Contexts
from edgeroot.secure.runtime.api import Caller

ALICE, BOB = Caller(1, 1), Caller(2, 1)


def test_handles_count_up_in_each_callers_pool() -> None:
    contexts = Contexts[str]()
    assert [contexts.add(caller, "") for caller in (ALICE, BOB, ALICE, Caller(1, 2))] == [1, 1, 2, 1]


def test_a_full_pool_gives_up_its_oldest() -> None:
    contexts = Contexts[int]()
    for number in range(10):
        contexts.add(ALICE, number)
    assert contexts.get(ALICE, 1) == 0  # use does not make it younger
    contexts.remove(ALICE, 2)
    assert contexts.add(ALICE, 10) == 11
    assert contexts.get(ALICE, 1) == 0
    assert contexts.add(ALICE, 11) == 12
    with pytest.raises(PsaError, match="BAD_STATE"):
        contexts.get(ALICE, 1)
    assert contexts.get(ALICE, 3) == 2


def test_nobody_pushes_another_caller_out() -> None:
    contexts = Contexts[str]()
    contexts.add(BOB, "bob's")
    contexts.add(Caller(BOB.source_id, 2), "of another channel")
    for _ in range(100):
        contexts.add(ALICE, "")
    assert contexts.get(BOB, 1) == "bob's"
    assert contexts.get(Caller(BOB.source_id, 2), 1) == "of another channel"


def test_what_is_removed_is_no_more() -> None:
    contexts = Contexts[str]()
    contexts.add(ALICE, "first")
    contexts.add(ALICE, "second")
    contexts.remove(ALICE, 1)
    contexts.remove(ALICE, 1)
    contexts.remove(BOB, 2)
    with pytest.raises(PsaError, match="BAD_STATE"):
        contexts.get(ALICE, 1)
    assert contexts.get(ALICE, 2) == "second"
    contexts.drop(ALICE)
    contexts.drop(ALICE)
    with pytest.raises(PsaError, match="BAD_STATE"):
        contexts.get(ALICE, 2)


def test_handles_begin_again_after_the_last_and_skip_those_in_use() -> None:
    contexts = Contexts[str]()
    contexts.add(ALICE, "old")
    contexts._pools[ALICE].last_handle = 0xFFFFFFFE
    assert [contexts.add(ALICE, "") for _ in range(3)] == [0xFFFFFFFF, 2, 3]
