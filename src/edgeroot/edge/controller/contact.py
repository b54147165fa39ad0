"""Whether the verifier can be reached, as far as that prolongs what it said."""

from __future__ import annotations

from edgeroot.edge.controller.records import Moment
from edgeroot.edge.controller.verdict import NEVER


class Contact:
    """The verifier is away from the first failure to ask it until it has answered again for ``recovery_s``.

    For agents were cut off as well, and come back one by one.
    """

    def __init__(self, recovery_s: float) -> None:
        self._recovery_s = recovery_s
        self._heard_s: float | None = None
        self._failing = False
        self._back_s: float | None = None

    def heard(self, now: Moment) -> None:
        if self._failing:
            self._back_s = now.steady_s
        self._failing = False
        self._heard_s = now.steady_s

    def failed(self) -> None:
        self._failing = True

    def away(self, now: Moment) -> bool:
        if self._failing or self._heard_s is None:
            return True
        return self._back_s is not None and now.steady_s < self._back_s + self._recovery_s

    def age_s(self, now: Moment) -> float:
        """Seconds since it was last heard; infinite if it never was."""
        return NEVER if self._heard_s is None else now.steady_s - self._heard_s
