"""Looks at the slots and pings them."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edgeroot.client import AsyncClient
from edgeroot.client.auth import NoAuth
from edgeroot.client.errors import ClientError, ServiceTimeoutError, TransportError
from edgeroot.client.transports.unix_async import AsyncUnixTransport
from edgeroot.edge.device_plugin.health import Outcome, SlotHealth
from edgeroot.edge.device_plugin.slots import Slot, first_slots, slots_named

PING_TIMEOUT_S: Final = 2.0
_AT_ONCE: Final = 16


def find_slots(slot_directory: Path, count: int | None) -> tuple[Slot, ...]:
    """The first ``count`` slots, there or not; for None those that have a folder, of which this user is to know."""
    if count is not None:
        return first_slots(count)
    try:
        with os.scandir(slot_directory) as entries:
            return slots_named(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return ()


def is_folder(path: Path) -> bool:
    """Whether it is a folder itself. A link would have the kubelet mount whatever it leads to."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


async def one_round(health: SlotHealth, slots: tuple[Slot, ...], slot_directory: Path) -> None:
    """Ping what has to be, and conclude."""
    outcomes = await _ping_all(health.in_turn(slots), slot_directory)
    if health.calls_for_all(outcomes):
        outcomes |= await _ping_all(set(slots) - outcomes.keys(), slot_directory)
    health.conclude(slots, outcomes)


async def _ping_all(slots: Iterable[Slot], slot_directory: Path) -> dict[Slot, Outcome]:
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(slot: Slot) -> tuple[Slot, Outcome]:
        async with limit:
            return slot, await ping(slot, slot_directory)

    return dict(await asyncio.gather(*map(one, slots)))


async def ping(slot: Slot, slot_directory: Path) -> Outcome:
    """One exchange over a connection of its own."""
    if not is_folder(slot.folder(slot_directory)):
        return Outcome.FAILED
    transport = AsyncUnixTransport(str(slot.socket(slot_directory)))
    async with AsyncClient(
        auth=NoAuth(), timeout_s=PING_TIMEOUT_S, keep_connection=False, transport=transport
    ) as client:
        try:
            await client.ping()
        except ServiceTimeoutError:
            return Outcome.FAILED
        except TransportError:
            return Outcome.CLOSED
        except (ClientError, OSError):
            return Outcome.FAILED
    return Outcome.ANSWERED
