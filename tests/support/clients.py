"""Clients for tests of a running service: in processes of their own, as any user, and below the protocol's rules."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

# Imported before a process becomes another user, who may not be able to read the program's files.
import edgeroot.client.transports.unix  # noqa: F401
from edgeroot.client import Client, templates
from edgeroot.psa import Algorithm, Hash, UsageFlags
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import encode_operation
from edgeroot.wire.framing import Response, decode_response, encode_request
from edgeroot.wire.header import FLAG_EXTENDED
from edgeroot.wire.opcodes import BY_OPERATION
from tests.support.service import Service, processes

T = TypeVar("T")
ALICE = 31001
BOB = 31002
ECDSA = Algorithm.ecdsa(Hash.SHA_256)
DIGEST = bytes(range(32))
SIGN_ONLY = UsageFlags.SIGN_HASH


class Forked(Generic[T]):
    """``work`` in a forked process, as the user ``uid`` if one is given."""

    def __init__(self, work: Callable[[], T], *, uid: int | None = None) -> None:
        self._result, result = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(result)
            return
        try:
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            with os.fdopen(result, "wb") as file:
                try:
                    answer: tuple[bool, object] = (True, work())
                except BaseException:  # noqa: BLE001 - the parent raises it
                    answer = (False, traceback.format_exc())
                pickle.dump(answer, file)
        finally:
            os._exit(0)

    def result(self, timeout_s: float = 60.0) -> T:
        """What ``work`` returned; AssertionError with its traceback if it raised, or if it takes too long."""
        data = b""
        deadline_s = time.monotonic() + timeout_s
        while True:
            ready, _, _ = select.select([self._result], [], [], max(0.0, deadline_s - time.monotonic()))
            assert ready, "a forked client takes too long"
            piece = os.read(self._result, 1 << 16)
            if not piece:
                break
            data += piece
        succeeded, value = pickle.loads(data)
        assert succeeded, value
        result: T = value
        return result

    def end(self) -> None:
        os.close(self._result)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@contextmanager
def forked(*works: Callable[[], T], uid: int | None = None) -> Iterator[list[Forked[T]]]:
    """These works at the same time, each in a process of its own; none outlives the block."""
    started: list[Forked[T]] = []
    try:
        started.extend(Forked(work, uid=uid) for work in works)
        yield started
    finally:
        for one in started:
            one.end()


def as_user(uid: int, work: Callable[[], T]) -> T:
    """The result of ``work``, done by this user."""
    with forked(work, uid=uid) as (one,):
        return one.result()


def request(operation: ops.Operation, *, provider: int = 1, flags: int = 0) -> bytes:
    """A whole request of this process's user, for the wire."""
    spec = BY_OPERATION[type(operation)]
    return encode_request(
        opcode=spec.opcode,
        provider=0 if spec.core else provider,
        body=encode_operation(operation),
        auth_type=ops.AuthType.UNIX_PEER_CREDENTIALS,
        auth=os.geteuid().to_bytes(4, "little"),
        flags=flags | (FLAG_EXTENDED if provider > max(ops.ProviderId) else 0),
    )


def connect(service: Service, *, timeout_s: float = 60.0) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    connection.connect(str(service.socket_path))
    return connection


def send(service: Service, operation: ops.Operation) -> socket.socket:
    """A connection on which this has been asked; the answer is still to be read."""
    connection = connect(service)
    connection.sendall(request(operation))
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    """Everything until the service closes the connection."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = connection.recv(1 << 16)
        except ConnectionResetError:
            piece = b""
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def response(connection: socket.socket) -> Response:
    """The answer that is all the service sends before it closes."""
    return decode_response(read_to_end(connection))


def ask(service: Service, operation: ops.Operation, *, provider: int = 1) -> Response:
    """One request on a connection of its own, as upstream's clients send it."""
    with connect(service) as connection:
        connection.sendall(request(operation, provider=provider))
        return response(connection)


def generate_rsa(key_name: str, key_bits: int = 4096) -> ops.PsaGenerateKey:
    """Work of half a second and more."""
    return ops.PsaGenerateKey(key_name, templates.rsa_signing(key_bits))


@contextmanager
def clients_of_every_worker(service: Service, count: int = 24) -> Iterator[list[Client]]:
    """Clients with a kept connection each: more than any worker takes while another has none."""
    clients = [service.client() for _ in range(count)]
    try:
        for client in clients:
            client.ping()
        yield clients
    finally:
        for client in clients:
            client.close()


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """Connections made in this block are this user's."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def settle(service: Service) -> None:
    """Return when whoever has connected is accepted: that happens in the order of the connecting."""
    for _ in range(10):
        ask(service, ops.Ping())


def all_gone(pids: Sequence[int]) -> bool:
    return not any(one.pid in pids for one in processes())


def wait_until(holds: Callable[[], bool], what: str, *, timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s, f"not in time: {what}"
        time.sleep(0.01)


def worker_connections(service: Service) -> dict[int, int]:
    """How many sockets each worker has open, its own for listening and for talking to the others included."""
    return {pid: _sockets(pid) for pid in service.children("worker")}


def _sockets(pid: int) -> int:
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            count += str(descriptor.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue
    return count


def each(works: Sequence[Forked[T]], timeout_s: float = 60.0) -> list[T]:
    return [work.result(timeout_s) for work in works]
