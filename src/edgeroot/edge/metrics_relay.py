"""The service's metrics for a Prometheus on another machine.

The service itself shows them on its own machine only. Whoever runs this decides that others may read them; it passes
two paths on and nothing else, and needs no right but to the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Final

PATHS: Final = frozenset({"/metrics", "/healthz"})
MAX_READERS: Final = 8
_MAX_HEAD_BYTES: Final = 8192
_MAX_ANSWER_BYTES: Final = 4 << 20
_TIMEOUT_S: Final = 5.0
_REASONS: Final = {
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
}


class MetricsRelay:
    """Answers ``GET /metrics`` and ``GET /healthz`` with what the service says on its socket."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._readers = 0

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Listen there; OSError if that cannot be."""
        return await asyncio.start_server(self._answer, host, port, limit=_MAX_HEAD_BYTES)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._readers += 1
        try:
            if self._readers > MAX_READERS:
                return
            async with asyncio.timeout(_TIMEOUT_S):
                writer.write(await self._answer_to(reader))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # who has gone, or dawdles, gets nothing
        finally:
            self._readers -= 1
            writer.close()

    async def _answer_to(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _problem(431, "the head of the request is too long")
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("ascii", "replace")
        if path not in PATHS:
            return _problem(404, "there is nothing but /metrics and /healthz")
        if method != b"GET":
            return _problem(405, "only GET is answered")
        try:
            return await self._ask(path)
        except OSError as error:
            return _problem(502, f"the service's metrics are out of reach: {error.strerror or error}")

    async def _ask(self, path: str) -> bytes:
        """The service's own answer; the service ends the connection after it."""
        reader, writer = await asyncio.open_unix_connection(self._socket_path)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n".encode())
            answer = bytearray()
            while part := await reader.read(1 << 16):
                answer += part
                if len(answer) > _MAX_ANSWER_BYTES:
                    raise OSError("they are longer than 4 MiB")
            return bytes(answer)
        finally:
            writer.close()


def _problem(status: int, words: str) -> bytes:
    body = f"{words}\n".encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def run(socket_path: Path, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; OSError if it cannot listen."""
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    server = await MetricsRelay(socket_path).serve(host, port)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.close)
        await end.wait()
