"""The contract between a partition's process and the services in it.

A service gets who calls, an opcode and a private copy of the request, and gives back a status and a response. It knows
no socket, no shared memory and no other process, except through the ports that it was made with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the FF-A endpoint id that the partition manager vouches for, and which of its channels.

    Everything that a service keeps for its callers belongs to the source. Operation contexts belong to source and
    channel: one channel's callers cannot push another's out.
    """

    source_id: int
    channel: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A service's answer: its own status (for most services a PSA status) and the response's bytes."""

    status: int = 0
    payload: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class SlowWork:
    """Work that would hold up the partition's other callers: another process of the same partition does it.

    ``task`` goes to that process, whose :meth:`Service.work` gives the result; ``finish`` makes the reply of it, back
    in the process that the call came to. If the work raises PsaError, its status is the reply's, and ``finish`` is not
    called.
    """

    task: bytes = field(repr=False)
    finish: Callable[[bytes], Reply]


class Service(ABC):
    """One service of a partition, reached under one UUID.

    Calls come one at a time. The order of a partition's services is the order of their interface ids.
    """

    uuid: ClassVar[UUID]

    @abstractmethod
    def call(self, caller: Caller, opcode: int, request: bytes, *, capacity_bytes: int) -> Reply | SlowWork:
        """Answer one request. ``capacity_bytes`` is how long the response may be: the size of the shared buffer.

        RpcError (INVALID_VALUE for an unknown opcode, INVALID_REQUEST_BODY for a malformed request) means that the
        service did nothing. A PsaError that a service raises becomes the reply's status.
        """

    def work(self, task: bytes) -> bytes:
        """Do the task of a :class:`SlowWork`; runs in another process, so it may use nothing that changes."""
        raise NotImplementedError

    def channel_closed(self, caller: Caller) -> None:  # noqa: B027 - most services keep nothing for a channel
        """The caller's channel is gone: forget what was kept for it."""
