"""Memory that all processes of one service share: made before the first fork, gone with the last process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import mmap
from typing import Final

MAX_USERS: Final = 8192
_WORD_BYTES: Final = 8


class UserTable:
    """How many connections and waiting requests each user has, over all workers.

    A user is a peer's user id at one listener. Each worker writes its own counters only and reads everybody's, so no
    counter needs a lock; only a user's row is claimed under one, the first time that a worker meets the user.
    Should more users come than there are rows, those share the last one.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._names = memoryview(mmap(-1, MAX_USERS * _WORD_BYTES)).cast("Q")
        # Per row: connections of each worker, then waiting requests of each worker.
        self._counters = memoryview(mmap(-1, MAX_USERS * 2 * workers * _WORD_BYTES)).cast("q")
        self._lock = os.memfd_create("edgeroot-users", os.MFD_CLOEXEC)

    def claim(self, listener: int, uid: int) -> int:
        """The user's row, the same in every worker."""
        name = (listener << 32 | uid) + 1
        with self._locked():
            for row in range(MAX_USERS - 1):
                if self._names[row] == name:
                    return row
                if self._names[row] == 0:
                    self._names[row] = name
                    return row
        return MAX_USERS - 1

    def clear_worker(self, worker: int) -> None:
        """Forget the counters of a worker that is no more."""
        for row in range(MAX_USERS):
            if self._names[row] == 0 and row != MAX_USERS - 1:
                continue
            self._counters[self.connections_at(row) + worker] = 0
            self._counters[self.waiting_at(row) + worker] = 0

    def connections_at(self, row: int) -> int:
        return row * 2 * self._workers

    def waiting_at(self, row: int) -> int:
        return row * 2 * self._workers + self._workers

    def add(self, position: int, amount: int) -> None:
        self._counters[position] += amount

    def total(self, first: int) -> int:
        """The sum over all workers of the counters that begin at ``first``."""
        return sum(self._counters[first : first + self._workers])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # A POSIX record lock goes with its process, so a worker that is killed inside leaves nothing locked.
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)


class WorkerLoads:
    """How many connections each worker has, waiting for bytes and altogether; and who has nothing to do.

    By the first the workers share the connections among each other; by the second a worker sees whether any user could
    have reached a bound; by the third, whether to leave new connections to somebody else.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._polled = memoryview(mmap(-1, workers * _WORD_BYTES)).cast("q")
        self._counted = memoryview(mmap(-1, workers * _WORD_BYTES)).cast("q")
        self._idle = memoryview(mmap(-1, workers))

    def set(self, worker: int, *, polled: int, counted: int) -> None:
        self._polled[worker] = polled
        self._counted[worker] = counted

    def set_idle(self, worker: int, idle: bool) -> None:
        """True before a worker that accepts connections falls asleep, False thereafter."""
        self._idle[worker] = idle

    def clear_worker(self, worker: int) -> None:
        """Forget what a worker showed that is no more."""
        self.set(worker, polled=0, counted=0)
        self.set_idle(worker, False)

    def mean_polled(self) -> float:
        return sum(self._polled) / self.workers

    def total_polled(self) -> int:
        return sum(self._polled)

    def total_counted(self) -> int:
        return sum(self._counted)

    def any_idle(self) -> bool:
        return 1 in self._idle
