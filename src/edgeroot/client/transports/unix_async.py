"""Unix stream sockets for asyncio."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Final

from edgeroot.client.transport import Deadline, Transmission
from edgeroot.client.transports.unix import CHUNK_BYTES, Exchange, KeptConnections, no_connection

CONCURRENT_MAX: Final = 8
"""Connections that a client has open at once; further calls wait for one of them."""
_BACKLOG_PAUSE_S: Final = 0.005


class AsyncUnixTransport:
    """For the asynchronous client. Its kept connections are plain sockets, so they outlive an event loop."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept = KeptConnections()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(CONCURRENT_MAX)

    async def transmit(self, transmission: Transmission, deadline: Deadline) -> bytes:
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._slots = loop, asyncio.Semaphore(CONCURRENT_MAX)
        exchange = Exchange(reused=False)
        try:
            async with asyncio.timeout(deadline.remaining_s()), self._slots:
                return await self._transmit(transmission, exchange)
        except TimeoutError as error:
            raise exchange.failure(error, timed_out=True) from error

    async def close(self) -> None:
        self._kept.close()

    async def _transmit(self, transmission: Transmission, exchange: Exchange) -> bytes:
        connection = None if transmission.fresh else self._kept.take(repeatable=transmission.repeatable)
        exchange.reused = connection is not None
        if connection is None:
            connection = await self._connect()
        try:
            response = await _converse(connection, exchange, transmission.frame)
        except BaseException:
            connection.close()
            if exchange.reused:
                self._kept.lost()
            raise
        if transmission.keep and not exchange.inbox.has_excess:
            self._kept.give_back(connection, reused=exchange.reused)
        else:
            connection.close()
        return response

    async def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            # A Unix connect is never "in progress", so the loop's own sock_connect would take a full queue for success.
            while (result := connection.connect_ex(self._path)) == errno.EAGAIN:  # noqa: ASYNC110 - nothing to wait on
                await asyncio.sleep(_BACKLOG_PAUSE_S)
            if result:
                error = OSError(result, os.strerror(result))
                raise no_connection(self._path, error) from error
        except BaseException:
            connection.close()
            raise
        return connection


async def _converse(connection: socket.socket, exchange: Exchange, frame: bytes) -> bytes:
    """One request and its response over a socket that does not block; the caller bounds the time."""
    loop = asyncio.get_running_loop()
    try:
        try:
            await loop.sock_sendall(connection, frame)
            exchange.complete = True
        except (BrokenPipeError, ConnectionResetError):
            # A service may refuse a request before it has read all of it; then its answer is there to be read.
            pass
        while True:
            data = await loop.sock_recv(connection, CHUNK_BYTES)
            if not data:
                raise exchange.failure("the service closed the connection without an answer")
            response = exchange.inbox.feed(data)
            if response is not None:
                return response
    except OSError as error:
        raise exchange.failure(error) from error
