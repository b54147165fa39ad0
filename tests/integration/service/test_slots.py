"""Sockets that are a pod's own: their folders stay whatever the service does, and their bounds are nobody else's."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from edgeroot.client import Client, NoAuth, errors
from tests.support.clients import wait_until
from tests.support.token_service import TokenService, running_token_service


@pytest.fixture
def tokens() -> Iterator[TokenService]:
    with running_token_service() as service:
        yield service


def ping(path: Path) -> None:
    with Client(f"unix:{path}", auth=NoAuth(), timeout_s=10.0) as client:
        client.ping()


def answers(tokens: TokenService, slot: int) -> bool:
    try:
        ping(tokens.slot_path(slot))
    except errors.ClientError:
        return False
    return True


def connect(tokens: TokenService, slot: int) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(10.0)
    connection.connect(str(tokens.slot_path(slot)))
    return connection


def refused(connections: list[socket.socket]) -> int:
    """How many of them the service has closed; it waits for a request at the others."""
    time.sleep(0.3)
    readable, _, _ = select.select(connections, [], [], 0)
    return sum(one.recv(1) == b"" for one in readable)


def test_every_slot_has_a_folder_that_all_may_enter(tokens: TokenService) -> None:
    for slot in (0, 1):
        path = tokens.slot_path(slot)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        assert stat.S_ISSOCK(path.stat().st_mode)
        for folder in (path.parent, path.parent.parent):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o755
        ping(path)
    ping(tokens.service.socket_path)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_folder_that_is_in_use_has_the_next_services_socket(tokens: TokenService, end: signal.Signals) -> None:
    folder = os.open(tokens.slot_path(0).parent, os.O_PATH | os.O_DIRECTORY)  # as a mount would hold it
    try:
        within = Path(f"/proc/self/fd/{folder}/parsec.sock")
        ping(within)
        if end == signal.SIGKILL:
            tokens.service.kill()
        else:
            tokens.service.stop()
            assert not within.exists()
        tokens.service.start()
        ping(within)
        assert os.fstat(folder).st_ino == tokens.slot_path(0).parent.stat().st_ino
    finally:
        os.close(folder)


def test_fewer_and_more_slots_after_a_reload(tokens: TokenService) -> None:
    first = tokens.slot_path(1).parent.stat().st_ino
    tokens.configure("slots = 2", "slots = 1")
    tokens.service.signal(signal.SIGHUP)
    wait_until(lambda: not tokens.slot_path(1).exists(), "the surplus socket to go")
    assert tokens.slot_path(1).parent.is_dir()
    ping(tokens.slot_path(0))

    tokens.configure("slots = 1", "slots = 3")
    tokens.service.signal(signal.SIGHUP)
    wait_until(lambda: answers(tokens, 2), "the new slots")
    ping(tokens.slot_path(1))
    assert tokens.slot_path(1).parent.stat().st_ino == first


def test_a_folder_of_other_rights_is_left_as_it_is() -> None:
    with running_token_service(start=False) as tokens:
        folder = tokens.slot_path(0).parent
        folder.mkdir(parents=True)
        folder.chmod(0o711)
        tokens.service.start()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o711
        ping(tokens.slot_path(0))


def test_a_link_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    with running_token_service(start=False) as tokens:
        slots = tokens.slot_path(0).parent.parent
        slots.mkdir()
        (slots / "01").symlink_to(tmp_path)
        tokens.service.start(wait=False)
        assert tokens.service.process is not None
        assert tokens.service.process.wait(30) != 0
        assert f"{slots}/01 exists and is not a folder" in tokens.service.log()
        assert list(tmp_path.iterdir()) == []


def test_all_who_come_through_a_slot_share_its_bounds_and_no_others() -> None:
    """All pods may run as the same user."""
    with (
        running_token_service(listener="max_connections_per_user = 4", timeout_ms=20_000) as tokens,
        ExitStack() as stack,
    ):
        ours = [stack.enter_context(closing(connect(tokens, 0))) for _ in range(4)]
        assert refused(ours) == 0
        assert refused([stack.enter_context(closing(connect(tokens, 0))) for _ in range(2)]) == 2
        theirs = [stack.enter_context(closing(connect(tokens, 1))) for _ in range(4)]
        assert refused(theirs) == 0
        ping(tokens.service.socket_path)


def test_a_container_needs_its_socket_and_its_token_and_nothing_else(tokens: TokenService) -> None:
    token = str(tokens.token_file(tokens.till_token()))
    at_slot = {"PARSEC_SERVICE_ENDPOINT": f"unix:{tokens.slot_path(0)}"}
    assert edgeroot("list-keys", **at_slot, EDGEROOT_TOKEN_FILE=token).returncode == 0
    assert edgeroot("--token-file", token, "list-keys", **at_slot).returncode == 0
    without = edgeroot("list-keys", **at_slot)
    assert without.returncode != 0
    assert "give it with --token-file" in without.stderr


def edgeroot(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeroot", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
