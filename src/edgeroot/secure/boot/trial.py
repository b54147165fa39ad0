"""How long an update is on trial, and what is remembered of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_TRIAL_BOOTS: Final = 3
"""How often an update boots without being accepted."""
ANY_BANK: Final = -1
"""Where the count is lost, it is too high for either."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often ``bank`` was booted on trial."""

    bank: int
    count: int
