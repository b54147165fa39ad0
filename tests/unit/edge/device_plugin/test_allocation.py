from __future__ import annotations

import pytest

from edgeroot.edge.device_plugin.allocation import AllocationError, slot_for
from edgeroot.edge.device_plugin.slots import Slot, first_slots


def test_a_container_gets_the_slot_that_was_chosen_for_it() -> None:
    assert slot_for(["slot-01"], first_slots(3), "edgeroot.dev/parsec") == Slot(1)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([], "one slot and asks for 0: set the limit edgeroot.dev/parsec to 1"),
        (["slot-00", "slot-01"], "asks for 2"),
        (["slot-00", "slot-00"], "asks for 2"),
        (["slot-03"], "'slot-03' is no edgeroot.dev/parsec of this node"),
        (["slot-1"], "no edgeroot.dev/parsec of this node"),
        (["../../etc"], "no edgeroot.dev/parsec of this node"),
        ([""], "no edgeroot.dev/parsec of this node"),
    ],
)
def test_what_cannot_be_had_is_refused_in_words(ids: list[str], words: str) -> None:
    with pytest.raises(AllocationError, match=words.replace("/", "/")):
        slot_for(ids, first_slots(3), "edgeroot.dev/parsec")
