"""Both fronts over real sockets: kept, closed, broken, slow and absurd connections."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from edgeroot.client import AsyncClient, Client, DirectAuth, errors, templates
from edgeroot.client.transports import unix
from edgeroot.psa import Hash
from edgeroot.testing.wire_simulator import DIRECT, WireSimulator, constant
from edgeroot.wire import operations as ops
from edgeroot.wire.framing import encode_early_error
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.status import ResponseStatus
from tests.unit.client.socket_service import (
    SocketService,
    answering,
    answering_until_closed,
    closing_late,
    dying_after,
    read_request,
    silent,
)

T = TypeVar("T")


class Front:
    """One of the two clients, behind one way to call it."""

    def __init__(self, endpoint: str, asynchronous: bool, *, timeout_s: float = 10.0, keep: bool = True) -> None:
        self.blocking = Client(endpoint, auth=DirectAuth("me"), provider=1, timeout_s=timeout_s, keep_connection=keep)
        self.awaited = AsyncClient(
            endpoint, auth=DirectAuth("me"), provider=1, timeout_s=timeout_s, keep_connection=keep
        )
        self.asynchronous = asynchronous

    def call(self, blocking: Callable[[Client], T], awaited: Callable[[AsyncClient], Awaitable[T]]) -> T:
        async def main() -> T:
            return await awaited(self.awaited)

        return asyncio.run(main()) if self.asynchronous else blocking(self.blocking)

    def ping(self) -> tuple[int, int]:
        return self.call(lambda client: client.ping(), lambda client: client.ping())

    def close(self) -> None:
        self.call(lambda client: client.close(), lambda client: client.close())

    def destroy(self) -> None:
        self.call(lambda client: client.destroy_key("k"), lambda client: client.destroy_key("k"))

    def hash(self, data: bytes) -> bytes:
        return self.call(
            lambda client: client.hash_compute(Hash.SHA_256, data),
            lambda client: client.hash_compute(Hash.SHA_256, data),
        )


@pytest.fixture(params=[False, True], ids=["blocking", "asynchronous"])
def asynchronous(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def simulator() -> WireSimulator:
    answers = dict.fromkeys((Opcode.PSA_DESTROY_KEY, Opcode.PSA_GENERATE_KEY), constant())
    answers[Opcode.PSA_HASH_COMPUTE] = constant(ops.PsaHashComputeResult(b"hash" * 50_000))
    return WireSimulator(answers, authenticators=(DIRECT,), body_len_limit=1 << 24)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def test_a_kept_connection_serves_every_call(path: Path, simulator: WireSimulator, asynchronous: bool) -> None:
    with SocketService(path, answering(simulator, 5)) as service:
        front = Front(service.endpoint, asynchronous)
        assert [front.ping() for _ in range(5)] == [(1, 0)] * 5


def test_without_keeping_every_call_has_its_own(path: Path, simulator: WireSimulator, asynchronous: bool) -> None:
    with SocketService(path, *[answering_until_closed(simulator)] * 3) as service:
        front = Front(service.endpoint, asynchronous, keep=False)
        for _ in range(3):
            front.ping()


def test_a_service_that_closes_after_each_answer_is_noticed(
    path: Path, simulator: WireSimulator, asynchronous: bool
) -> None:
    """As upstream does; what creates or destroys goes on a new connection as well."""
    with SocketService(path, *[answering(simulator)] * 4) as service:
        front = Front(service.endpoint, asynchronous)
        front.ping()
        front.destroy()
        front.ping()
        front.destroy()


def test_a_service_that_closes_late_loses_no_destruction(
    path: Path, simulator: WireSimulator, asynchronous: bool
) -> None:
    """Upstream closes a moment after its answer, when a quick client may have sent its next request already."""
    with SocketService(path, *[closing_late(answering(simulator))] * 3) as service:
        front = Front(service.endpoint, asynchronous)
        front.ping()
        front.destroy()
        front.destroy()


def test_a_kept_connection_that_ends_is_a_reason_to_find_out_again(
    path: Path, simulator: WireSimulator, asynchronous: bool
) -> None:
    late = closing_late(answering(simulator))
    with SocketService(path, answering(simulator, 3), late, late, late) as service:
        front = Front(service.endpoint, asynchronous)
        for _ in range(4):  # the last one over a new connection: the service that kept them is gone
            front.ping()
        front.destroy()
        front.destroy()


def test_a_kept_connection_that_dies_under_a_harmless_call_is_replaced(
    path: Path, simulator: WireSimulator, asynchronous: bool
) -> None:
    with SocketService(path, dying_after(answering(simulator)), answering(simulator)) as service:
        front = Front(service.endpoint, asynchronous)
        assert [front.ping(), front.ping()] == [(1, 0)] * 2


def test_a_kept_connection_that_dies_under_a_destruction_is_not(
    path: Path, simulator: WireSimulator, asynchronous: bool
) -> None:
    with SocketService(path, dying_after(answering(simulator, 2))) as service:
        front = Front(service.endpoint, asynchronous)
        front.ping()
        front.ping()  # from here on the service is known to keep connections
        with pytest.raises(errors.OutcomeUnknownError, match="closed the connection"):
            front.destroy()


def test_bytes_nobody_asked_for_end_a_kept_connection(path: Path, simulator: WireSimulator, asynchronous: bool) -> None:
    def complain(connection: socket.socket) -> None:
        connection.sendall(simulator.answer(read_request(connection)))
        connection.sendall(encode_early_error(ResponseStatus.CONNECTION_ERROR))
        os.write(told, b".")
        silent(connection)

    seen, told = os.pipe()
    with SocketService(path, complain, answering(simulator)) as service:
        front = Front(service.endpoint, asynchronous)
        front.ping()
        os.read(seen, 1)
        front.ping()
    os.close(seen)
    os.close(told)


def test_bytes_that_come_with_an_answer_end_its_connection(
    path: Path, simulator: WireSimulator, asynchronous: bool
) -> None:
    def complain(connection: socket.socket) -> None:
        answer = simulator.answer(read_request(connection))
        connection.sendall(answer + encode_early_error(ResponseStatus.CONNECTION_ERROR))
        silent(connection)

    with SocketService(path, complain, answering(simulator)) as service:
        front = Front(service.endpoint, asynchronous)
        front.ping()
        front.destroy()


def test_large_messages_arrive_whole(path: Path, simulator: WireSimulator, asynchronous: bool) -> None:
    with SocketService(path, answering(simulator, 2)) as service:
        front = Front(service.endpoint, asynchronous)
        for _ in range(2):
            assert front.hash(bytes(3 << 20)) == b"hash" * 50_000


def test_an_answer_that_comes_before_the_request_was_read_is_heard(path: Path, asynchronous: bool) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(36)
        connection.sendall(encode_early_error(ResponseStatus.BODY_SIZE_EXCEEDS_LIMIT))

    with SocketService(path, refuse) as service, pytest.raises(errors.BodySizeExceedsLimitError):
        Front(service.endpoint, asynchronous).hash(bytes(8 << 20))


def test_a_response_in_crumbs_is_put_together(path: Path, simulator: WireSimulator, asynchronous: bool) -> None:
    def crumble(connection: socket.socket) -> None:
        for byte in simulator.answer(read_request(connection)):
            connection.sendall(bytes([byte]))

    with SocketService(path, crumble) as service:
        assert Front(service.endpoint, asynchronous).ping() == (1, 0)


def test_no_answer_in_time_is_a_timeout(path: Path, asynchronous: bool) -> None:
    with SocketService(path, silent, silent) as service:
        front = Front(service.endpoint, asynchronous, timeout_s=0.05)
        with pytest.raises(errors.ServiceTimeoutError):
            front.ping()
        with pytest.raises(errors.OutcomeUnknownError):
            front.destroy()


def test_a_full_queue_of_the_listener_is_waited_for_no_longer_than_told(path: Path, asynchronous: bool) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
            first.connect(str(path))
            with pytest.raises(errors.ServiceTimeoutError):
                Front(f"unix:{path}", asynchronous, timeout_s=0.05).destroy()


def test_room_in_the_listeners_queue_is_waited_for(path: Path, simulator: WireSimulator, asynchronous: bool) -> None:
    """More callers than the queue holds: all are served, none is refused."""
    with SocketService(path, *[answering(simulator)] * 40) as service:
        front = Front(service.endpoint, asynchronous=asynchronous, keep=False)
        for _ in range(40):
            front.ping()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", b"\x10\xa7\xc0\x5e\x1e\x00\x02" + bytes(29)]
)
def test_a_stranger_on_the_socket_is_recognised(path: Path, answer: bytes, asynchronous: bool) -> None:
    def speak(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer)

    with SocketService(path, speak) as service, pytest.raises(errors.UnexpectedResponseError, match="endpoint"):
        Front(service.endpoint, asynchronous).ping()


def test_an_absurd_length_is_not_waited_for(path: Path, simulator: WireSimulator, asynchronous: bool) -> None:
    def boast(connection: socket.socket) -> None:
        response = bytearray(simulator.answer(read_request(connection)))
        response[22:26] = b"\xff\xff\xff\xff"
        connection.sendall(response)

    with SocketService(path, boast) as service, pytest.raises(errors.UnexpectedResponseError, match="announces"):
        Front(service.endpoint, asynchronous).ping()


def test_an_answer_with_more_behind_it_counts_and_its_connection_does_not(
    path: Path, simulator: WireSimulator, asynchronous: bool
) -> None:
    def stutter(connection: socket.socket) -> None:
        connection.sendall(simulator.answer(read_request(connection)) * 2)
        silent(connection)

    with SocketService(path, stutter, answering(simulator)) as service:
        front = Front(service.endpoint, asynchronous)
        front.destroy()
        front.ping()


def test_nobody_there_says_what_to_do(path: Path, asynchronous: bool) -> None:
    with pytest.raises(errors.EndpointError, match="no such socket: start the service"):
        Front(f"unix:{path}", asynchronous).ping()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as closed:
        closed.bind(str(path))
    with pytest.raises(errors.EndpointError, match="nobody listens there"):
        Front(f"unix:{path}", asynchronous).ping()


def test_closing_ends_kept_connections_and_a_later_call_opens_one(path: Path, simulator: WireSimulator) -> None:
    conversations = [answering_until_closed(simulator)] * 2
    with SocketService(path, *conversations) as service, Client(service.endpoint) as client:
        client.ping()
        client.close()
        client.ping()


def test_a_connection_idle_for_long_is_not_used_again(
    path: Path, simulator: WireSimulator, asynchronous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SocketService(path, *[answering_until_closed(simulator)] * 2) as service:
        front = Front(service.endpoint, asynchronous)
        front.ping()
        monkeypatch.setattr(unix, "KEPT_IDLE_S", 0.0)
        front.ping()
        front.close()


def test_a_forked_child_does_not_use_its_parents_connections(
    path: Path, simulator: WireSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SocketService(path, answering(simulator), answering(simulator)) as service:
        client = Client(service.endpoint)
        client.ping()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        client.ping()


def test_tasks_of_one_client_run_at_once_over_few_connections(path: Path, simulator: WireSimulator) -> None:
    """Nothing is answered before eight requests wait on as many connections."""
    handlers: list[asyncio.Task[None] | None] = []
    all_open = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        while request := await reader.read(4096):
            if len(handlers) == 8:
                all_open.set()
            await all_open.wait()
            writer.write(simulator.answer(request))
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with await asyncio.start_unix_server(serve, path):
            async with AsyncClient(f"unix:{path}", auth=DirectAuth("me"), timeout_s=10) as client:
                calls = [asyncio.create_task(client.ping()) for _ in range(100)]
                assert await asyncio.gather(*calls) == [(1, 0)] * 100
            await asyncio.gather(*(handler for handler in handlers if handler))

    asyncio.run(main())
    assert len(handlers) == 8
    assert len(simulator.requests) == 100


def test_a_cancelled_call_leaves_no_half_used_connection(path: Path, simulator: WireSimulator) -> None:
    async def main(endpoint: str) -> None:
        client = AsyncClient(endpoint, auth=DirectAuth("me"), provider=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.generate_key("k", templates.ecdsa_p256())
        assert await client.ping() == (1, 0)
        await client.close()

    with SocketService(path, silent, answering_until_closed(simulator)) as service:
        asyncio.run(main(service.endpoint))
