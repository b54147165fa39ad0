"""Whose turn it is: names of nodes, the urgent first, each once, and after a failure later. It does no IO."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from heapq import heappop, heappush
from typing import Final

FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 30.0
LONGEST_URGENT_S: Final = 2.0


class Urgency(IntEnum):
    """Lower comes first."""

    CONTRAINDICATED = 0
    LOST = 1
    GAINED = 2


class WorkQueue:
    """A name is at most once in work. What is added meanwhile is done again afterwards.

    ``spread`` turns a delay into one by chance, at most as long.
    """

    def __init__(self, spread: Callable[[float], float]) -> None:
        self._spread = spread
        # Dictionaries keep the order in which names came, and forget one at any place.
        self._waiting: dict[Urgency, dict[str, None]] = {urgency: {} for urgency in Urgency}
        self._urgency: dict[str, Urgency] = {}
        self._working: set[str] = set()
        self._again: dict[str, Urgency] = {}
        self._failures: dict[str, int] = {}
        self._delayed: list[tuple[float, str, Urgency]] = []

    def __len__(self) -> int:
        """How many wait for their turn."""
        return len(self._urgency)

    def add(self, name: str, urgency: Urgency) -> None:
        if name in self._working:
            self._again[name] = min(urgency, self._again.get(name, urgency))
            return
        known = self._urgency.get(name)
        if known is not None:
            if known <= urgency:
                return
            del self._waiting[known][name]
        self._urgency[name] = urgency
        self._waiting[urgency][name] = None

    def take(self, least: Urgency = Urgency.GAINED) -> str | None:
        """The next name of at least this urgency, which is then in work until :meth:`done` or :meth:`failed`."""
        for urgency, waiting in self._waiting.items():
            if waiting and urgency <= least:
                name = next(iter(waiting))
                del waiting[name], self._urgency[name]
                self._working.add(name)
                return name
        return None

    def done(self, name: str) -> None:
        self._failures.pop(name, None)
        self._finish(name)

    def failed(self, name: str, urgency: Urgency, now_s: float) -> float:
        """It is tried again later; after how many seconds."""
        count = self._failures[name] = self._failures.get(name, 0) + 1
        longest_s = LONGEST_URGENT_S if urgency is Urgency.CONTRAINDICATED else LONGEST_DELAY_S
        delay_s = self._spread(min(longest_s, FIRST_DELAY_S * 2 ** min(count - 1, 16)))
        heappush(self._delayed, (now_s + delay_s, name, urgency))
        self._again.pop(name, None)
        self._finish(name)
        return delay_s

    def _finish(self, name: str) -> None:
        self._working.discard(name)
        if (urgency := self._again.pop(name, None)) is not None:
            self.add(name, urgency)

    def ripen(self, now_s: float) -> None:
        """Those whose delay is over get into line."""
        while self._delayed and self._delayed[0][0] <= now_s:
            _, name, urgency = heappop(self._delayed)
            self.add(name, urgency)
