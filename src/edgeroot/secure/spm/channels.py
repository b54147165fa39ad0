"""The books of open channels: from which source, to which execution context. Pure; the sockets are with both ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

_PER_SOURCE_AND_CONTEXT: Final = 256
_U32: Final = 0xFFFFFFFF
_ContextT = TypeVar("_ContextT")


class Channels(Generic[_ContextT]):
    """Which channels there are. Contexts are told apart by identity."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[int, _ContextT]] = {}
        self._sources: dict[_ContextT, Counter[int]] = {}
        self._number = 0

    def choose(self, source_id: int, contexts: Sequence[_ContextT]) -> _ContextT | None:
        """The execution context for one more channel of a source; None if the source has as many as it may.

        A source has half of the contexts at most, since its own processes need cores as well: spread over all of them,
        each signature wakes a sleeping process, and costs twice as much (measured on two cores).
        """
        of_source = {one: self._sources.get(one, _NONE)[source_id] for one in contexts}
        serving = [one for one in contexts if of_source[one]]
        free = [one for one in contexts if not of_source[one]]
        if free and len(serving) < (len(contexts) + 1) // 2:
            return min(free, key=self.count)
        least = min(serving, key=of_source.__getitem__)
        return least if of_source[least] < _PER_SOURCE_AND_CONTEXT else None

    def opened(self, source_id: int, context: _ContextT) -> int:
        """Write down a new channel; the number under which its end will be told."""
        self._number = self._number + 1 & _U32
        while self._number in self._open:
            self._number = self._number + 1 & _U32
        self._open[self._number] = source_id, context
        self._sources.setdefault(context, Counter())[source_id] += 1
        return self._number

    def closed(self, number: int, context: _ContextT) -> None:
        """A channel has ended; only the context that serves it can say so."""
        source_id, serving = self._open.get(number, (0, None))
        if serving is context:
            del self._open[number]
            self._sources[context][source_id] -= 1

    def forget(self, context: _ContextT) -> None:
        """A context has ended, and its channels with it."""
        self._sources.pop(context, None)
        self._open = {number: one for number, one in self._open.items() if one[1] is not context}

    def count(self, context: _ContextT) -> int:
        """How many channels a context serves."""
        return self._sources.get(context, _NONE).total()


_NONE: Final[Counter[int]] = Counter()
