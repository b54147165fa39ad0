"""How FF-A travels between processes where there is no secure monitor: frames over Unix sockets.

A frame is eight 32-bit registers, w0 to w7, and a 64-bit tag, all little-endian. The answer to a frame repeats its tag,
so that several requests may be under way in one channel. On the connection to the partition manager a frame may be
followed by what FF-A puts into the TX or RX buffer (one page at most), and by file descriptors.

Five calls are this emulation's own; their numbers are in the SMC Calling Convention's range for vendor-specific
hypervisor services (DEN0028, clause 6).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

FRAME: Final = Struct("<8IQ")
PAGE_BYTES: Final = 4096
"""The unit of FF-A's memory sizes and the size of its RX and TX buffers."""

CHANNEL_OPEN: Final = 0x86000001
"""w1: the endpoint's id. Answered by FFA_SUCCESS with one end of a channel for direct messages."""
CHANNEL_CONNECT: Final = 0x86000002
"""From the manager to a partition, with the other end. w1: the source's id << 16 | the partition's id; w2: a number."""
MANAGER_STATUS: Final = 0x86000003
"""Answered by FFA_SUCCESS and a JSON text in pages: w1 says which, w2 of the answer how many bytes there are."""
CHANNEL_CLOSED: Final = 0x86000004
"""From a partition to the manager, not answered: a channel has ended. w1: the number that it came with."""
FIRMWARE_ACCEPTED: Final = 0x86000005
"""From the update agent's partition to the manager: what this boot came from was accepted, and nothing older is to run.
Answered by FFA_SUCCESS, w2 the device's security counter from now on, or FFA_ERROR."""

_SLOTS_PER_CORE: Final = 16
_SLOTS_MIN: Final = 32


def memory_slots(cores: int) -> int:
    """How many regions one caller may share with one partition, on a machine of so many cores.

    A service calls from a process on each core, and each has several calls under way.
    """
    return max(_SLOTS_MIN, _SLOTS_PER_CORE * cores)
