from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeroot.daemon.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket and what NOTIFY_SOCKET says of it."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@edgeroot-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address.replace("@", "\0"))
        sock.settimeout(5)
        yield sock, address


def test_states_reach_the_manager(manager: tuple[socket.socket, str]) -> None:
    sock, address = manager
    environ = {"NOTIFY_SOCKET": address, "HOME": "/"}
    notifier = Notifier.from_environment(environ)
    assert environ == {"HOME": "/"}
    notifier.ready("2 workers\nREADY=0")
    notifier.status("busy")
    notifier.stopping()
    before_us = time.monotonic_ns() // 1000
    notifier.reloading("again")
    assert [sock.recv(4096) for _ in range(3)] == [b"READY=1\nSTATUS=2 workers READY=0", b"STATUS=busy", b"STOPPING=1"]
    state, monotonic, status = sock.recv(4096).decode().split("\n")
    assert (state, status) == ("RELOADING=1", "STATUS=again")
    name, _, value = monotonic.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before_us <= int(value) <= time.monotonic_ns() // 1000


@pytest.mark.parametrize("address", [None, "", "relative", "vsock:2:1", "/nowhere/notify"])
def test_without_a_manager_nothing_happens(address: str | None) -> None:
    Notifier(address).ready()
    Notifier(address).status("")


def test_a_manager_that_does_not_read_holds_nobody_up(manager: tuple[socket.socket, str]) -> None:
    _, address = manager
    notifier = Notifier(address)
    for _ in range(2000):
        notifier.status("x" * 1000)
