"""Why a device does not boot."""

from __future__ import annotations


class BootError(Exception):
    """The device does not boot like this; the message says why and, where there is something to do, what."""
