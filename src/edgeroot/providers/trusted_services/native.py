"""Ways to a service of the secure world: calls that wait, and for loops a link with one channel and a few buffers.

On a link each call under way has a buffer to itself; what finds none waits in turn by user. Slow calls get half of the
buffers at most, so that the others never wait for one of them; and where both kinds wait, each has every other turn.

A partition that has ended is back in less than a second. What it had is answered with an error, as nobody knows what
became of it; what it never had waits for it, for a bounded time.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from math import inf
from pathlib import Path
from time import monotonic
from typing import Final
from uuid import UUID

from edgeroot.abi.ts_rpc import Call, Words, call_request
from edgeroot.providers.api import BackEndAnswer, BackEndCall, Link
from edgeroot.providers.trusted_services.errors import failed
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.tee.api import Session, TeeBusyError, TeeError, TeeRefusedError, Transport
from edgeroot.tee.places import world_socket
from edgeroot.tee.transports.emulated import (
    Channel,
    EmulatedTransport,
    NotReadyError,
    SharedBuffer,
    WorldGoneError,
    service_result,
)
from edgeroot.tee.transports.patience import patiently

_RECONNECT_S: Final = 0.05
_RECONNECT_SHARE: Final = 4  # a secure world that hangs costs its callers a fifth of their time at most
_PATIENCE_S: Final = 2.0  # several times what a partition needs to start again
_SETUP_S: Final = 0.25  # for each of the few messages that a new channel begins with


def usual_socket() -> Path:
    """The emulated world's socket, as the environment and this process's user say it."""
    return world_socket(os.environ, is_root=os.geteuid() == 0)


def is_own(path: Path) -> bool:
    """Whether the secure world behind this socket runs as this process's user, who is not root."""
    return os.geteuid() != 0 and path.stat().st_uid == os.geteuid()


def cores() -> int:
    """How many cores this process may use: those that the secure world of the same machine counts."""
    return len(os.sched_getaffinity(0))


class NoLink(Link):
    """Stands for a service where its calls are driven by a :class:`SessionCaller`."""

    def fileno(self) -> int:
        return -1

    def submit(self, number: int, user: object, call: BackEndCall) -> BackEndAnswer | None:
        raise NotImplementedError

    def flush(self) -> list[tuple[int, BackEndAnswer]]:
        return []

    def forget(self, number: int) -> None:
        raise NotImplementedError

    def collect(self) -> list[tuple[int, BackEndAnswer]]:
        return []


class SessionCaller:
    """Calls that wait for their answer. It connects at the first call, and again after one that failed."""

    def __init__(self, open_transport: Callable[[], Transport], service: UUID, *, buffer_bytes: int) -> None:
        self._open_transport = open_transport
        self._service = service
        self._buffer_bytes = buffer_bytes
        self._transport: Transport | None = None
        self._session: Session | None = None
        self._process_id = 0

    def check(self) -> None:
        """PsaError COMMUNICATION_FAILURE if the service is not there."""
        try:
            self._connected()
        except TeeError as error:
            raise PsaError(PsaStatus.COMMUNICATION_FAILURE, str(error)) from error
        finally:
            self.close()  # what is forked from this process must not have this connection

    def call(self, call: BackEndCall) -> BackEndAnswer:
        try:
            return BackEndAnswer(*patiently(lambda: self._connected().call(call.opcode, call.request)))
        except ValueError:
            return BackEndAnswer(error=PsaError(PsaStatus.INSUFFICIENT_MEMORY, "the request is too long"))
        except (TeeRefusedError, TeeBusyError) as error:
            return failed(error)
        except TeeError as error:
            self.close()
            return failed(error)

    def close(self) -> None:
        """Disconnect; the next call connects again."""
        if self._session is not None:
            self._session.close()
        if self._transport is not None:
            self._transport.close()
        self._session = self._transport = None

    def _connected(self) -> Session:
        if self._process_id != os.getpid():
            # Forked: the connection is the parent's, and so are the buffers behind it.
            self._session = self._transport = None
            self._process_id = os.getpid()
        if self._session is None:
            if self._transport is None:
                self._transport = self._open_transport()
            self._session = self._transport.open_session(self._service, buffer_bytes=self._buffer_bytes)
        return self._session


class ChannelLink(Link):
    """Calls to one service. ``buffers`` is how many may be under way at once."""

    def __init__(self, path: Path, service: UUID, *, buffers: int, buffer_bytes: int) -> None:
        self._path = path
        self._service = service
        self._buffer_count = buffers
        self._slow_limit = max(1, buffers // 2)
        self._buffer_bytes = buffer_bytes
        self._transport: EmulatedTransport | None = None
        self._channel: Channel | None = None
        self._interface = 0
        self._free: list[SharedBuffer] = []
        self._busy: dict[int, tuple[BackEndCall, SharedBuffer]] = {}
        self._outgoing: list[tuple[int, Words]] = []  # of those that are busy
        self._slow = 0
        self._waiting: OrderedDict[object, OrderedDict[int, BackEndCall]] = OrderedDict()
        self._slow_waiting: OrderedDict[object, OrderedDict[int, BackEndCall]] = OrderedDict()
        self._is_slows_turn = False
        self._forgotten: set[int] = set()  # of those that are busy
        self._next_try_s = 0.0
        self._failure = TeeError("nobody has tried yet")  # why there is no channel
        self._patient_until_s: float | None = None  # None: it is not missed, or for good

    @property
    def due_s(self) -> float:
        if self._channel is not None or self._patient_until_s is None or not (self._waiting or self._slow_waiting):
            return inf
        return min(self._next_try_s, self._patient_until_s)

    def fileno(self) -> int:
        return -1 if self._channel is None else self._channel.fileno()

    def submit(self, number: int, user: object, call: BackEndCall) -> BackEndAnswer | None:
        if self._channel is None and not (self._waiting or self._slow_waiting):
            failure = self._connect()
            if failure is not None and not self._passes(failure):
                return failed(failure)
        if self._free and not self._waiting and not (call.slow and self._slow >= self._slow_limit):
            return self._send(number, call)
        queues = self._slow_waiting if call.slow else self._waiting
        queues.setdefault(user, OrderedDict())[number] = call
        return None

    def forget(self, number: int) -> None:
        if number in self._busy:
            self._forgotten.add(number)  # its buffer is the partition's until that answers
            return
        for queues in (self._waiting, self._slow_waiting):
            for user, queue in queues.items():
                if queue.pop(number, None) is not None:
                    if not queue:
                        del queues[user]
                    return

    def collect(self) -> list[tuple[int, BackEndAnswer]]:
        channel = self._channel
        answers: list[tuple[int, BackEndAnswer]] = []
        try:
            # One datagram for each poll would do; a second look costs less than another turn of the loop.
            while channel is not None and (arrived := channel.collect()) is not None:
                number, words = arrived
                taken = self._busy.pop(number, None)
                if taken is None:
                    raise TeeError("the partition has answered what nobody has asked")
                call, buffer = taken
                self._slow -= call.slow
                self._free.append(buffer)
                if number in self._forgotten:
                    self._forgotten.discard(number)
                elif isinstance(words, TeeError):
                    answers.append((number, failed(words)))
                else:
                    answers.append((number, _answer_of(words, buffer)))
                if not self._busy:
                    break
        except TeeError as error:
            return answers + self._lose(error)
        return answers + self._dispatch()

    def _send(self, number: int, call: BackEndCall) -> BackEndAnswer | None:
        request = call.request
        buffer = self._free.pop()
        size_bytes = len(request)
        if size_bytes > buffer.size_bytes:
            self._free.append(buffer)
            return BackEndAnswer(error=PsaError(PsaStatus.INSUFFICIENT_MEMORY, "the request is longer than the buffer"))
        buffer.map[:size_bytes] = request
        self._outgoing.append((number, call_request(Call(self._interface, call.opcode, buffer.handle, size_bytes))))
        self._busy[number] = call, buffer
        self._slow += call.slow
        return None

    def flush(self) -> list[tuple[int, BackEndAnswer]]:
        failures = self._try_again() if self.due_s <= monotonic() else []
        channel = self._channel
        if channel is None or not self._outgoing:
            return failures
        outgoing, self._outgoing = self._outgoing, []
        for number, words in outgoing:
            try:
                channel.post(number, words)
            except TeeError as error:
                call, buffer = self._busy.pop(number)
                self._slow -= call.slow
                self._free.append(buffer)
                if number in self._forgotten:
                    self._forgotten.discard(number)
                else:
                    failures.append((number, failed(error)))
        return failures

    def _dispatch(self) -> list[tuple[int, BackEndAnswer]]:
        """Send what waits, as far as there are buffers."""
        failures = []
        while self._free:
            slow_may = bool(self._slow_waiting) and self._slow < self._slow_limit
            if slow_may and (self._is_slows_turn or not self._waiting):
                queues = self._slow_waiting
            elif self._waiting:
                queues = self._waiting
            else:
                break
            self._is_slows_turn = queues is self._waiting
            user, queue = queues.popitem(last=False)
            number, call = queue.popitem(last=False)
            if queue:
                queues[user] = queue  # behind the others: their turn comes first
            failure = self._send(number, call)
            if failure is not None:
                failures.append((number, failure))
        return failures

    def _try_again(self) -> list[tuple[int, BackEndAnswer]]:
        """Connect for those that wait."""
        failure = self._connect()
        if failure is None:
            return self._dispatch()
        if self._passes(failure):
            return []
        failures = []
        for queues in (self._waiting, self._slow_waiting):
            failures += [(number, failed(failure)) for queue in queues.values() for number in queue]
            queues.clear()
        return failures

    def _passes(self, failure: TeeError) -> bool:
        """Whether to wait for the end of this: a partition starts, or it was there a moment ago."""
        now = monotonic()
        if isinstance(failure, NotReadyError):
            if self._patient_until_s is None:
                self._patient_until_s = now + _PATIENCE_S
            return now < self._patient_until_s
        if isinstance(failure, WorldGoneError) and self._patient_until_s is not None and now < self._patient_until_s:
            return True
        self._patient_until_s = None
        return False

    def _connect(self) -> TeeError | None:
        began_s = monotonic()
        if began_s < self._next_try_s:
            return self._failure
        self._next_try_s = began_s + _RECONNECT_S
        transport: EmulatedTransport | None = None
        channel: Channel | None = None
        try:
            transport = EmulatedTransport(self._path, start_timeout_s=0.0)
            channel, self._interface = transport.find(self._service, timeout_s=_SETUP_S)
            self._free = [channel.share(self._buffer_bytes, timeout_s=_SETUP_S) for _ in range(self._buffer_count)]
        except TeeError as error:
            if channel is not None:
                channel.close()
            if transport is not None:
                transport.close()
            now = monotonic()
            self._next_try_s = max(self._next_try_s, now + _RECONNECT_SHARE * (now - began_s))
            self._failure = error
            return error
        self._transport, self._channel = transport, channel
        self._patient_until_s = None
        self.connections += 1
        return None

    def _lose(self, error: TeeError) -> list[tuple[int, BackEndAnswer]]:
        """The partition has ended: nobody knows what it did of the calls that it had; the others never reached it."""
        assert self._channel is not None
        assert self._transport is not None
        self._channel.close()
        self._transport.close()
        self._channel = self._transport = None
        self._failure = WorldGoneError("the partition has ended")
        self._patient_until_s = monotonic() + _PATIENCE_S
        failures = [(number, failed(error)) for number in self._busy]
        for _call, buffer in self._busy.values():
            buffer.close()
        for buffer in self._free:
            buffer.close()
        self._busy.clear()
        self._outgoing.clear()
        self._free.clear()
        self._slow = 0
        kept = [(number, answer) for number, answer in failures if number not in self._forgotten]
        self._forgotten.clear()
        return kept


def _answer_of(words: tuple[int, int, int, int, int], buffer: SharedBuffer) -> BackEndAnswer:
    try:
        return BackEndAnswer(*service_result(words, buffer))
    except TeeError as error:
        return failed(error)
