from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from edgeroot.daemon.config import LoopbackAddress, MetricsConfig
from edgeroot.daemon.metrics_endpoint import MAX_CONNECTIONS, MAX_REQUEST_BYTES, TIMEOUT_S, Door, MetricsEndpoint
from edgeroot.daemon.sockets import ListenError

BODY = b"answer 42\n"
GET = b"GET /metrics HTTP/1.1\r\nHost: service\r\n\r\n"


class Loop:
    """An endpoint at a Unix socket, and the part of the supervisor that turns it."""

    def __init__(self, path: Path, render: Callable[[], bytes]) -> None:
        self.path = path
        self.selector = selectors.DefaultSelector()
        self.healthy = True
        config = MetricsConfig(path)
        self.endpoint = MetricsEndpoint(
            config,
            Door.open(config),
            self.selector,
            render=render,
            content_type="text/x-metrics",
            healthy=lambda: self.healthy,
        )

    def turn(self) -> None:
        """Do all that there is to do, without waiting."""
        while events := self.selector.select(0):
            for key, _ in events:
                key.data()

    def connect(self, data: bytes = b"") -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        client.connect(str(self.path))
        client.send(data)
        self.turn()
        return client

    def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        with self.connect(data) as client:
            return parse(self.receive(client))

    def receive(self, client: socket.socket) -> bytes:
        received = b""
        while True:
            try:
                data = client.recv(1 << 16)
            except BlockingIOError:
                self.turn()
                continue
            if not data:
                return received
            received += data


def parse(response: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = response.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    version, number, _ = status.split(" ", 2)
    assert version == "HTTP/1.1"
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert len(body) in {0, int(headers["content-length"])}
    return int(number), headers, body


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path / "metrics.sock", lambda: BODY)
    yield loop
    with loop.connect(GET[:3]) as client:
        loop.endpoint.close()
        assert client.recv(1) == b""
    assert not loop.selector.get_map()
    assert not loop.path.exists()


def test_the_metrics_are_told(loop: Loop) -> None:
    status, headers, body = loop.ask(GET)

    assert (status, body) == (200, BODY)
    assert headers == {"content-type": "text/x-metrics", "content-length": str(len(BODY)), "connection": "close"}


def test_health_is_told(loop: Loop) -> None:
    assert loop.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200
    loop.healthy = False
    assert loop.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 503


def test_a_head_request_gets_the_head(loop: Loop) -> None:
    with loop.connect(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n") as client:
        response = loop.receive(client)

    assert response.endswith(b"\r\n\r\n")
    assert parse(response)[1]["content-length"] == str(len(BODY))


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /metrics?name=x HTTP/1.1", 200),
        (b"GET / HTTP/1.1", 404),
        (b"GET /metrics/ HTTP/1.1", 404),
        (b"GET /../metrics HTTP/1.1", 404),
        (b"POST /metrics HTTP/1.1", 405),
        (b"GET /metrics", 400),
        (b"GET /metrics HTTP/2.0", 400),
        (b"GET  /metrics HTTP/1.1", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"", 400),
    ],
)
def test_request_lines(loop: Loop, request_line: bytes, status: int) -> None:
    answered, headers, _ = loop.ask(request_line + b"\r\nHost: x\r\n\r\n")

    assert answered == status
    assert headers.get("allow") == ("GET, HEAD" if status == 405 else None)


def test_a_request_may_come_in_pieces(loop: Loop) -> None:
    with loop.connect() as client:
        for byte in GET:
            client.send(bytes([byte]))
            loop.turn()
        assert parse(loop.receive(client))[2] == BODY


def test_a_head_without_an_end_is_refused(loop: Loop) -> None:
    assert loop.ask((GET[:-2] + b"X: ").ljust(MAX_REQUEST_BYTES, b"x"))[0] == 431


def test_whoever_says_nothing_is_closed_in_time(loop: Loop) -> None:
    assert loop.endpoint.next_s() == float("inf")
    before_s = monotonic()
    with loop.connect(b"GET /met") as client:
        assert before_s + TIMEOUT_S <= loop.endpoint.next_s() <= monotonic() + TIMEOUT_S
        loop.endpoint.expire(loop.endpoint.next_s() - 0.01)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        loop.endpoint.expire(loop.endpoint.next_s())
        assert client.recv(1) == b""
    assert loop.endpoint.next_s() == float("inf")


def test_whoever_goes_is_forgotten(loop: Loop) -> None:
    loop.connect(b"GET /met").close()
    loop.turn()

    assert loop.endpoint.next_s() == float("inf")


def test_an_answer_that_nobody_takes_waits_and_ends(tmp_path: Path) -> None:
    big = Loop(tmp_path / "metrics.sock", lambda: bytes(8 << 20))
    with big.connect(GET) as slow:
        big.turn()
        assert big.ask(GET)[0] == 200  # others are served meanwhile
        big.endpoint.expire(big.endpoint.next_s())
        assert len(big.receive(slow)) < 8 << 20
    with big.connect(GET) as willing:
        assert len(parse(big.receive(willing))[2]) == 8 << 20
    big.endpoint.close()


def test_no_more_connections_than_there_is_room_for(loop: Loop) -> None:
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(loop.connect()) for _ in range(MAX_CONNECTIONS)]
        late = stack.enter_context(loop.connect(GET))
        with pytest.raises(BlockingIOError):
            late.recv(1)
        idle[0].close()
        assert parse(loop.receive(late))[0] == 200


def test_a_forked_child_lets_go_and_the_parent_goes_on(loop: Loop) -> None:
    with loop.connect(GET[:5]) as client:
        pid = os.fork()
        if pid == 0:
            loop.endpoint.release()
            os._exit(0)
        os.waitpid(pid, 0)
        client.send(GET[5:])
        assert parse(loop.receive(client))[0] == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_of_this_machine(host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        taken.bind((host, 0))
        port = taken.getsockname()[1]
        taken.listen()
        with pytest.raises(
            ListenError, match=f"cannot listen on {host} port {port} for metrics: Address already in use"
        ):
            Door.open(MetricsConfig(LoopbackAddress(host, port)))
    door = Door.open(MetricsConfig(LoopbackAddress(host, port)))
    with socket.create_connection((host, port)):
        pass
    door.close()


def test_the_socket_is_for_owner_and_group(loop: Loop) -> None:
    assert loop.path.stat().st_mode & 0o777 == 0o660
