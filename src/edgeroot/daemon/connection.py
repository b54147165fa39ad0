"""One client's connection, as a worker keeps it."""

from __future__ import annotations

from enum import Enum, auto

from edgeroot.auth import PeerCredentials
from edgeroot.daemon.users import User, Users
from edgeroot.service.call import Door
from edgeroot.service.effects import EffectOutcome, ResponseSteps
from edgeroot.wire.framing import Request


class Peer:
    """A process that has connected to a listener, as the kernel names it."""

    __slots__ = ("answers", "credentials", "user")

    def __init__(self, credentials: PeerCredentials, user: User) -> None:
        self.credentials = credentials
        self.user = user
        self.answers: dict[bytes | None, tuple[bytes, bool]] = {}
        """The answer to a request that always has the same one, by the request's bytes; and whether the connection is
        kept after it.
        """


class Listening:
    """A listener as a worker serves it."""

    __slots__ = (
        "door",
        "fd",
        "idle_timeout_s",
        "max_requests",
        "peers",
        "timeout_s",
        "users",
    )

    def __init__(
        self,
        fd: int,
        *,
        door: Door,
        users: Users,
        timeout_s: float,
        idle_timeout_s: float,
        max_requests: int,
    ) -> None:
        self.fd = fd
        self.door = door
        self.users = users
        self.peers: dict[bytes, Peer] = {}  # by the kernel's encoding of the credentials
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
        "counted",
        "deadline_s",
        "fd",
        "input",
        "keep",
        "listening",
        "needed_bytes",
        "outcome",
        "output",
        "peer",
        "polled",
        "request",
        "requests",
        "state",
        "steps",
        "timer_s",
        "unread_bytes",
        "user",
    )

    def __init__(self, fd: int, listening: Listening, peer: Peer, deadline_s: float) -> None:
        self.fd = fd
        self.listening = listening
        self.peer = peer
        self.user = peer.user
        self.state = State.READING
        self.deadline_s = deadline_s
        self.input: bytearray | None = None
        self.needed_bytes = 0
        self.unread_bytes = 0  # the size of a request that is still in the socket
        self.output: memoryview | None = None
        self.request: Request | None = None
        self.keep = False  # the request asks to keep the connection
        self.steps: ResponseSteps | None = None
        self.outcome: EffectOutcome = None
        self.requests = 0
        self.polled = False  # registered with epoll
        self.counted = False  # counts among its user's connections
        self.timer_s = 0.0  # when the earliest of its entries in the timer heap comes up; 0 without one
