"""An execution context: the loop that serves the channels of one process of a partition.

A few requests of each source in turn, however many channels it has; their answers leave together, because to wake a
caller costs as much as a signature. What waits beyond a channel's queue, or beyond the slow work that may wait for one
source, is answered with FFA_BUSY.
"""

from __future__ import annotations

import select
from collections import deque
from time import perf_counter_ns
from typing import Final

from edgeroot.abi.emulation import FRAME
from edgeroot.abi.ffa import FfaError, FunctionId
from edgeroot.abi.ts_rpc import Words
from edgeroot.psa import PsaError
from edgeroot.secure.runtime.api import Caller
from edgeroot.secure.runtime.endpoint import Endpoint, Pending
from edgeroot.secure.runtime.lanes import Lanes
from edgeroot.secure.runtime.manager import ManagerConnection, NewChannel

_REQUEST: Final = FunctionId.MSG_SEND_DIRECT_REQ_32
_REQUEST_64: Final = FunctionId.MSG_SEND_DIRECT_REQ_64
_RESPONSE: Final = FunctionId.MSG_SEND_DIRECT_RESP_32
_RESPONSE_64: Final = FunctionId.MSG_SEND_DIRECT_RESP_64
_ERROR: Final = FunctionId.ERROR
_BAD_WIDTH: Final = -2 & 0xFFFFFFFF
_REQUESTS_IN_TURN: Final = 4
_DATAGRAMS_AT_ONCE: Final = 8
_LONGEST_HOLD_NS: Final = 150_000  # an answer waits no longer than this for others to leave with it
_MORE_BYTES: Final = FRAME.size + 1  # to notice a datagram that is too long


class _Channel:
    __slots__ = ("caller", "number", "queue", "route", "slow", "socket")

    def __init__(self, caller: Caller, new: NewChannel, own_id: int) -> None:
        self.caller = caller
        self.number = new.number
        self.socket = new.socket
        self.route = caller.source_id << 16 | own_id
        self.queue: deque[bytes] = deque()
        self.slow = 0


class Context:
    """The loop. It ends when the manager has ended."""

    def __init__(
        self, manager: ManagerConnection, endpoint: Endpoint, lanes: Lanes, *, own_id: int, queue_depth: int
    ) -> None:
        self._manager = manager
        self._endpoint = endpoint
        self._lanes = lanes
        self._own_id = own_id
        self._queue_depth = queue_depth
        self._channels: dict[int, _Channel] = {}
        self._ready: dict[int, deque[_Channel]] = {}  # by source: the channels that have requests
        self._next_channel = 0
        self._answers: list[tuple[_Channel, bytes]] = []
        self._answer_by_ns = 0
        self._poll = select.epoll()
        self._poll.register(manager.fileno(), select.EPOLLIN)
        self._slow_descriptors = frozenset(lanes.descriptors())
        for descriptor in self._slow_descriptors:
            self._poll.register(descriptor, select.EPOLLIN)

    def run(self) -> None:
        """Serve; ManagerGoneError at the end."""
        self._manager.ready()
        while True:
            self.turn()

    def turn(self) -> None:
        """Take in what has arrived, then serve a few requests of each source that has any: from all of its channels
        if nobody else waits, and from one if somebody does.
        """
        for descriptor, _event in self._poll.poll(0 if self._ready else -1):
            channel = self._channels.get(descriptor)
            if channel is not None:
                self._receive(channel)
            elif descriptor in self._slow_descriptors:
                self._lanes.hear(descriptor)
            else:
                self._connect()
        is_alone = len(self._ready) == 1
        for source_id, channels in list(self._ready.items()):
            for _ in range(len(channels) if is_alone else 1):
                channel = channels.popleft()
                self._serve_some(channel)
                if channel.queue:
                    channels.append(channel)
            if not channels:
                del self._ready[source_id]
        self._send_answers()
        if self._manager.has_channels:
            self._connect()

    def _serve_some(self, channel: _Channel) -> None:
        for _ in range(_REQUESTS_IN_TURN):
            if not channel.queue:  # or no more: the channel may have ended as an answer was sent
                return
            self._serve(channel, channel.queue.popleft())
            if perf_counter_ns() > self._answer_by_ns:
                self._send_answers()

    def _connect(self) -> None:
        for new in self._manager.new_channels():
            self._next_channel += 1
            channel = _Channel(Caller(new.source_id, self._next_channel), new, self._own_id)
            self._channels[new.socket.fileno()] = channel
            self._poll.register(new.socket.fileno(), select.EPOLLIN)

    def _receive(self, channel: _Channel) -> None:
        receive = channel.socket.recv
        try:
            for _ in range(_DATAGRAMS_AT_ONCE):
                data = receive(_MORE_BYTES)
                if not data:
                    self._close(channel)
                    return
                self._take(channel, data)
        except BlockingIOError:
            return
        except OSError:
            self._close(channel)

    def _take(self, channel: _Channel, data: bytes) -> None:
        if len(channel.queue) + channel.slow >= self._queue_depth:
            self._send(channel, _frame_of(data), (_ERROR, 0, FfaError.BUSY & 0xFFFFFFFF, 0, 0, 0, 0, 0))
            return
        if not channel.queue:
            self._ready.setdefault(channel.caller.source_id, deque()).append(channel)
        channel.queue.append(data)

    def _serve(self, channel: _Channel, data: bytes) -> None:
        if len(data) != FRAME.size:
            self._send(channel, _frame_of(data), _refusal(FfaError.INVALID_PARAMETERS))
            return
        frame = FRAME.unpack(data)
        function, route, framework = frame[:3]
        if function not in (_REQUEST, _REQUEST_64):
            self._send(channel, frame, _refusal(FfaError.NOT_SUPPORTED))
        elif route != channel.route:
            # Who the sender is has been settled when the manager made the channel; nobody else may be named here.
            self._send(channel, frame, _refusal(FfaError.DENIED))
        elif framework:
            self._send(channel, frame, _refusal(FfaError.INVALID_PARAMETERS))
        elif function == _REQUEST_64:
            self._respond(channel, frame, _RESPONSE_64, (frame[3], _BAD_WIDTH, 0, 0, 0))
        else:
            words = self._endpoint.answer(channel.caller, frame[3:8])
            if isinstance(words, Pending):
                self._begin(channel, frame, words)
            else:
                self._respond(channel, frame, _RESPONSE, words)

    def _begin(self, channel: _Channel, frame: tuple[int, ...], pending: Pending) -> None:
        if not self._lanes.takes(channel.caller):
            self._send(channel, frame, _refusal(FfaError.BUSY))  # nothing of it is done yet: it may be sent again
            return
        channel.slow += 1

        def done(result: bytes | PsaError) -> None:
            channel.slow -= 1
            if channel.socket.fileno() >= 0:  # otherwise nobody waits, and nothing is left undone
                self._respond(channel, frame, _RESPONSE, pending.finish(result))

        self._lanes.submit(channel.caller, pending.service, pending.task, done)

    def _respond(self, channel: _Channel, frame: tuple[int, ...], function: int, words: Words) -> None:
        self._send(channel, frame, (function, (frame[1] & 0xFFFF) << 16 | frame[1] >> 16, 0, *words))

    def _send(self, channel: _Channel, frame: tuple[int, ...], registers: tuple[int, ...]) -> None:
        if not self._answers:
            self._answer_by_ns = perf_counter_ns() + _LONGEST_HOLD_NS
        self._answers.append((channel, FRAME.pack(*registers, frame[8])))

    def _send_answers(self) -> None:
        answers, self._answers = self._answers, []
        for channel, answer in answers:
            try:
                channel.socket.send(answer)
            except OSError:
                # The caller has ended, or reads none of the answers that it asked for.
                self._close(channel)

    def _close(self, channel: _Channel) -> None:
        descriptor = channel.socket.fileno()
        if descriptor < 0:
            return
        self._poll.unregister(descriptor)
        del self._channels[descriptor]
        channel.socket.close()
        channel.queue.clear()
        self._lanes.forget(channel.caller)
        self._endpoint.channel_closed(channel.caller)
        self._manager.closed(channel.number)


def _refusal(code: FfaError) -> tuple[int, ...]:
    return (_ERROR, 0, code & 0xFFFFFFFF, 0, 0, 0, 0, 0)


def _frame_of(data: bytes) -> tuple[int, ...]:
    """The frame at the start of a datagram, as far as there is one."""
    return FRAME.unpack(data[: FRAME.size].ljust(FRAME.size, b"\0"))
