"""One client's connection, as a worker keeps it."""

from __future__ import annotations

import _socket
from enum import Enum, auto

from edgeroot.auth import PeerCredentials
from edgeroot.daemon.users import User, Users
from edgeroot.service.call import Door
from edgeroot.service.effects import EffectOutcome, ResponseSteps
from edgeroot.wire.framing import Request


class Listening:
    """A listener as a worker serves it."""

    __slots__ = (
        "door",
        "idle_timeout_s",
        "max_requests",
        "peers",
        "socket",
        "timeout_s",
        "users",
    )

    def __init__(
        self,
        sock: _socket.socket,
        *,
        door: Door,
        users: Users,
        timeout_s: float,
        idle_timeout_s: float,
        max_requests: int,
    ) -> None:
        self.socket = sock
        self.door = door
        self.users = users
        self.peers: dict[bytes, tuple[PeerCredentials, User]] = {}  # by the kernel's encoding of the credentials
        self.timeout_s = timeout_s
        self.idle_timeout_s = idle_timeout_s
        self.max_requests = max_requests


class State(Enum):
    READING = auto()  # a request, or its rest, is to come
    READY = auto()  # a request is complete and waits for its user's turn
    WAITING = auto()  # somebody else is working on it: the writer, a helper
    SENDING = auto()  # the client has not taken the whole answer yet
    CLOSED = auto()


class Connection:
    """What the worker knows of a connection; all changes are made by the worker's loop."""

    __slots__ = (
        "deadline_s",
        "fd",
        "input",
        "listening",
        "needed_bytes",
        "outcome",
        "output",
        "peer",
        "polled",
        "request",
        "requests",
        "socket",
        "state",
        "steps",
        "timer_s",
        "unread_bytes",
        "user",
        "counted",
    )

    def __init__(self, sock: _socket.socket, fd: int, listening: Listening, user: User, peer: PeerCredentials) -> None:
        self.socket = sock
        self.fd = fd
        self.listening = listening
        self.user = user
        self.peer = peer
        self.state = State.READING
        self.input: bytearray | None = None
        self.needed_bytes = 0
        self.unread_bytes = 0  # the size of a request that is still in the socket
        self.output: memoryview | None = None
        self.request: Request | None = None
        self.steps: ResponseSteps | None = None
        self.outcome: EffectOutcome = None
        self.requests = 0
        self.polled = False  # registered with epoll
        self.counted = False  # counts among its user's connections
        self.deadline_s = 0.0
        self.timer_s = 0.0  # when the earliest of its entries in the timer heap comes up; 0 without one
