"""A service in the same process: requests are handed to a function. For tests and simulations."""

from __future__ import annotations

from collections.abc import Callable

from edgeroot.client.transport import Deadline, Transmission


class MemoryTransport:
    """For the synchronous client; ``answer`` maps a whole request to a whole response."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer

    def transmit(self, transmission: Transmission, deadline: Deadline) -> bytes:
        deadline.remaining_s()
        return self._answer(transmission.frame)

    def close(self) -> None:
        """There is nothing to close."""


class AsyncMemoryTransport:
    """For the asynchronous client."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer

    async def transmit(self, transmission: Transmission, deadline: Deadline) -> bytes:
        deadline.remaining_s()
        return self._answer(transmission.frame)

    async def close(self) -> None:
        """There is nothing to close."""
