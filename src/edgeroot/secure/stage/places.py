"""Names in the secure world's state folder that the first stage has to know."""

from __future__ import annotations

from typing import Final

ENTRY: Final = "edgeroot.secure.spm"
"""The module that is started, whose first stage this is."""
ONE_TIME_MEMORY: Final = "one-time-memory"
TRIAL_BOOTS: Final = "trial-boots"
FLASH: Final = "flash"
LOCK: Final = "lock"
IMAGE_KEY: Final = "image-key"
