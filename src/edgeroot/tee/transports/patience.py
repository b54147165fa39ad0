"""Calls to a partition that may be busy."""

from __future__ import annotations

from collections.abc import Callable
from time import sleep
from typing import Final, TypeVar

from edgeroot.tee.api import TeeBusyError

_FIRST_PAUSE_S: Final = 0.001
_LONGEST_PAUSE_S: Final = 0.6  # so that all of them are about a second

Result = TypeVar("Result")


def patiently(call: Callable[[], Result]) -> Result:
    """What the call gives. A busy partition is asked again, with longer and longer breaks, for about a second."""
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return call()
        except TeeBusyError:
            if pause_s > _LONGEST_PAUSE_S:
                raise
            sleep(pause_s)
            pause_s *= 2
