"""What the pipeline asks its surroundings to do before it can answer.

A request that can be answered at once is; any other is a generator that yields one of these and is sent the outcome:

* :class:`StoreWrite`: hand the write to the store's writer; the outcome is :class:`edgeroot.keystore.writes.Outcome`.
* :class:`~edgeroot.service.jobs.Job`: let a helper or a host do it; the outcome is a ``JobOutcome``.
* :class:`~edgeroot.service.questions.TokenQuestion`: let the identity process answer it; the outcome is a
  ``TokenAnswer``.
* :class:`~edgeroot.providers.api.BackEndCall`: send it over its link; the outcome is a ``BackEndAnswer``.
* :data:`PAUSE`: let other users' requests go first; the outcome is None.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final, TypeVar, cast

from edgeroot.keystore.writes import Outcome, Write
from edgeroot.providers.api import BackEndAnswer, BackEndCall, Steps
from edgeroot.service.jobs import Job, JobOutcome
from edgeroot.service.questions import TokenAnswer, TokenQuestion


@dataclass(frozen=True, slots=True)
class StoreWrite:
    """A change of the store with this index."""

    store: int
    write: Write


class Pause:
    """See :data:`PAUSE`."""

    __slots__ = ()


PAUSE: Final = Pause()

Effect = StoreWrite | Job | TokenQuestion | BackEndCall | Pause
EffectOutcome = Outcome | JobOutcome | TokenAnswer | BackEndAnswer | None
_T = TypeVar("_T")
_OutcomeT = TypeVar("_OutcomeT", Outcome, JobOutcome, TokenAnswer)
StepsTo = Generator[Effect, EffectOutcome, _T]


def expect(kind: type[_OutcomeT], outcome: EffectOutcome) -> _OutcomeT:
    """The outcome of an effect, which has the type that belongs to the effect."""
    if not isinstance(outcome, kind):
        raise TypeError(f"an effect was answered with {type(outcome).__name__} instead of {kind.__name__}")
    return outcome


def carry_out(steps: Steps[_T]) -> StepsTo[_T]:
    """A provider's steps as some among others: a call is an effect, and what it is sent is that effect's outcome."""
    return cast(StepsTo[_T], steps)


BodySteps = StepsTo[bytes]
"""Yields effects and returns a response's body; raises WireError or PsaError."""
ResponseSteps = StepsTo[bytes]
"""Yields effects and returns a whole response; never raises."""
