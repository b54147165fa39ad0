"""The door to a secure world: a transport opens sessions with services, a session carries calls.

Both transports keep it: :class:`edgeroot.tee.transports.emulated.EmulatedTransport` (channels to emulated partitions)
and :class:`edgeroot.tee.transports.tstee.TsteeTransport` (Linux's ``/dev/teeN``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Self
from uuid import UUID

DEFAULT_BUFFER_BYTES: Final = 8192
"""What the reference's clients on Linux share for a session, and so the longest request and response."""


class TeeError(Exception):
    """The secure world did not carry a call out; the message says why.

    After a :class:`TeeBusyError` nothing has happened and the call may be repeated. After any other one nobody knows
    whether the service has acted.
    """


class TeeBusyError(TeeError):
    """The partition takes no more calls just now (FFA_BUSY, EBUSY)."""


class NoSuchServiceError(TeeError):
    """No partition offers the service."""


class TeeRefusedError(TeeError):
    """The call reached no service: its RPC status says so, or the transport that hides it (RPC status of TS RPC v1).

    Nothing has happened.
    """


class Session(ABC):
    """Calls to one service. One call at a time; a session is used by one thread."""

    capacity_bytes: int
    """The longest request and the longest response."""

    @abstractmethod
    def call(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        """The service's status (signed) and the response.

        ValueError for a request that is longer than ``capacity_bytes``. TeeError otherwise.
        """

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class Transport(ABC):
    """A way to a secure world."""

    @abstractmethod
    def open_session(self, service: UUID, *, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> Session:
        """A session with the service of this UUID and shared memory of its own; NoSuchServiceError, TeeError.

        ``buffer_bytes`` is rounded up to whole pages.
        """

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
