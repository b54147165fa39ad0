"""What a test may need of its machine, and what happens where it isn't there."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unavailable(reason: str) -> NoReturn:
    """Skip the test with this reason; in CI, where everything has to be there, fail it instead."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI has to have this: {reason}", pytrace=False)
    pytest.skip(reason)


def require_root(what_for: str) -> None:
    """Go on only as root; ``what_for`` ends the sentence "this needs root to ..."."""
    if os.geteuid() != 0:
        unavailable(f"this needs root to {what_for}")
