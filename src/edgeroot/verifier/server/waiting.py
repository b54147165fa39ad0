"""Requests that wait until there is something to tell. They hold no thread, and the store only while it is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from edgeroot.verifier.server.http import HttpError, Receive, Response

PLACES: Final = 64
POLL_S: Final = 1.0
"""Other processes change the store, too, and ring no bell."""
_FULL_RETRY_S: Final = "5"


class WaitingRoom:
    """Of one event loop, with ``places`` for so many requests."""

    def __init__(self, places: int = PLACES) -> None:
        self._places = places
        self._waiting: set[asyncio.Future[Any]] = set()
        self._taken = 0
        self._rung = 0
        self._closed = False

    def ring(self) -> None:
        """There may be news: whoever waits asks again."""
        self._rung += 1
        for one in self._waiting:
            if not one.done():
                one.set_result(None)

    def close(self) -> None:
        """Nobody waits any longer: all are answered as things are."""
        self._closed = True
        self.ring()

    async def answer(self, ask: Callable[[], Awaitable[Response]], receive: Receive) -> Response:
        """What is asked for, as soon as it is worth telling or :attr:`Response.hold_s` are over.

        HttpError 503 if too many wait already.
        """
        until_s, rung = time.monotonic(), self._rung
        response = await ask()
        if not response.hold_s:
            return response
        if self._taken >= self._places:
            raise HttpError(503, "too many requests wait already: try again later", {"retry-after": _FULL_RETRY_S})
        until_s += response.hold_s
        gone = asyncio.ensure_future(receive())  # After the body nothing comes but that the client has gone.
        self._taken += 1
        try:
            while response.hold_s and not self._closed and (left_s := until_s - time.monotonic()) > 0:
                if rung == self._rung:
                    await self._wait(gone, min(left_s, POLL_S))
                if gone.done():
                    raise HttpError(400, "the client went away")
                rung = self._rung
                response = await ask()
        finally:
            self._taken -= 1
            gone.cancel()
        return response

    async def _wait(self, gone: asyncio.Future[Any], at_most_s: float) -> None:
        """Until the bell rings, the client goes, or the time is up."""
        bell: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(bell)
        try:
            await asyncio.wait({bell, gone}, timeout=at_most_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.discard(bell)
