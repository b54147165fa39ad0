"""The line between the supervisor and each of its children: short orders, with a channel's end attached to some."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from socket import (
    AF_UNIX,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    recv_fds,
    send_fds,
    socket,
    socketpair,
)
from typing import Final

_MAX_BYTES: Final = 64


class Order(Enum):
    """What the line carries; READY comes up, the others go down."""

    CONNECT = b"connect"  # here is your end of a channel to the named peer
    DRAIN = b"drain"  # take no new requests, finish the accepted ones, end
    READY = b"ready"


class Role(Enum):
    """What a child is."""

    WRITER = "writer"
    WORKER = "worker"
    HELPER = "helper"
    HOST = "host"
    IDENTITY = "identity"
    SCOUT = "scout"


@dataclass(frozen=True, slots=True)
class Peer:
    """A child as others know it: the second worker, the writer of store 0."""

    role: Role
    index: int

    def __str__(self) -> str:
        return f"{self.role.value} {self.index}"


class SupervisorGoneError(Exception):
    """The supervisor's end is closed: nobody would restart, reload or stop this process any more."""


@dataclass(frozen=True, slots=True)
class Message:
    order: Order
    peer: Peer | None = None
    channel: socket | None = None


class ControlLine:
    """One end of the line; messages keep their boundaries."""

    def __init__(self, sock: socket) -> None:
        self._socket = sock
        sock.setblocking(False)  # `socket.recv_fds` of Python 3.11 takes flags and drops them

    @staticmethod
    def pair() -> tuple[ControlLine, ControlLine]:
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        return ControlLine(ours), ControlLine(theirs)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, message: Message) -> bool:
        """False if the other end is gone."""
        text = message.order.value
        if message.peer is not None:
            text += f" {message.peer}".encode()
        descriptors = [] if message.channel is None else [message.channel.fileno()]
        try:
            send_fds(self._socket, [text], descriptors)
        except OSError:
            return False
        return True

    def receive(self) -> list[Message]:
        """All messages that have arrived; SupervisorGoneError (either way round) at the end of the line."""
        messages: list[Message] = []
        while True:
            try:
                text, descriptors, _, _ = recv_fds(self._socket, _MAX_BYTES, 1)
            except BlockingIOError:
                return messages
            except OSError as error:
                raise SupervisorGoneError from error
            if not text:
                if messages:
                    return messages
                raise SupervisorGoneError
            messages.append(_parse(text, descriptors))


def _parse(text: bytes, descriptors: list[int]) -> Message:
    word, *rest = text.split()
    peer = Peer(Role(rest[0].decode()), int(rest[1])) if rest else None
    channel = socket(AF_UNIX, SOCK_STREAM, 0, descriptors[0]) if descriptors else None
    return Message(Order(word), peer, channel)


def connect(client: ControlLine, client_peer: Peer, server: ControlLine, server_peer: Peer) -> None:
    """Give two children the ends of a fresh channel; whoever is dead meanwhile simply closes it."""
    one, other = socketpair(AF_UNIX, SOCK_STREAM)
    with one, other:
        client.send(Message(Order.CONNECT, server_peer, one))
        server.send(Message(Order.CONNECT, client_peer, other))
