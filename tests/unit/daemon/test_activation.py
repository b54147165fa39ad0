from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from edgeroot.daemon.activation import ActivationError, InheritedSocket, inherited_sockets, match_listeners
from edgeroot.daemon.config import ListenerConfig


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def listening(stack: ExitStack, path: Path) -> int:
    """A listening socket as a service manager leaves it to us: inheritable and blocking."""
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    sock.bind(str(path))
    sock.listen()
    sock.set_inheritable(True)
    return sock.fileno()


def environment(count: object, pid: object = 42, names: str | None = None) -> dict[str, str]:
    environ = {"LISTEN_FDS": str(count), "LISTEN_PID": str(pid), "PATH": "/bin"}
    return environ if names is None else environ | {"LISTEN_FDNAMES": names}


def listener(path: str, name: str | None = None) -> ListenerConfig:
    return ListenerConfig(socket_path=Path(path), timeout_s=1.0, auth_types=frozenset({3}), name=name)


def test_a_socket_is_taken_over(tmp_path: Path, stack: ExitStack) -> None:
    fd = listening(stack, tmp_path / "s")
    environ = environment(1, names="parsec.socket")
    assert inherited_sockets(environ, pid=42, first_fd=fd) == (InheritedSocket(fd, "parsec.socket", tmp_path / "s"),)
    assert environ == {"PATH": "/bin"}
    assert not os.get_inheritable(fd)
    assert not os.get_blocking(fd)


def test_several_sockets_follow_each_other(tmp_path: Path, stack: ExitStack) -> None:
    fd = listening(stack, tmp_path / "a")
    other = listening(stack, tmp_path / "b")
    high = 200
    for offset, source in enumerate((fd, other)):
        os.dup2(source, high + offset)
        stack.callback(os.close, high + offset)
    assert inherited_sockets(environment(2), pid=42, first_fd=high) == (
        InheritedSocket(high, "", tmp_path / "a"),
        InheritedSocket(high + 1, "", tmp_path / "b"),
    )


def test_an_abstract_socket_has_no_path(stack: ExitStack) -> None:
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    sock.bind(f"\0edgeroot-activation-{os.getpid()}")
    sock.listen()
    (inherited,) = inherited_sockets(environment(1), pid=42, first_fd=sock.fileno())
    assert inherited.path is None


@pytest.mark.parametrize("environ", [{}, {"LISTEN_FDS": "1"}, environment(1, pid=43), environment(0)])
def test_what_is_not_for_us_is_left_alone(environ: dict[str, str]) -> None:
    assert inherited_sockets(environ, pid=42) == ()
    assert "LISTEN_FDS" not in environ


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (environment("one"), "must be numbers"),
        (environment(1, pid="me"), "must be numbers"),
        (environment(-1), "announces -1 sockets"),
        (environment(1, names="a:b"), "announces 1 sockets and LISTEN_FDNAMES 2"),
    ],
)
def test_malformed_variables_are_refused(environ: dict[str, str], expected: str) -> None:
    with pytest.raises(ActivationError, match=expected):
        inherited_sockets(environ, pid=42)


def test_only_listening_unix_stream_sockets_will_do(tmp_path: Path, stack: ExitStack) -> None:
    file = stack.enter_context((tmp_path / "file").open("w"))
    silent = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    datagram = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    internet = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    for fd, expected in (
        (file.fileno(), "is not a socket"),
        (silent.fileno(), "does not listen"),
        (datagram.fileno(), "is not a Unix stream socket"),
        (internet.fileno(), "is not a Unix stream socket"),
    ):
        with pytest.raises(ActivationError, match=expected):
            inherited_sockets(environment(1), pid=42, first_fd=fd)
        os.fstat(fd)  # it is not ours to close


def test_one_socket_is_for_one_listener_whatever_they_are_called() -> None:
    assert match_listeners([InheritedSocket(9, "x", Path("/x"))], [listener("/a", "a")]) == (9,)


def test_a_socket_that_is_not_at_a_slots_place_is_no_slots() -> None:
    slots = [replace(listener(f"/slots/{slot:02}/parsec.sock"), slot=slot) for slot in range(2)]
    assert match_listeners([InheritedSocket(9, "x", Path("/x"))], [*slots, listener("/a")]) == (None, None, 9)
    with pytest.raises(ActivationError, match="/x"):
        match_listeners([InheritedSocket(9, "x", Path("/x"))], slots[:1])


def test_no_socket_leaves_all_listeners_to_be_bound() -> None:
    assert match_listeners([], [listener("/a"), listener("/b")]) == (None, None)


def test_several_listeners_are_matched_by_name_then_by_path() -> None:
    listeners = [listener("/a", "one"), listener("/b"), listener("/c")]
    sockets = [InheritedSocket(9, "", Path("/b")), InheritedSocket(10, "one", Path("/b"))]
    assert match_listeners(sockets, listeners) == (10, 9, None)


@pytest.mark.parametrize(
    ("sockets", "expected"),
    [
        ([InheritedSocket(9, "x", Path("/x")), InheritedSocket(10, "", Path("/a"))], 'no listener is named "x"'),
        ([InheritedSocket(9, "", Path("/a")), InheritedSocket(10, "", Path("/a"))], "was handed two sockets"),
    ],
)
def test_a_socket_for_nobody_or_twice_is_refused(sockets: list[InheritedSocket], expected: str) -> None:
    with pytest.raises(ActivationError, match=expected):
        match_listeners(sockets, [listener("/a")])
