"""Why a device does not become a node: it must not, or somebody who is needed for it is away."""

from __future__ import annotations


class RefusedError(Exception):
    """It must not, and asking again changes nothing; the message says why, for whoever runs the device."""


class AwayError(Exception):
    """Somebody does not answer, or not as agreed. ``retry_after_s``: when it says to come back, 0 if it does not."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
