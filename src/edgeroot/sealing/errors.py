"""What can go wrong with wrapping keys and sealed secrets."""

from __future__ import annotations


class SealingError(Exception):
    """A blob cannot be unsealed, or a secret cannot be had. The message is for people and holds no secret."""
