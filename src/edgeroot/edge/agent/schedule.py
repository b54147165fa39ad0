"""When a node's agent asks next. Pure: the time and chance are passed in.

There are many agents and one verifier. In peace each asks at its own place in the interval, which its name says; after
failures chance spreads them (full jitter), so that a verifier which comes back meets a stream and not a wave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Final

_JITTER: Final = 0.05
"""Of the interval, to either side."""
_LEAST: Final = 0.1
"""Of the interval: what is nearer than this was just asked."""
_DOUBTED: Final = 5
"""So many times as often a node asks that is not affirmed: whatever puts it right is to be seen soon."""
_LEAST_GAP_S: Final = 10.0
_LIFE: Final = (0.4, 0.5)
"""Of a result's life: then at the latest the next one is asked for, and half of it is left for failures."""


class Failure(Enum):
    """Why there is no result."""

    LOCAL = "the service on this node does not answer"
    """Nobody else is asked."""
    AWAY = "the verifier cannot be reached, does not answer in time, or fails"
    BUSY = "the verifier has too much to do"
    REFUSED = "the verifier does not answer as agreed"
    """It hardly does so a minute later."""


_WINDOWS_S: Final[dict[Failure, tuple[float, float]]] = {
    Failure.LOCAL: (2, 30),
    Failure.AWAY: (2, 240),  # After an outage all are back within the longest.
    Failure.BUSY: (30, 120),  # Others are sent away in the same second: they part at once.
    Failure.REFUSED: (10, 3_600),
}
"""In which the next try lies: the first, and how far they double; and never past an interval."""


@dataclass(slots=True, kw_only=True)
class Schedule:
    """``name`` is the node's; ``chance`` gives a number from 0 to below 1. At a start the agent asks at once."""

    name: str
    interval_s: float
    chance: Callable[[], float]
    failures: int = 0

    def after_result(self, now_s: float, *, is_affirming: bool, lifetime_s: float | None) -> float:
        """Seconds until the next time. ``now_s`` counts from 1970; ``lifetime_s`` is the result's, from its making."""
        self.failures = 0
        interval_s = self.interval_s if is_affirming else self.interval_s / _DOUBTED
        pause_s = (self._place() * interval_s - now_s) % interval_s
        if pause_s < _LEAST * interval_s:
            pause_s += interval_s
        pause_s += (2 * self.chance() - 1) * _JITTER * interval_s
        if lifetime_s is not None:
            earliest, latest = _LIFE
            pause_s = min(pause_s, lifetime_s * (earliest + (latest - earliest) * self.chance()))
        return max(pause_s, min(_LEAST_GAP_S, self.interval_s))

    def after_failure(self, failure: Failure, retry_after_s: float = 0.0) -> float:
        """Seconds until the next time, never before the verifier says to come back; beyond an interval none may say."""
        first_s, longest_s = _WINDOWS_S[failure]
        window_s = min(longest_s, self.interval_s, first_s * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return min(retry_after_s, self.interval_s) + self.chance() * window_s

    def _place(self) -> float:
        """Where in the interval, from 0 to below 1: the same after each restart, and for every name another."""
        return int.from_bytes(sha256(self.name.encode()).digest()[:6]) / (1 << 48)
