"""Standard error that nobody reads: the service goes on answering, reloads and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from edgeroot.client import templates
from tests.support.clients import DIGEST, ECDSA, each, forked, wait_until
from tests.support.service import Service, running_service

CORE = 'thread_pool_size = 2\nlog_format = "json"'
OPERATIONS = 4000  # audit lines of more than a pipe or a socket holds, and than may wait


@contextmanager
def unread_service(kind: str) -> Iterator[tuple[Service, int]]:
    """A service and the other end of its standard error."""
    if kind == "pipe":
        reading, writing = os.pipe()
    else:
        ours, theirs = socket.socketpair()
        reading, writing = ours.detach(), theirs.detach()
    with running_service(core=CORE, start=False) as service:
        service.process = subprocess.Popen(
            [sys.executable, "-m", "edgeroot", "serve", "-c", str(service.config_path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=writing,
            start_new_session=True,
        )
        os.close(writing)
        try:
            wait_until(service.socket_path.exists, "the service listens")
            yield service, reading
        finally:
            os.close(reading)


def sign(service: Service, times: int) -> int:
    with service.client(timeout_s=20.0) as client:
        for _ in range(times):
            client.sign_hash("key", ECDSA, DIGEST)
    return times


def has_other_workers(service: Service, before: set[int]) -> bool:
    now = set(service.children("worker"))
    return bool(now) and not now & before


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_log_that_nobody_reads_stops_nothing(kind: str) -> None:
    with unread_service(kind) as (service, reading):
        with service.client(timeout_s=20.0) as client:
            client.generate_key("key", templates.ecdsa_p256())
        with forked(*[lambda: sign(service, OPERATIONS)] * 2) as running:
            assert each(running) == [OPERATIONS] * 2
        # The supervisor logs too: reloads and restarts go on.
        for _ in range(3):
            before = set(service.children("worker"))
            service.signal(signal.SIGHUP)
            wait_until(partial(has_other_workers, service, before), "new workers serve")
            os.kill(service.children("worker")[0], signal.SIGKILL)
            sign(service, 10)

        # What was written is whole lines, and once somebody reads, new lines come.
        os.set_blocking(reading, False)
        lines = read_lines(reading)
        assert {json.loads(line).get("event", "log") for line in lines} <= {"key_operation", "log", "audit_lost"}
        sign(service, 1)
        wait_until(lambda: any(b"key_operation" in line for line in read_lines(reading)), "it goes on")
        assert service.stop() == 0


def test_lost_audit_lines_are_told_without_a_further_request() -> None:
    with unread_service("pipe") as (service, reading):
        with service.client(timeout_s=20.0) as client:
            client.generate_key("key", templates.ecdsa_p256())
        with forked(*[lambda: sign(service, 2 * OPERATIONS)] * 2) as running:
            each(running)
        os.set_blocking(reading, False)
        told: list[bytes] = []

        def loss_is_told() -> bool:
            told.extend(line for line in read_lines(reading) if b"audit_lost" in line)
            return bool(told)

        wait_until(loss_is_told, "the loss is told")
        assert json.loads(told[0])["lines"] > 0


def read_lines(fd: int) -> list[bytes]:
    data = b""
    while True:
        try:
            block = os.read(fd, 1 << 16)
        except BlockingIOError:
            break
        if not block:
            break
        data += block
    return data.splitlines()
