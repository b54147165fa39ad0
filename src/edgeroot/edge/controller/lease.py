"""Which replica writes: the holder of a Lease (coordination.k8s.io/v1). Only decides; time is passed in.

No replica compares its clock with another's: a lease is free once it has not changed for its whole duration, as seen by
whoever wants it. Its holder stops well before that, if it cannot renew it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

DURATION_S: Final = 15
RENEW_S: Final = 5
HOLD_S: Final = 10
"""For how long a renewed lease is trusted by its holder: shorter than others wait, as the clocks' rates may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A Lease as it was read. ``version``: its resourceVersion."""

    version: str
    holder: str
    duration_s: int = DURATION_S
    transitions: int = 0


class Election:
    """What a replica knows about the lease. ``identity`` is nobody else's."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self._seen: Record | None = None
        self._seen_s = 0.0
        self._renewed_s: float | None = None

    def leading(self, now_s: float) -> bool:
        """Whether this replica may write."""
        return self._renewed_s is not None and now_s < self._renewed_s + HOLD_S

    def wanted(self, record: Record, now_s: float) -> Record | None:
        """What to write over the record that was just read; None while it is another's."""
        if record != self._seen:
            self._seen, self._seen_s = record, now_s
        if record.holder == self.identity:
            return record
        if record.holder and now_s < self._seen_s + record.duration_s:
            self._renewed_s = None
            return None
        return Record(version=record.version, holder=self.identity, transitions=record.transitions + 1)

    def first(self) -> Record:
        """What to create where there is no lease."""
        return Record(version="", holder=self.identity)

    def renewed(self, asked_s: float) -> None:
        """The API server took what was wanted. ``asked_s``: when it was asked, for the answer may have taken long."""
        self._renewed_s = asked_s

    def lost(self) -> None:
        """Another has it, or it is given up."""
        self._renewed_s = None

    def given_up(self, record: Record) -> Record:
        """What to write over this replica's own record at its end."""
        return replace(record, holder="")
