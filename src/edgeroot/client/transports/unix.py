"""Unix stream sockets, kept open between requests where the service keeps them."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections import deque
from typing import Final

from edgeroot.client.errors import EndpointError
from edgeroot.client.transport import Deadline, Inbox, Transmission, TransmissionFailedError

KEPT_MAX: Final = 8
"""Idle connections kept; a client whose calls never overlap has one."""
CHUNK_BYTES: Final = 1 << 16


KEPT_IDLE_S: Final = 30.0
"""How long an idle connection is used again: well below the minute after which the service closes it, so that the two
do not cross. A request that crosses a close is one whose outcome is unknown.
"""


class Exchange:
    """What is known about one transmission while it runs."""

    __slots__ = ("complete", "inbox", "reused")

    def __init__(self, *, reused: bool) -> None:
        self.reused = reused
        self.complete = False
        self.inbox = Inbox()

    def failure(self, cause: BaseException | str, *, timed_out: bool = False) -> TransmissionFailedError:
        return TransmissionFailedError(str(cause), reused=self.reused, complete=self.complete, timed_out=timed_out)


class KeptConnections:
    """Idle connections, last used first. A forked child starts without any: a connection belongs to one process.

    Upstream's service closes after its answer, a moment later than a quick client has its next request there, and then
    that request is lost. So whether the service keeps connections is found out with requests that may be sent twice:
    until one of them is answered on a connection that had served before, any other gets a connection of its own.
    """

    __slots__ = ("_idle", "_kept_by_service", "_pid")

    def __init__(self) -> None:
        self._idle: deque[tuple[socket.socket, float]] = deque()  # with the moment since when
        self._kept_by_service = False
        self._pid = os.getpid()

    def take(self, *, repeatable: bool) -> socket.socket | None:
        """A connection that the service has not closed and on which nothing is to be read, or None.

        ``repeatable``: the request that it is for may be sent again on another one.
        """
        if self._pid != os.getpid():
            self.close()
            self._pid = os.getpid()
        if not (repeatable or self._kept_by_service):
            return None
        while True:
            try:
                connection, since_s = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since_s < KEPT_IDLE_S and _is_quiet(connection):
                return connection
            connection.close()
            self.lost()

    def lost(self) -> None:
        """A connection that had served before has ended: it may be another service that is to be found out about."""
        self._kept_by_service = False

    def give_back(self, connection: socket.socket, *, reused: bool) -> None:
        """Keep a connection on which an answer has come; ``reused``: not its first one."""
        if reused:
            self._kept_by_service = True
        if len(self._idle) < KEPT_MAX:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].close()

    def __del__(self) -> None:
        """A client that is dropped without being closed leaves nothing behind, and nothing to warn of."""
        self.close()


class UnixTransport:
    """For the synchronous client. Threads whose calls overlap get a connection each."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept = KeptConnections()

    def transmit(self, transmission: Transmission, deadline: Deadline) -> bytes:
        connection = None if transmission.fresh else self._kept.take(repeatable=transmission.repeatable)
        exchange = Exchange(reused=connection is not None)
        if connection is None:
            connection = self._connect(deadline)
        try:
            response = _converse(connection, exchange, transmission.frame, deadline)
        except BaseException:
            connection.close()
            if exchange.reused:
                self._kept.lost()
            raise
        if transmission.keep and not exchange.inbox.has_excess:
            self._kept.give_back(connection, reused=exchange.reused)
        else:
            connection.close()
        return response

    def close(self) -> None:
        self._kept.close()

    def _connect(self, deadline: Deadline) -> socket.socket:
        remaining_s = deadline.remaining_s()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # A blocking connect waits for room in the listener's queue, and only the socket's own send timeout bounds
            # that wait: with a Python timeout the socket would not block, and a full queue be an error at once.
            if remaining_s is not None:
                seconds = int(remaining_s)
                microseconds = max(1, int((remaining_s - seconds) * 1e6))
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, microseconds))
            connection.connect(self._path)
        except BlockingIOError as error:
            connection.close()
            raise deadline.exceeded() from error
        except OSError as error:
            connection.close()
            raise no_connection(self._path, error) from error
        except BaseException:
            connection.close()
            raise
        return connection


def _converse(connection: socket.socket, exchange: Exchange, frame: bytes, deadline: Deadline) -> bytes:
    try:
        connection.settimeout(deadline.remaining_s())
        try:
            connection.sendall(frame)
            exchange.complete = True
        except (BrokenPipeError, ConnectionResetError):
            # A service may refuse a request before it has read all of it; then its answer is there to be read.
            pass
        while True:
            data = connection.recv(CHUNK_BYTES)
            if not data:
                raise exchange.failure("the service closed the connection without an answer")
            response = exchange.inbox.feed(data)
            if response is not None:
                return response
            connection.settimeout(deadline.remaining_s())
    except TimeoutError as error:
        raise exchange.failure(error, timed_out=True) from error
    except OSError as error:
        raise exchange.failure(error) from error


def _is_quiet(connection: socket.socket) -> bool:
    """Whether a kept connection is still good: its end, or bytes nobody asked for, would be readable."""
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def no_connection(path: str, error: OSError) -> EndpointError:
    if error.errno == errno.ENOENT:
        advice = "there is no such socket: start the service, or set PARSEC_SERVICE_ENDPOINT to where it listens"
    elif error.errno == errno.ECONNREFUSED:
        advice = "nobody listens there: start the service"
    elif error.errno in (errno.EACCES, errno.EPERM):
        advice = "this user may not open it: add the user to the socket's group"
    else:
        advice = f"{error.strerror or error}: check the endpoint"
    return EndpointError(f"cannot connect to {path}: {advice}")
