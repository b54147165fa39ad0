"""Anchoring the storage partition's counter in a TPM while the secure world runs: now and then, and at its end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgeroot.sealing.errors import SealingError
from edgeroot.secure.platform.anchor import Anchor, AnchorError
from edgeroot.secure.platform.counters import CounterError, FileCounter

_log: Final = logging.getLogger(__name__)
PERIOD_S: Final = 600.0
"""What can be put back unnoticed is what changed within so many seconds. A TPM's memory bears some 100,000 writes."""


class AnchorKeeper:
    """Called in each turn of the manager's loop."""

    def __init__(self, anchor: Anchor, counter_path: Path, clock_s: Callable[[], float]) -> None:
        self._anchor = anchor
        self._counter_path = counter_path
        self._clock_s = clock_s
        self._due_s = 0.0

    def start(self, *, accept: bool) -> None:
        """Check what is there, unless it is to be accepted as it is, and anchor it. AnchorError, SealingError."""
        value = self._value()
        if not accept:
            self._anchor.check(value)
        self._anchor.advance(value)
        self._due_s = self._clock_s() + PERIOD_S

    def tend(self) -> float:
        """Anchor what has changed, when it is time; how many seconds there are until the next time."""
        now = self._clock_s()
        if now >= self._due_s:
            self._due_s = now + PERIOD_S
            self.finish()
        return self._due_s - now

    def finish(self) -> None:
        """Anchor what has changed. A TPM that fails just now is tried again the next time."""
        try:
            self._anchor.advance(self._value())
        except (AnchorError, SealingError) as error:
            _log.warning("what is stored could not be anchored in the TPM: %s", error)

    def _value(self) -> int:
        """What the counter stands at; 0 where there is none yet. AnchorError if it is damaged."""
        if not self._counter_path.exists():
            return 0
        try:
            counter = FileCounter(self._counter_path, create=False)
        except CounterError as error:
            raise AnchorError(str(error)) from error
        try:
            return counter.read()
        finally:
            counter.close()
