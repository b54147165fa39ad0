"""The door between the core, which decides, and the transports, which move bytes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final, Protocol

from edgeroot.client.errors import ServiceTimeoutError, UnexpectedResponseError
from edgeroot.wire.framing import response_length
from edgeroot.wire.header import HEADER_BYTES
from edgeroot.wire.status import WireError

RESPONSE_BYTES_MAX: Final = 1 << 28
"""Longer responses are refused unread: no operation has one, so the peer is no Parsec service."""


@dataclass(frozen=True, slots=True)
class Transmission:
    """One request to be sent and answered. ``fresh`` asks for a new connection instead of a kept one.

    ``keep`` says that the service was asked to keep the connection open, ``repeatable`` that nothing is lost if the
    request has to be sent again.
    """

    frame: bytes = field(repr=False)
    keep: bool
    repeatable: bool
    fresh: bool = False


class TransmissionFailedError(Exception):
    """No whole response came.

    ``reused``: the connection had served before, so its end may have nothing to do with this request. ``complete``:
    the whole request left this process; if not, the service cannot have executed it. ``timed_out``: the call's time
    is over.
    """

    def __init__(self, cause: str, *, reused: bool, complete: bool, timed_out: bool = False) -> None:
        super().__init__(cause)
        self.reused = reused
        self.complete = complete
        self.timed_out = timed_out


class Transport(Protocol):
    """Moves requests for the synchronous client; used by several threads at once."""

    def transmit(self, transmission: Transmission, deadline: Deadline) -> bytes:
        """The whole response. Raises TransmissionFailedError, EndpointError, ServiceTimeoutError (no connection
        in time), UnexpectedResponseError.
        """

    def close(self) -> None:
        """Close kept connections; a later transmission opens a new one."""


class AsyncTransport(Protocol):
    """Moves requests for the asynchronous client; used by several tasks at once."""

    async def transmit(self, transmission: Transmission, deadline: Deadline) -> bytes:
        """As :meth:`Transport.transmit`."""

    async def close(self) -> None:
        """As :meth:`Transport.close`."""


class Deadline:
    """The moment at which a whole call's time is over; without a limit for None."""

    __slots__ = ("_at", "timeout_s")

    def __init__(self, timeout_s: float | None) -> None:
        self.timeout_s = timeout_s
        self._at = None if timeout_s is None else time.monotonic() + timeout_s

    def remaining_s(self) -> float | None:
        """Seconds left, None without a limit; ServiceTimeoutError when there are none."""
        if self._at is None:
            return None
        remaining_s = self._at - time.monotonic()
        if remaining_s <= 0:
            raise self.exceeded()
        return remaining_s

    def exceeded(self) -> ServiceTimeoutError:
        return ServiceTimeoutError(
            f"the service did not answer within {self.timeout_s} s: see whether it is overloaded, or raise timeout_s"
        )


class Inbox:
    """Collects the bytes of one response."""

    __slots__ = ("_bytes", "_length")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._length = 0

    @property
    def has_excess(self) -> bool:
        """Whether more came than one response: whatever it is, the connection's next answer would not be ours."""
        return len(self._bytes) > self._length

    def feed(self, data: bytes) -> bytes | None:
        """The whole response once it is there, None before; UnexpectedResponseError if it can never be one."""
        self._bytes += data
        if not self._length:
            if len(self._bytes) < HEADER_BYTES:
                return None
            self._length = _checked_length(self._bytes)
        if len(self._bytes) < self._length:
            return None
        return bytes(self._bytes[: self._length])


def _checked_length(head: bytearray) -> int:
    try:
        length = response_length(head)
    except WireError as error:
        raise UnexpectedResponseError(
            f"the answer is no Parsec response ({error}): check that the endpoint is a Parsec service's"
        ) from error
    if length > RESPONSE_BYTES_MAX:
        raise UnexpectedResponseError(
            f"the peer announces {length} bytes: check that the endpoint is a Parsec service's"
        )
    return length
