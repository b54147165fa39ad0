"""A stand-in for the verifier's feed of results: says what a test or benchmark tells it, over real HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "viewer-" + "0123456789abcdef" * 2


def rfc3339(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s))


def entry(
    device: str,
    status: str = "affirming",
    *,
    evaluated_s: float | None = None,
    lasts_s: float = 1800,
    reason: str = "all is as it should be",
) -> dict[str, Any]:
    """What the feed says about a device that was just appraised."""
    at_s = time.time() if evaluated_s is None else evaluated_s
    return {
        "device": device,
        "status": status,
        "reason": reason,
        "evaluated_at": rfc3339(at_s),
        "expires_at": rfc3339(at_s + lasts_s),
        "lifecycle": "secured",
        "components": [{"type": "BL", "version": "1.0"}, {"type": "manager", "version": "2.1"}],
    }


@dataclass(slots=True)
class Asked:
    """A question that came."""

    after: str | None
    wait_s: float


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.connections: list[socket.socket] = []

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address


@dataclass
class FeedDouble:
    """``answer`` in the place of the feed's own answer: status and body."""

    url: str = ""
    epoch: str = "a"
    token: str = TOKEN
    page_max: int = 500
    answer: Callable[[], tuple[int, Mapping[str, str], bytes] | None] = field(default=lambda: None)
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._latest: dict[str, tuple[int, dict[str, Any]]] = {}
        self._sequence = 0
        self._port = 0
        self._server: _Server | None = None

    def say(self, *entries: dict[str, Any]) -> None:
        with self._changed:
            for one in entries:
                self._sequence += 1
                # A device moves to the end of the order with each result.
                self._latest.pop(one["device"], None)
                self._latest[one["device"]] = (self._sequence, one)
            self._changed.notify_all()

    def restored(self, *entries: dict[str, Any]) -> None:
        """Another store is in its place, which knows no cursor of the one before."""
        with self._changed:
            self.epoch += "'"
            self._latest.clear()
        self.say(*entries)

    def page(self, after: str | None, wait_s: float, limit: int) -> tuple[int, dict[str, Any]]:
        limit = min(limit, self.page_max)
        epoch, _, place = (after or f"{self.epoch}.0").rpartition(".")
        with self._changed:
            if epoch != self.epoch:
                return 410, {"detail": "no such cursor"}
            since = int(place)
            self._changed.wait_for(
                lambda: self._sequence > since or self._server is None or epoch != self.epoch, wait_s
            )
            if epoch != self.epoch:
                return 410, {"detail": "no such cursor any more"}
            # The newest are at the end: nobody wants to walk over thousands for one that is new.
            fresh = []
            for number, one in reversed(self._latest.values()):
                if number <= since:
                    break
                fresh.append((number, one))
            fresh.reverse()
            shown = fresh[:limit]
            last = shown[-1][0] if shown else max(since, self._sequence)
            more = len(fresh) > limit
        return 200, {"cursor": f"{self.epoch}.{last}", "more": more, "devices": [one for _, one in shown]}

    def start(self) -> None:
        """At the address it had before, if it had one."""
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                double.asked.append(Asked(query.get("after"), float(query.get("wait", "0"))))
                instead = double.answer()
                if instead is not None:
                    self._send(*instead)
                elif self.headers.get("Authorization") != f"Bearer {double.token}":
                    self._send(401, {}, b'{"detail": "the viewer\'s token is wanted"}')
                elif parts.path != "/fleet/v1/changes":
                    self._send(404, {}, b"{}")
                else:
                    limit = int(query.get("limit", "100"))
                    status, document = double.page(query.get("after"), float(query.get("wait", "0")), limit)
                    self._send(status, {}, json.dumps(document).encode())

            def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(body)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        server = self._server = _Server(("127.0.0.1", self._port), Handler)
        self._port = server.server_address[1]
        self.url = f"http://127.0.0.1:{self._port}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """As a verifier that is killed: connections break."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        for connection in list(server.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with self._changed:
            self._changed.notify_all()


@contextmanager
def verifier_feed() -> Iterator[FeedDouble]:
    double = FeedDouble()
    double.start()
    try:
        yield double
    finally:
        double.stop()
