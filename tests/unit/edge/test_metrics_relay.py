from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgeroot.edge import metrics_relay
from edgeroot.edge.metrics_relay import MAX_READERS, MetricsRelay

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nedgeroot_workers 2\n"


@asynccontextmanager
async def _service(path: Path, answer: bytes = _ANSWER) -> AsyncIterator[list[bytes]]:
    """A stand-in for the service's socket: one answer to each connection. What it was asked."""
    asked: list[bytes] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0])
        writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(one, path)
    try:
        yield asked
    finally:
        server.close()


@asynccontextmanager
async def _relay(path: Path) -> AsyncIterator[int]:
    server = await MetricsRelay(path).serve("127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: node\r\n\r\n".encode()


def test_what_the_service_says_is_passed_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with _service(tmp_path / "s") as asked, _relay(tmp_path / "s") as port:
            assert await _ask(port, _get("/metrics")) == _ANSWER
            assert await _ask(port, _get("/healthz?x=1")) == _ANSWER
            assert asked == [b"GET /metrics HTTP/1.1", b"GET /healthz HTTP/1.1"]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (_get("/"), 404),
        (_get("/metrics/../secret"), 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"nonsense\r\n\r\n", 404),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 431),
    ],
)
def test_nothing_else_reaches_the_service(tmp_path: Path, request_bytes: bytes, status: int) -> None:
    async def story() -> None:
        async with _service(tmp_path / "s") as asked, _relay(tmp_path / "s") as port:
            assert (await _ask(port, request_bytes)).startswith(f"HTTP/1.1 {status} ".encode())
            assert asked == []

    asyncio.run(story())


def test_a_service_that_is_away_is_said(tmp_path: Path) -> None:
    async def story() -> None:
        async with _relay(tmp_path / "nothing") as port:
            answer = await _ask(port, _get("/metrics"))
            assert answer.startswith(b"HTTP/1.1 502 ")
            assert b"No such file" in answer

    asyncio.run(story())


def test_an_endless_answer_is_not_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with _service(tmp_path / "s", b"x" * (4 << 20) + b"y"), _relay(tmp_path / "s") as port:
            assert (await _ask(port, _get("/metrics"))).startswith(b"HTTP/1.1 502 ")

    asyncio.run(story())


def test_dawdlers_are_few_and_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_relay, "_TIMEOUT_S", 0.3)

    async def story() -> None:
        async with _service(tmp_path / "s"), _relay(tmp_path / "s") as port:
            dawdlers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_READERS)]
            await asyncio.sleep(0.05)
            assert await _ask(port, _get("/metrics")) == b""
            for reader, writer in dawdlers:
                assert await reader.read() == b""
                writer.close()
            assert await _ask(port, _get("/metrics")) == _ANSWER

    asyncio.run(story())
