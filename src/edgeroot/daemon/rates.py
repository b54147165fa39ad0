"""How often applications ask, counted over all workers: a row for each in memory that they share.

A row holds the moment by which what was let through so far would be used up at the rate allowed (the generic cell rate
algorithm of ITU-T I.371, "theoretical arrival time"), so that nothing has to run for buckets to fill again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from hashlib import blake2b
from mmap import mmap
from typing import Final

from edgeroot.auth import Identity

MAX_APPLICATIONS: Final = 8192
_WORD_BYTES: Final = 8
_KNOWN: Final = 4096
_ATTEMPTS: Final = 32  # a few microseconds, and longer than anybody is inside


class RateTable:
    """The rows; made before the workers are forked. ``clock_ns`` never goes back and is the same for all processes."""

    def __init__(self, clock_ns: Callable[[], int], *, rows: int = MAX_APPLICATIONS) -> None:
        self._clock_ns = clock_ns
        self._last = rows - 1
        self._names = memoryview(mmap(-1, rows * _WORD_BYTES)).cast("Q")
        self._used_up_ns = memoryview(mmap(-1, rows * _WORD_BYTES)).cast("Q")
        self._locks = os.memfd_create("edgeroot-rates", os.MFD_CLOEXEC)
        self._known: dict[Identity, tuple[int, int]] = {}  # this process's: names and rows

    def take(self, identity: Identity, *, interval_ns: int, burst: int) -> bool:
        """Whether the application may have one more request, of one each ``interval_ns`` and ``burst`` at once."""
        name, row = self._known.get(identity) or self._learn(identity)
        if row != self._last and self._names[row] != name:  # somebody else's by now
            del self._known[identity]
            name, row = self._learn(identity)
        locked = self._lock(row)
        try:
            now_ns = self._clock_ns()
            used_up_ns = max(self._used_up_ns[row], now_ns)
            if used_up_ns - now_ns > interval_ns * (burst - 1):
                return False
            self._used_up_ns[row] = used_up_ns + interval_ns
            return True
        finally:
            if locked:
                fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, row)

    def _lock(self, row: int) -> bool:
        """False if another worker is inside for so long that it must have been interrupted there.

        Nobody waits for it: at worst one request is not counted. The kernel gives up the locks of a dead process.
        """
        for _ in range(_ATTEMPTS):
            try:
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, row)
            except OSError:
                continue
            return True
        return False

    def _learn(self, identity: Identity) -> tuple[int, int]:
        text = f"{identity.authenticator} {identity.application}".encode("utf-8", "surrogatepass")
        name = int.from_bytes(blake2b(text, digest_size=_WORD_BYTES).digest(), "little") or 1
        if len(self._known) >= _KNOWN:
            self._known.clear()
        found = self._known[identity] = name, self._claim(name)
        return found

    def _claim(self, name: int) -> int:
        """The application's row, the same in every worker: its own, a new one, or one whose bucket is full again.

        Should more applications be busy than there are rows, those that come late share the last one.
        """
        fcntl.lockf(self._locks, fcntl.LOCK_EX, 1, self._last + 1)
        try:
            now_ns = self._clock_ns()
            idle = None
            for row in range(self._last):
                if self._names[row] == name:
                    return row
                if self._names[row] == 0:
                    idle = row
                    break
                if self._used_up_ns[row] <= now_ns:
                    idle = row
            if idle is None:
                return self._last
            self._used_up_ns[idle] = now_ns
            self._names[idle] = name
            return idle
        finally:
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, self._last + 1)
