"""What the update agent needs of the platform."""

from __future__ import annotations

from typing import Protocol


class Flash(Protocol):
    """Flash memory: erased it reads the same byte everywhere, and only erased bytes are written.

    Offsets and sizes are in bytes; what is erased begins and ends at blocks. What was not synchronised may be lost, in
    part too, and in any order.
    """

    def read(self, offset: int, size_bytes: int) -> bytes: ...

    def erase(self, offset: int, size_bytes: int) -> None: ...

    def write(self, offset: int, data: bytes) -> None: ...

    def sync(self) -> None:
        """Make everything so far durable before this returns."""
