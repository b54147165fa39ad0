"""A service on a Unix socket that misbehaves as told, for tests of the transports."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from edgeroot.testing.wire_simulator import WireSimulator
from edgeroot.wire.framing import next_request

Conversation = Callable[[socket.socket], None]


class SocketService:
    """Runs one conversation after the other, each on a connection of its own; fewer connections than conversations
    are an error of the test. ``accepted`` counts connections.
    """

    def __init__(self, path: Path, *conversations: Conversation) -> None:
        self.endpoint = f"unix:{path}"
        self.accepted = 0
        self._conversations = conversations
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        if error is None:
            assert self.accepted == len(self._conversations)

    def _serve(self) -> None:
        for conversation in self._conversations:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            with connection:
                connection.settimeout(10)
                conversation(connection)


def read_request(connection: socket.socket) -> bytes:
    """One whole request, or what came of it before the end."""
    received = b""
    while next_request(received, body_len_limit=1 << 24) is None:
        data = connection.recv(1 << 16)
        if not data:
            break
        received += data
    return received


def answering(simulator: WireSimulator, times: int = 1) -> Conversation:
    """Answer so many requests, then close."""

    def conversation(connection: socket.socket) -> None:
        for _ in range(times):
            connection.sendall(simulator.answer(read_request(connection)))

    return conversation


def answering_until_closed(simulator: WireSimulator) -> Conversation:
    """Answer until the client closes."""

    def conversation(connection: socket.socket) -> None:
        while request := read_request(connection):
            connection.sendall(simulator.answer(request))

    return conversation


def closing_late(conversation: Conversation) -> Conversation:
    """As told, then close after a while, whatever has come by then."""

    def linger(connection: socket.socket) -> None:
        conversation(connection)
        time.sleep(0.1)

    return linger


def dying_after(conversation: Conversation) -> Conversation:
    """As told, then read one request more and close without an answer."""

    def die(connection: socket.socket) -> None:
        conversation(connection)
        read_request(connection)

    return die


def silent(connection: socket.socket) -> None:
    """Never answer, until the client gives up; with bytes that it has not read, the end comes as a reset."""
    with suppress(ConnectionResetError):
        while connection.recv(1 << 16):
            pass
