"""Counters in shared memory that tell every process of the service when a key that it caches may have changed.

The writer raises a key's counter before it commits a change and again before it answers, so a cached key whose
counter still has the value that was read *before* the key was looked up is the key that the store holds.
"""

from __future__ import annotations

from collections.abc import Callable
from mmap import mmap
from typing import Final

from edgeroot.keystore.records import KeyIdentity, KeyStoreError

DEFAULT_SLOTS: Final = 65536
RAISES_OF_A_WRITE: Final = 2
"""How often a write raises the counter of each key that it changes: before its commit and before its answer."""
_COUNTER_BYTES: Final = 8
_MAX_COUNTER: Final = 2**64 - 1


class Generations:
    """``slots`` counters of 64 bits in ``buffer``, one word more to recognise strangers.

    Keys share a counter when their hashes meet; that costs a look at the store and nothing else. A slot is the
    built-in hash of the identity: nothing cheaper spreads as well, and its per-process random key keeps applications
    from choosing names that meet. That key is inherited by fork but not by exec, so every process that shares the
    buffer must descend from one interpreter by fork alone; whoever does not is refused when it attaches.

    Only the writer raises. Counters are aligned words, so reading one never sees half a change.
    """

    __slots__ = ("_counters", "_mask", "read")

    read: Callable[[int], int]
    """``read(slot)``: the counter's value. Read it before the key is looked up, and keep it with the key."""

    def __init__(self, buffer: mmap | memoryview | bytearray, slots: int = DEFAULT_SLOTS) -> None:
        """``buffer`` has :meth:`size_bytes` bytes, all zero at first; ``slots`` is a power of two."""
        if slots < 1 or slots & (slots - 1):
            raise ValueError(f"the number of slots must be a power of two, not {slots}")
        self._counters = memoryview(buffer)[: self.size_bytes(slots)].cast("Q")
        self._mask = slots - 1
        self.read = self._counters.__getitem__
        witness = hash("edgeroot generations") & _MAX_COUNTER | 1
        if self._counters[slots] == 0:
            self._counters[slots] = witness
        elif self._counters[slots] != witness:
            raise KeyStoreError(
                "this process hashes names differently from the one that made the shared counters: "
                "all processes of a service must be forked from one interpreter"
            )

    @staticmethod
    def size_bytes(slots: int = DEFAULT_SLOTS) -> int:
        return (slots + 1) * _COUNTER_BYTES

    def slot(self, identity: KeyIdentity) -> int:
        return hash(identity) & self._mask

    def raise_(self, slot: int) -> None:
        self._counters[slot] = self._counters[slot] + 1 & _MAX_COUNTER

    def raise_all(self) -> None:
        """Makes every cached key be looked up anew, about 10 ms: after a writer's end nobody knows what it changed."""
        for slot in range(self._mask + 1):
            self.raise_(slot)
