"""Slow contexts: processes of a partition that do one long piece of work at a time, at the lowest priority.

They keep nothing and know no caller, so whatever they are busy with holds up no other call. A task travels as one
datagram: a number (u32), the index of the service (u8), the task; the result as number (u32), PSA status (i32), bytes.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.runtime.api import Caller, Service

_log: Final = logging.getLogger(__name__)
_TASK: Final = Struct("<IB")
_RESULT: Final = Struct("<Ii")
_MAX_BYTES: Final = 160 * 1024  # below what a socket of default size takes in one piece
NICE: Final = 19
DEFAULT_SOURCE_DEPTH: Final = 32

Done = Callable[[bytes | PsaError], None]


class Lane:
    """One slow context, as the context that gives it work sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.done: Done | None = None


class Lanes:
    """The slow contexts of a partition; work waits in turn by source, at most ``source_depth`` tasks of each."""

    def __init__(self, sockets: Sequence[socket.socket], *, source_depth: int = DEFAULT_SOURCE_DEPTH) -> None:
        self._source_depth = source_depth
        self._lanes = {sock.fileno(): Lane(sock) for sock in sockets}
        self._waiting: OrderedDict[int, deque[tuple[Caller, bytes, Done]]] = OrderedDict()
        self._number = 0

    def descriptors(self) -> list[int]:
        return list(self._lanes)

    def takes(self, caller: Caller) -> bool:
        """Whether another task of the caller's source may wait: many channels hold no more tasks than one."""
        return len(self._waiting.get(caller.source_id, ())) < self._source_depth

    def submit(self, caller: Caller, service: int, task: bytes, done: Done) -> None:
        """Have a caller's task done; ``done`` is called with the result, or with the error that ended it."""
        self._number = (self._number + 1) & 0xFFFFFFFF
        message = _TASK.pack(self._number, service) + task
        if len(message) > _MAX_BYTES or not self._lanes:
            done(PsaError(PsaStatus.INSUFFICIENT_MEMORY, "the task is longer than a slow context takes"))
            return
        self._waiting.setdefault(caller.source_id, deque()).append((caller, message, done))
        self._dispatch()

    def forget(self, caller: Caller) -> None:
        """The caller has gone: what of his has not begun is not done, or he could fill the memory by coming anew."""
        if left := deque(one for one in self._waiting.get(caller.source_id, ()) if one[0] != caller):
            self._waiting[caller.source_id] = left
        else:
            self._waiting.pop(caller.source_id, None)

    def hear(self, descriptor: int) -> None:
        """A slow context has answered."""
        lane = self._lanes[descriptor]
        data = lane.socket.recv(_MAX_BYTES)
        done, lane.done = lane.done, None
        if done is not None:
            _number, status = _RESULT.unpack_from(data)
            done(PsaError(PsaStatus(status)) if status else data[_RESULT.size :])
        self._dispatch()

    def _dispatch(self) -> None:
        for lane in self._lanes.values():
            if lane.done is not None:
                continue
            if not self._waiting:
                return
            source_id, queue = self._waiting.popitem(last=False)
            _caller, message, done = queue.popleft()
            if queue:
                self._waiting[source_id] = queue  # behind the others: their turn comes first
            lane.done = done
            lane.socket.send(message)


def run_lane(sockets: Sequence[socket.socket], services: Sequence[Service]) -> None:
    """What a slow context runs: serve its clients in turn until they have all ended."""
    os.nice(NICE)
    poll = select.poll()
    clients = {sock.fileno(): sock for sock in sockets}
    for descriptor in clients:
        poll.register(descriptor, select.POLLIN)
    while clients:
        for descriptor, _event in poll.poll():
            data = clients[descriptor].recv(_MAX_BYTES)
            if not data:
                poll.unregister(descriptor)
                clients.pop(descriptor).close()
                continue
            clients[descriptor].send(_work(services, data))


def _work(services: Sequence[Service], data: bytes) -> bytes:
    number, index = _TASK.unpack_from(data)
    service: Service = services[index]
    try:
        return _RESULT.pack(number, PsaStatus.SUCCESS) + service.work(data[_TASK.size :])
    except PsaError as error:
        return _RESULT.pack(number, error.status)
    except Exception:  # noqa: BLE001 - the guard of each task: whatever happens, it is answered
        _log.exception("a fault in the service itself; please report it")
        return _RESULT.pack(number, PsaStatus.GENERIC_ERROR)
