"""Answers ``GET /metrics`` and ``GET /healthz``: as much of HTTP/1.1 as that needs, within somebody else's loop.

Nobody can hold the loop up: nothing here waits, connections are few, their requests short and their time bounded, and
each is closed after one answer (RFC 9112, 9.6).
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from time import monotonic
from typing import Final

from edgeroot.daemon.config import ListenerConfig, LoopbackAddress, MetricsConfig
from edgeroot.daemon.sockets import ListenError, bind

MAX_CONNECTIONS: Final = 8
MAX_REQUEST_BYTES: Final = 8192
TIMEOUT_S: Final = 5.0
_SOCKET_MODE: Final = 0o660  # the service's user and group: there is nothing secret, but nothing for everybody either
_BACKLOG: Final = 16
_END_OF_HEAD: Final = b"\r\n\r\n"
_TEXT: Final = "text/plain; charset=utf-8"
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class Door:
    """The listening socket: a Unix socket, or a port of a loopback address."""

    def __init__(self, sock: socket.socket, close: Callable[[], None]) -> None:
        self.socket = sock
        self.close = close

    @classmethod
    def open(cls, config: MetricsConfig) -> Door:
        """Bind and listen. ListenError says what is in the way."""
        if not isinstance(config.listen, LoopbackAddress):
            listener = bind(
                ListenerConfig(
                    socket_path=config.listen, timeout_s=TIMEOUT_S, auth_types=frozenset(), mode=_SOCKET_MODE
                )
            )
            return cls(listener.socket, listener.close)
        host, port = config.listen
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(_BACKLOG)
        except OSError as error:
            sock.close()
            raise ListenError(f"cannot listen on {host} port {port} for metrics: {error.strerror}") from error
        return cls(sock, sock.close)


class _Connection:
    __slots__ = ("deadline_s", "input", "output", "socket")

    def __init__(self, sock: socket.socket, deadline_s: float) -> None:
        self.socket = sock
        self.deadline_s = deadline_s
        self.input = b""
        self.output = memoryview(b"")


class MetricsEndpoint:
    """Serves a door. The owner of the selector calls what it registers as data, and :meth:`expire` after each wait."""

    def __init__(
        self,
        config: MetricsConfig,
        door: Door,
        selector: selectors.BaseSelector,
        *,
        render: Callable[[], bytes],
        content_type: str,
        healthy: Callable[[], bool],
    ) -> None:
        self.config = config
        self._door = door
        self._selector = selector
        self._render = render
        self._content_type = content_type
        self._healthy = healthy
        self._connections: dict[_Connection, None] = {}
        self._accepting = False
        self._accept_if_room()

    def next_s(self) -> float:
        """When :meth:`expire` has something to do at the latest; infinity if it has nothing."""
        return min((connection.deadline_s for connection in self._connections), default=float("inf"))

    def expire(self, now_s: float) -> None:
        for connection in [one for one in self._connections if one.deadline_s <= now_s]:
            self._close(connection)

    def close(self) -> None:
        for connection in list(self._connections):
            self._close(connection)
        self._selector.unregister(self._door.socket)
        self._door.close()

    def release(self) -> None:
        """In a forked child: let go of the descriptors, which stay open in the parent."""
        self._door.socket.close()
        for connection in self._connections:
            connection.socket.close()

    def _accept_if_room(self) -> None:
        accept = len(self._connections) < MAX_CONNECTIONS
        if accept and not self._accepting:
            self._selector.register(self._door.socket, selectors.EVENT_READ, self._accept)
        elif self._accepting and not accept:
            self._selector.unregister(self._door.socket)
        self._accepting = accept

    def _accept(self) -> None:
        try:
            sock, _ = self._door.socket.accept()
        except OSError:
            return  # whoever it was has gone again, or there are no descriptors left for it
        sock.setblocking(False)
        connection = _Connection(sock, monotonic() + TIMEOUT_S)
        self._connections[connection] = None
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._read(connection))
        self._accept_if_room()

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(MAX_REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.input += data
        if _END_OF_HEAD in connection.input:
            answer = self._answer(connection.input)
        elif len(connection.input) >= MAX_REQUEST_BYTES:
            answer = _response(431)
        else:
            return
        connection.output = memoryview(answer)
        self._selector.modify(connection.socket, selectors.EVENT_WRITE, lambda: self._write(connection))
        self._write(connection)

    def _write(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.output)
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
            return
        connection.output = connection.output[sent:]
        if not connection.output:
            self._close(connection)

    def _close(self, connection: _Connection) -> None:
        del self._connections[connection]
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._accept_if_room()

    def _answer(self, request: bytes) -> bytes:
        words = request.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response(400)
        method, target, _ = words
        path = target.partition(b"?")[0]
        if path not in {b"/metrics", b"/healthz"}:
            return _response(404)
        if method not in {b"GET", b"HEAD"}:
            return _response(405, allow=True)
        head_only = method == b"HEAD"
        if path == b"/healthz":
            return _response(200 if self._healthy() else 503, head_only=head_only)
        return _response(200, self._render(), content_type=self._content_type, head_only=head_only)


def _response(
    status: int, body: bytes | None = None, *, content_type: str = _TEXT, head_only: bool = False, allow: bool = False
) -> bytes:
    """A whole response; without a body it says its reason, so that people see it too."""
    reason = _REASONS[status]
    if body is None:
        body = f"{reason}\n".encode()
    head = [
        f"HTTP/1.1 {status} {reason}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(["Allow: GET, HEAD"] if allow else []),
    ]
    return "\r\n".join(head).encode() + _END_OF_HEAD + (b"" if head_only else body)
