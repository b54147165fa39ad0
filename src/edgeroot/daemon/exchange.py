"""What a worker does with a connection for every request: accept it, look at what has come, answer.

Each is one call over plain descriptors that do not block. `_exchange.c` does the same without a Python object for
each socket, which otherwise costs more than the request; where it was not compiled, the functions here serve, and in
tests they say what the native ones have to do.
"""

from __future__ import annotations

import _socket  # the C type: `socket.socket` adds Python calls to every accept and close
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

CREDENTIALS_BYTES: Final = 12
"""``struct ucred`` of unix(7): process, user and group id, each an int of 32 bits."""
LOOK_BYTES: Final = 8192
Arrival: TypeAlias = tuple[int, bytes, bytes | None]
"""Descriptor, the peer's credentials as the kernel encodes them, what has come so far: None if nothing, no bytes if the
connection has ended or is broken.
"""


def python_accept(listener: int, limit: int) -> list[Arrival]:
    """Accept up to ``limit`` connections that wait. OSError only if the very first cannot be accepted."""
    arrivals: list[Arrival] = []
    with _borrowed(listener) as listening:
        while len(arrivals) < limit:
            try:
                descriptor, _address = listening._accept()  # type: ignore[attr-defined] # what `socket.accept` wraps
            except BlockingIOError:
                break
            except OSError:
                if arrivals:  # an error that lasts is met again by the next call
                    break
                raise
            os.set_blocking(descriptor, False)
            with _borrowed(descriptor) as connection:
                credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS_BYTES)
            try:
                data = python_look(descriptor)
            except OSError:
                data = b""
            arrivals.append((descriptor, credentials, data))
    return arrivals


def python_look(descriptor: int) -> bytes | None:
    """The first ``LOOK_BYTES`` of what has come, left in the socket; None if nothing has, no bytes at the end."""
    with _borrowed(descriptor) as connection:
        try:
            return connection.recv(LOOK_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None


def python_answer(descriptor: int, response: bytes, unread_bytes: int, close: bool) -> int:
    """Send, take so many bytes out of the socket that were only looked at, and ``close`` if all was sent.

    How many bytes were sent. OSError if the connection is broken.
    """
    with _borrowed(descriptor) as connection:
        try:
            sent = connection.send(response, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        while unread_bytes > 0:
            try:
                taken = len(connection.recv(min(unread_bytes, LOOK_BYTES), socket.MSG_DONTWAIT))
            except OSError:
                break
            if not taken:
                break
            unread_bytes -= taken
    if close and sent == len(response):
        os.close(descriptor)
    return sent


def stop_receiving(descriptor: int) -> bool:
    """Have the kernel refuse what the client sends from now on: it then knows that nobody has seen that request.

    False if the connection is broken.
    """
    with _borrowed(descriptor) as connection:
        try:
            connection.shutdown(socket.SHUT_RD)
        except OSError:
            return False
    return True


@contextmanager
def _borrowed(descriptor: int) -> Iterator[_socket.socket]:
    """The socket of a descriptor that stays open."""
    sock = _socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptor)
    try:
        yield sock
    finally:
        sock.detach()


accept: Callable[[int, int], list[Arrival]] = python_accept
look: Callable[[int], bytes | None] = python_look
answer: Callable[[int, bytes, int, bool], int] = python_answer
try:
    from edgeroot.daemon import _exchange
except ImportError:
    IS_NATIVE = False
else:
    accept, look, answer = _exchange.accept, _exchange.look, _exchange.answer
    IS_NATIVE = True
