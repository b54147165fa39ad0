"""Deadlines of connections, cheap for those that never come up."""

from __future__ import annotations

import heapq
from typing import Final

from edgeroot.daemon.connection import Connection, State

_NEVER: Final = float("inf")


class Timers:
    """A heap with at most a few entries a connection: moving a deadline back costs nothing until the entry comes up."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Connection]] = []
        self._order = 0

    def set(self, connection: Connection, deadline_s: float) -> None:
        connection.deadline_s = deadline_s
        if connection.timer_s == 0 or deadline_s < connection.timer_s:
            self._push(connection, deadline_s)

    def next_s(self) -> float:
        """When the earliest entry comes up; infinity if there is none."""
        return self._heap[0][0] if self._heap else _NEVER

    def overdue(self, now_s: float) -> list[Connection]:
        """Every connection whose deadline has passed."""
        overdue = []
        while self._heap and self._heap[0][0] <= now_s:
            entry_s, _, connection = heapq.heappop(self._heap)
            if connection.timer_s == entry_s:
                connection.timer_s = 0
            if connection.state not in {State.READING, State.SENDING}:
                continue
            if connection.deadline_s <= now_s:
                overdue.append(connection)
            elif connection.timer_s == 0:
                self._push(connection, connection.deadline_s)
        return overdue

    def _push(self, connection: Connection, deadline_s: float) -> None:
        self._order += 1
        connection.timer_s = deadline_s
        heapq.heappush(self._heap, (deadline_s, self._order, connection))
