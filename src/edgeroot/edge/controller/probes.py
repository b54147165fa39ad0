"""``/healthz``, ``/readyz`` and ``/metrics`` over HTTP, in a thread of its own: it answers though the loop hangs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

_HANGS_S: Final = 20.0
_REQUEST_S: Final = 5.0
_TEXT: Final = "text/plain; charset=utf-8"
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Condition:
    """Written by the loop, read by the thread. ``lacking``: what is waited for before anything is decided; or empty."""

    beat_s: float = 0.0
    lacking: str = "nothing has been read yet"

    def beat(self) -> None:
        self.beat_s = time.monotonic()

    def alive(self) -> bool:
        return time.monotonic() - self.beat_s < _HANGS_S


@contextmanager
def probes(host: str, port: int, condition: Condition, metrics: Callable[[], bytes]) -> Iterator[int]:
    """Serve; the port. OSError if the address cannot be had."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_S
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, metrics(), _METRICS)
            elif path == "/healthz":
                alive = condition.alive()
                self._answer(200 if alive else 503, b"ok\n" if alive else b"the loop hangs\n")
            elif path == "/readyz":
                lacking = condition.lacking
                self._answer(503 if lacking else 200, f"{lacking or 'ok'}\n".encode())
            else:
                self._answer(404, b"there are /healthz, /readyz and /metrics\n")

        def _answer(self, status: int, body: bytes, kind: str = _TEXT) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass  # probes come every few seconds

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

    server = Server((host, port), Handler)
    thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
