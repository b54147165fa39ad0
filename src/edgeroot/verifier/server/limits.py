"""How many requests a second an address may make: token buckets, as many as there is room for."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_MAX_ADDRESSES: Final = 10_000


class RateLimit:
    """``rate_per_s`` on average, twice that at once. Of too many addresses the one not seen longest is forgotten."""

    def __init__(self, rate_per_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = max(1.0, 2 * rate_per_s)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str, now_s: float) -> bool:
        """Whether the address may make a request now, which is then counted. ``now_s`` never goes back."""
        left, since_s = self._buckets.pop(address, (self._burst, now_s))
        left = min(self._burst, left + (now_s - since_s) * self._rate_per_s)
        allowed = left >= 1
        self._buckets[address] = (left - 1 if allowed else left, now_s)
        if len(self._buckets) > _MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return allowed
