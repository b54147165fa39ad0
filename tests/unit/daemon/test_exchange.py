"""The native functions do what the Python ones say, over real sockets."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Final, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeroot.daemon import exchange
from tests.support.requirements import unavailable

Functions: TypeAlias = SimpleNamespace
_PYTHON: Final = SimpleNamespace(
    accept=exchange.python_accept, look=exchange.python_look, answer=exchange.python_answer
)
_CHOSEN: Final = SimpleNamespace(accept=exchange.accept, look=exchange.look, answer=exchange.answer)


@pytest.fixture
def native() -> Functions:
    if not exchange.IS_NATIVE:
        unavailable("this needs a C compiler at installation: gcc libc6-dev python3-dev")
    return _CHOSEN


@pytest.fixture(params=["python", "native"])
def functions(request: pytest.FixtureRequest) -> Functions:
    if request.param == "python":
        return _PYTHON
    found = request.getfixturevalue("native")
    assert isinstance(found, SimpleNamespace)
    return found


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(16)
        listener.setblocking(False)
        yield listener


@pytest.fixture
def pair() -> Iterator[tuple[int, socket.socket]]:
    """The service's end, as a descriptor, and the client's."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    descriptor = ours.detach()
    with theirs:
        theirs.settimeout(10)
        yield descriptor, theirs
    with suppress(OSError):
        os.close(descriptor)


def connect(listener: socket.socket, data: bytes = b"") -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(listener.getsockname())
    client.settimeout(10)
    client.sendall(data)
    return client


def test_who_waits_is_accepted_with_what_has_come(functions: Functions, listener: socket.socket) -> None:
    assert functions.accept(listener.fileno(), 4) == []
    with connect(listener, b"request"), connect(listener), connect(listener) as ended:
        ended.close()
        arrivals = functions.accept(listener.fileno(), 4)
        assert [data for _, _, data in arrivals] == [b"request", None, b""]
        for descriptor, credentials, _ in arrivals:
            assert struct.unpack("3i", credentials) == (os.getpid(), os.getuid(), os.getgid())
            assert not os.get_blocking(descriptor)
            assert not os.get_inheritable(descriptor)
        assert functions.look(arrivals[0][0]) == b"request"  # it is still there
        for descriptor, _, _ in arrivals:
            os.close(descriptor)


def test_no_more_are_accepted_than_told(functions: Functions, listener: socket.socket) -> None:
    clients = [connect(listener) for _ in range(5)]
    taken = [functions.accept(listener.fileno(), 3), functions.accept(listener.fileno(), 3)]
    assert [len(arrivals) for arrivals in taken] == [3, 2]
    for descriptor, _, _ in (arrival for arrivals in taken for arrival in arrivals):
        os.close(descriptor)
    for client in clients:
        client.close()


def test_what_cannot_be_accepted_is_an_error(functions: Functions, pair: tuple[int, socket.socket]) -> None:
    with pytest.raises(OSError):
        functions.accept(pair[0], 1)  # it does not listen


def test_a_look_takes_nothing(functions: Functions, pair: tuple[int, socket.socket]) -> None:
    descriptor, client = pair
    assert functions.look(descriptor) is None
    client.sendall(b"a" * 10_000)
    assert functions.look(descriptor) == b"a" * exchange.LOOK_BYTES
    assert functions.look(descriptor) == b"a" * exchange.LOOK_BYTES
    assert len(os.read(descriptor, 20_000)) == 10_000
    client.close()
    assert functions.look(descriptor) == b""


@pytest.mark.parametrize("close", [False, True])
def test_an_answer_takes_the_request_and_no_more(
    functions: Functions, pair: tuple[int, socket.socket], close: bool
) -> None:
    descriptor, client = pair
    client.sendall(b"request" + b"next")
    assert functions.answer(descriptor, b"response", 7, close) == 8
    assert client.recv(100) == b"response"
    if close:
        with pytest.raises(OSError):
            os.fstat(descriptor)
    else:
        assert os.read(descriptor, 100) == b"next"


def test_a_request_left_unread_does_not_break_the_answer(functions: Functions, pair: tuple[int, socket.socket]) -> None:
    """Linux resets a Unix connection that is closed with bytes unread: the client would lose its answer."""
    descriptor, client = pair
    request = b"r" * exchange.LOOK_BYTES
    client.sendall(request)
    assert functions.answer(descriptor, b"response", len(request), True) == 8
    assert client.recv(100) == b"response"
    assert client.recv(100) == b""


def test_what_does_not_fit_is_left_and_the_connection_open(
    functions: Functions, pair: tuple[int, socket.socket]
) -> None:
    descriptor, client = pair
    large = b"x" * (8 << 20)
    sent = functions.answer(descriptor, large, 0, True)
    assert 0 < sent < len(large)
    assert functions.answer(descriptor, b"more", 0, True) == 0
    os.fstat(descriptor)
    client.recv(1)


def test_a_client_that_has_gone_is_an_error_and_nothing_is_closed(
    functions: Functions, pair: tuple[int, socket.socket]
) -> None:
    descriptor, client = pair
    client.sendall(b"request")
    client.close()
    with pytest.raises(BrokenPipeError):
        functions.answer(descriptor, b"response", 7, True)
    os.fstat(descriptor)


@pytest.mark.parametrize(
    "call",
    [
        lambda functions: functions.look("x"),
        lambda functions: functions.look(1 << 40),
        lambda functions: functions.accept(0),
        lambda functions: functions.answer(1 << 20, "text", 0, True),
        lambda functions: functions.answer(1 << 20, b"", None, True),
    ],
)
def test_wrong_arguments_are_errors(native: Functions, call: Callable[[Functions], object]) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError)):
        call(native)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=9000), min_size=1, max_size=4))
def test_every_byte_goes_where_it_belongs(requests: list[bytes]) -> None:
    for functions in (_PYTHON, _CHOSEN):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            for request in requests:
                theirs.sendall(request)
                assert functions.look(ours.fileno()) == request[: exchange.LOOK_BYTES]
                assert functions.answer(ours.fileno(), request[::-1], len(request), False) == len(request)
                assert theirs.recv(len(request), socket.MSG_WAITALL) == request[::-1]
            assert functions.look(ours.fileno()) is None
