"""A worker's share of the connections: as many as the others have, and none that somebody idle could take."""

from __future__ import annotations

import select
from collections.abc import Collection
from typing import Final

from edgeroot.daemon.shared import WorkerLoads

ACCEPTS_AT_ONCE: Final = 32
"""The most connections to accept before looking at the bounds again."""
_SLACK: Final = 1  # connections that a worker may have above the mean before it leaves them to the others
_SHED_S: Final = 0.01
_BUSY_RETRY_S: Final = 0.005


class Share:
    """Listens while this worker has no more connections than the mean, and says when to give up a kept one."""

    def __init__(self, index: int, loads: WorkerLoads, poll: select.epoll, listeners: Collection[int]) -> None:
        self._index = index
        self._loads = loads
        self._poll = poll
        self._listeners = listeners
        self._shown = (0, 0)
        self._listening = False
        self._listen_at = 0.0
        self._shed = False
        self._shed_at = 0.0

    def show(self, *, polled: int, counted: int) -> None:
        """Tell the others how many connections there are; a worker that sleeps must not mislead them."""
        shown = polled, counted
        if shown != self._shown:
            self._shown = shown
            self._loads.set(self._index, polled=polled, counted=counted)

    def show_idle(self, idle: bool) -> None:
        """Tell the others before falling asleep that new connections are welcome, and after it that they are not."""
        self._loads.set_idle(self._index, idle and self._listening)

    def at_once(self) -> int:
        """How many connections to accept now: where somebody else has nothing to do, all but one are left to them."""
        return 1 if self._loads.any_idle() else ACCEPTS_AT_ONCE

    def is_far_below(self, max_connections: int) -> bool:
        """Whether nobody can be at this bound: all connections together are not, with those being accepted."""
        return self._loads.total_counted() + ACCEPTS_AT_ONCE * self._loads.workers < max_connections

    def next_s(self) -> float:
        """When there is something to decide again; 0 if that is at the next occasion, infinity if only events tell."""
        return float("inf") if self._listening else self._listen_at

    def put_off(self, until_s: float) -> None:
        """Accept nothing until then."""
        self._listen_at = until_s

    def balance(self, now_s: float, polled: int) -> None:
        """Look at what the others have, and listen or leave it to them."""
        above_mean = polled > self._loads.mean_polled() + _SLACK
        if above_mean and now_s >= self._shed_at:
            # One kept connection at a time is closed after its answer: its client comes again, and another worker
            # takes it. More at once would swing back and forth.
            self._shed = True
            self._shed_at = now_s + _SHED_S
        listen = not above_mean and now_s >= self._listen_at
        if listen != self._listening:
            self._listening = listen
            if not listen:
                self._listen_at = max(self._listen_at, now_s + _BUSY_RETRY_S)
            for fd in self._listeners:
                if listen:
                    self._poll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)
                else:
                    self._poll.unregister(fd)
        elif not listen and now_s >= self._listen_at:  # not sooner: a busy worker would put it off for ever
            self._listen_at = now_s + _BUSY_RETRY_S

    def sheds_one(self) -> bool:
        """Whether the kept connection that is about to be answered is to be given up; the next one is not."""
        sheds, self._shed = self._shed, False
        return sheds

    def end(self) -> None:
        """Listen no more."""
        if self._listening:
            for fd in self._listeners:
                self._poll.unregister(fd)
        self._listening = False
