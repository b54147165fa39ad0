"""Counters in shared memory that tell every context when a key that it has loaded may have changed.

Whoever changes a key holds the partition's lock and raises the key's counter before and after the change. So a loaded
key whose counter still has the value that was read before it was looked up is the key that there is; and an odd value
says that a change is going on, so that what is read meanwhile may be half of it.

Layout: a word of salt, then the counters, 8 bytes each in the machine's order. Keys share a counter when their hashes
meet, which costs a look-up and nothing else; the salt is chosen at start, so that no source can choose ids that meet
another's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

SLOTS: Final = 16384
_WORD_BYTES: Final = 8
SIZE_BYTES: Final = (1 + SLOTS) * _WORD_BYTES
_MAX: Final = 2**64 - 1


class Generations:
    """The counters in ``buffer``, which has SIZE_BYTES, all zero at first."""

    __slots__ = ("_counters", "_salt", "read")

    read: Callable[[int], int]
    """``read(slot)``: the counter's value."""

    def __init__(self, buffer: memoryview, lock: AbstractContextManager[object]) -> None:
        words = buffer[:SIZE_BYTES].cast("Q")
        with lock:
            if words[0] == 0:
                words[0] = int.from_bytes(os.urandom(_WORD_BYTES), "little") | 1
        self._salt = words[0]
        self._counters = words[1:]
        self.read = self._counters.__getitem__

    def slot(self, name: int) -> int:
        # The hash of a tuple of integers is the same in every process.
        return hash((self._salt, name)) % SLOTS

    @contextmanager
    def change(self, slot: int) -> Iterator[None]:
        """Around a change of a key; the caller holds the lock."""
        self._raise(slot)
        try:
            yield
        finally:
            self._raise(slot)

    def _raise(self, slot: int) -> None:
        self._counters[slot] = self._counters[slot] + 1 & _MAX
