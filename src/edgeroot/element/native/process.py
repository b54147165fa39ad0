"""A process of its own for the look at the element when the service starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgeroot.confinement.apart import ApartError, run_apart
from edgeroot.psa import PsaError, PsaStatus

_LONGEST_S: Final = 60.0  # several times as long as the library tries


def apart(look: Callable[[], bytes]) -> bytes:
    """What ``look`` returns in a process forked for it, so that the library is in no process that does not need it.

    Raises the PsaError of ``look``; HARDWARE_FAILURE if it takes too long or its process dies.
    """
    try:
        return run_apart(look, longest_s=_LONGEST_S)
    except ApartError as error:
        message = f"the library for the secure element ended its process, or hung for {_LONGEST_S:.0f} s"
        raise PsaError(PsaStatus.HARDWARE_FAILURE, message) from error
