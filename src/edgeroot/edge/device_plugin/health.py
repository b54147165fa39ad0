"""Which slots are healthy: what is concluded from pings. Pure; ``probe`` sends them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from edgeroot.edge.device_plugin.slots import Slot


class Outcome(Enum):
    """What became of a slot in a round."""

    ANSWERED = "answered"
    CLOSED = "closed"
    """The connection was taken and ended without an answer: so the service treats a slot at its bound."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """After how many rounds in a row a slot counts as unhealthy, and as healthy again.

    A restart of the service takes less than ``bad_rounds``, so that it changes nothing.
    """

    bad_rounds: int = 3
    good_rounds: int = 2


@dataclass(slots=True)
class _State:
    """``streak``: how many rounds in a row have said the opposite of ``healthy``."""

    healthy: bool
    streak: int = 0


class SlotHealth:
    """The health of all slots, round by round.

    As all slots lead to one service, a round pings only the next in turn, and those that are in doubt or unhealthy. If
    one of the others does not answer, it may be the service: then all are pinged.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules: Final = rules
        self._states: dict[Slot, _State] = {}
        self._next = 0

    @property
    def healthy(self) -> frozenset[Slot]:
        return frozenset(slot for slot, state in self._states.items() if state.healthy)

    def in_turn(self, slots: Sequence[Slot]) -> frozenset[Slot]:
        """The slots to begin a round with; every slot has its turn."""
        if not slots:
            return frozenset()
        chosen = slots[self._next % len(slots)]
        self._next += 1
        return frozenset({chosen, *(slot for slot in slots if not self._is_sound(slot))})

    def calls_for_all(self, outcomes: Mapping[Slot, Outcome]) -> bool:
        """Whether the rest is to be pinged too before :meth:`conclude`."""
        return any(self._is_sound(slot) and outcome is not Outcome.ANSWERED for slot, outcome in outcomes.items())

    def conclude(self, slots: Sequence[Slot], outcomes: Mapping[Slot, Outcome]) -> None:
        """End a round. Slots without an outcome stay as they are; those that are not among ``slots`` are forgotten."""
        alive = Outcome.ANSWERED in outcomes.values()
        self._states = {slot: state for slot, state in self._states.items() if slot in set(slots)}
        for slot, outcome in outcomes.items():
            # A pod that opens all the connections that its slot may have is to harm neither its node nor itself.
            good = outcome is Outcome.ANSWERED or (outcome is Outcome.CLOSED and alive)
            self._take(slot, good=good)

    def _take(self, slot: Slot, *, good: bool) -> None:
        state = self._states.get(slot)
        if state is None:
            self._states[slot] = _State(good)
        elif state.healthy == good:
            state.streak = 0
        else:
            state.streak += 1
            if state.streak >= (self._rules.good_rounds if good else self._rules.bad_rounds):
                state.healthy, state.streak = good, 0

    def _is_sound(self, slot: Slot) -> bool:
        state = self._states.get(slot)
        return state is not None and state.healthy and not state.streak
