"""The list of devices as the kubelet is to see it, and waiting for another one."""

from __future__ import annotations

import asyncio
from typing import TypeAlias

from edgeroot.edge.device_plugin.slots import Slot

Listing: TypeAlias = tuple[tuple[Slot, bool], ...]
"""Every slot, and whether it is healthy."""


class Devices:
    """Of one event loop."""

    def __init__(self) -> None:
        self._listing: Listing | None = None
        self._changed = asyncio.Event()

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(slot for slot, _ in self._listing or ())

    def show(self, listing: Listing) -> bool:
        """Whether it is another one than before; then all who wait are woken."""
        if listing == self._listing:
            return False
        self._listing = listing
        self._changed.set()
        self._changed = asyncio.Event()
        return True

    async def other_than(self, seen: Listing | None) -> Listing:
        """The list, once there is one and it is not ``seen``. One who is slow misses what lay between."""
        while self._listing is None or self._listing == seen:
            await self._changed.wait()
        return self._listing
