"""A worker: accepts, reads, answers. One thread, one epoll loop that never waits for a byte, a lock or a back end.

A request whose answer needs nothing but this process is answered in the turn in which it arrived, usually without the
connection ever being registered anywhere. Everything else parks the connection and goes on with the others.
"""

from __future__ import annotations

import logging
import os
import select
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from socket import socket, socketpair
from struct import Struct
from time import monotonic
from typing import Final, Protocol

from edgeroot.auth import PeerCredentials
from edgeroot.daemon.backstage import Backstage, Waited
from edgeroot.daemon.connection import Connection, Listening, Peer, State
from edgeroot.daemon.control import ControlLine, Message, Order, SupervisorGoneError
from edgeroot.daemon.elsewhere import IdentityLinks, WriterLink
from edgeroot.daemon.exchange import accept, answer, look, stop_receiving
from edgeroot.daemon.metrics import WorkerCounters
from edgeroot.daemon.share import ACCEPTS_AT_ONCE, Share
from edgeroot.daemon.shared import WorkerLoads
from edgeroot.daemon.timers import Timers
from edgeroot.daemon.users import User
from edgeroot.providers.api import BackEndAnswer, BackEndCall
from edgeroot.service.effects import EffectOutcome, ResponseSteps, StoreWrite
from edgeroot.service.jobs import Job, JobOutcome
from edgeroot.service.pipeline import ConstantResponse, Pipeline
from edgeroot.service.questions import TokenQuestion
from edgeroot.wire.framing import Request, bytes_needed, encode_early_error, next_request
from edgeroot.wire.header import FLAG_KEEP
from edgeroot.wire.status import ResponseStatus, WireError

_log: Final = logging.getLogger(__name__)
_CREDENTIALS: Final = Struct("3i")
_READ_BYTES: Final = 65536  # below what makes malloc ask the kernel for pages each time
_READING: Final = State.READING
_READY: Final = State.READY
_WAITING: Final = State.WAITING
_SENDING: Final = State.SENDING
_CLOSED: Final = State.CLOSED
_REQUESTS_PER_TURN: Final = 32
_LAST_BATCHES: Final = 128  # together what the longest queue of a listener holds
_KNOWN_PEERS: Final = 4096
# What is remembered of a peer, so that all of them together take a few megabytes whatever they send.
_KNOWN_ANSWERS: Final = 4
_KNOWN_REQUEST_BYTES: Final = 128
_KNOWN_ANSWER_BYTES: Final = 1024  # also little enough for a stream socket with room to take it whole or not at all
_EVENTS_PER_TURN: Final = 64
_FOR_EVER: Final = float("inf")
_BALANCE_S: Final = 0.001
_WRITE_S: Final = 0.002
_UNWRITTEN_RETRY_S: Final = 0.05
_RESOURCE_RETRY_S: Final = 0.1


class Notes(Protocol):
    """What was noted of answered requests and is to be written out."""

    @property
    def pending(self) -> bool: ...

    def flush(self) -> None: ...


class Chore(Protocol):
    """What a worker does now and then for nobody's request."""

    @property
    def pause_s(self) -> float:
        """How long to wait before the next round."""

    def round(self) -> ResponseSteps: ...


class Worker:
    """The loop."""

    def __init__(
        self,
        index: int,
        *,
        control: ControlLine,
        listeners: Sequence[Listening],
        pipeline: Pipeline,
        writers: Sequence[WriterLink],
        hosts: Iterable[int],
        loads: WorkerLoads,
        body_len_limit_bytes: int,
        execution_timeout_s: float,
        notes: Notes,
        counters: WorkerCounters | None = None,
        chore: Chore | None = None,
    ) -> None:
        self._control = control
        self._listeners = {listening.fd: listening for listening in listeners}
        self._pipeline = pipeline
        self._body_len_limit_bytes = body_len_limit_bytes
        self._execution_timeout_s = execution_timeout_s
        self._notes = notes
        self._counters = counters
        self._poll = select.epoll()
        self._share = Share(index, loads, self._poll, self._listeners)
        self._backstage = Backstage(self._poll, writers, hosts, self._resume)
        self._connections: dict[int, Connection] = {}
        self._open = 0
        self._counted = 0
        self._ready: OrderedDict[User, deque[Connection]] = OrderedDict()
        self._waiting: dict[int, tuple[Connection, float, Waited]] = {}
        self._timers = Timers()
        self._number = 0
        self._now = monotonic()
        self._balance_at = 0.0
        self._write_at = 0.0
        self._draining = False
        self._chore = chore
        self._chore_at = _FOR_EVER if chore is None else self._now + chore.pause_s
        self._errand: tuple[Connection, socket] | None = None

    def run(self) -> None:
        """Serve until the supervisor says DRAIN and every accepted request is answered, or until it is gone."""
        self._poll.register(self._control.fileno(), select.EPOLLIN)
        self._control.send(Message(Order.READY))
        try:
            while not (self._draining and not self._open):
                self._turn()
        except SupervisorGoneError:
            pass
        self._notes.flush()

    def _turn(self) -> None:
        events = self._events()
        self._now = monotonic()
        for fd, _event in events:
            connection = self._connections.get(fd)
            if connection is not None:
                self._on_event(connection)
            elif fd in self._listeners:
                self._accept(self._listeners[fd], self._share.at_once())
            elif fd == self._control.fileno():
                self._obey()
            else:
                self._backstage.hear(fd)
        if self._now >= self._chore_at:
            self._begin_round()
        if self._ready:
            self._serve_ready()
        if self._waiting or self._timers.next_s() <= self._now:
            self._expire()
        self._backstage.flush(self._now)
        if self._now >= self._balance_at:
            self._balance_at = self._now + _BALANCE_S
            if not self._draining:
                self._share.balance(self._now, len(self._connections))

    # Turns and time

    def _events(self) -> list[tuple[int, int]]:
        self._share.show(polled=len(self._connections), counted=self._counted)
        if self._notes.pending:
            # Under load, lines of several turns are written at once; none waits longer than this, or while nothing
            # else is to be done.
            if self._now < self._write_at:
                events = self._poll.poll(0, _EVENTS_PER_TURN)
                if events or self._ready:
                    return events
            self._notes.flush()
            self._write_at = self._now + _WRITE_S
        if self._ready:
            return self._poll.poll(0, _EVENTS_PER_TURN)
        timeout_s = self._timeout_s(_UNWRITTEN_RETRY_S if self._notes.pending else _FOR_EVER)
        self._share.show_idle(True)
        events = self._poll.poll(timeout_s, _EVENTS_PER_TURN)
        self._share.show_idle(False)
        return events

    def _timeout_s(self, longest_s: float) -> float:
        if self._ready:
            return 0
        next_s = min(self._timers.next_s(), self._backstage.due_s, self._chore_at, self._now + longest_s)
        if self._waiting:
            next_s = min(next_s, next(iter(self._waiting.values()))[1])
        if not self._draining:
            next_s = min(next_s, max(self._share.next_s(), self._balance_at))
        if next_s == _FOR_EVER:
            return -1
        return max(0.0, next_s - self._now)

    def _expire(self) -> None:
        for connection in self._timers.overdue(self._now):
            if connection.state is _SENDING:
                self._close(connection)
            elif connection.requests and connection.input is None:
                self._end(connection)
            else:
                self._refuse(connection, ResponseStatus.CONNECTION_ERROR)
        while self._waiting:
            number, (connection, deadline_s, waited) = next(iter(self._waiting.items()))
            if deadline_s > self._now:
                break
            self._backstage.forget(waited, number)
            if isinstance(waited, WriterLink):
                status = ResponseStatus.KEY_INFO_MANAGER_ERROR
            else:
                if not isinstance(waited, IdentityLinks):
                    connection.user.add_waiting(-1)
                status = ResponseStatus.CONNECTION_ERROR
            del self._waiting[number]
            steps = connection.steps
            assert steps is not None
            # The pipeline is told, so that it undoes what is half done, and this end is audited like any other.
            self._advance(connection, steps, WireError(status, "it took longer than execution_timeout"))

    # Accepting and reading

    def _accept(self, listening: Listening, limit: int) -> bool:
        """Accept up to ``limit`` connections. Whether there may be more."""
        bounded = not self._share.is_far_below(listening.users.max_connections)
        deadline_s = self._now + listening.timeout_s
        try:
            arrivals = accept(listening.fd, limit)
        except OSError as error:
            _log.warning("cannot accept a connection: %s", error)
            self._share.put_off(self._now + _RESOURCE_RETRY_S)
            self._balance_at = self._now  # so that listening stops in this turn
            return False
        for fd, credentials, data in arrivals:
            peer = listening.peers.get(credentials) or self._meet(listening, credentials)
            if bounded and not peer.user.may_connect:
                os.close(fd)
                if self._counters is not None:
                    self._counters.refused()
                continue
            known = peer.answers.get(data)
            if known is not None and not known[1] and _is_done_with(fd, known[0], data):
                continue
            self._open += 1
            self._see(Connection(fd, listening, peer, deadline_s), data)
        if self._counters is not None:
            self._counters.accepted(len(arrivals))
        return len(arrivals) == limit

    def _meet(self, listening: Listening, credentials: bytes) -> Peer:
        met = PeerCredentials(*_CREDENTIALS.unpack(credentials))
        if len(listening.peers) >= _KNOWN_PEERS:
            listening.peers.clear()
        peer = listening.peers[credentials] = Peer(met, listening.users.get(met.uid))
        return peer

    def _on_event(self, connection: Connection) -> None:
        if connection.state is _READING:
            if connection.input is None:
                self._look(connection)
            else:
                self._read(connection)
        elif connection.state is _SENDING:
            self._send_rest(connection)
        elif connection.state is _WAITING:
            # More bytes, or the end of the line, while others work on a request: nothing to do until it is answered.
            self._stop_polling(connection)

    def _look(self, connection: Connection) -> None:
        """Read what may be a whole request, and leave it in the socket until it is answered.

        To take it out would wake the client, which waits for the answer, for nothing: two switches of context for each
        request, measured as a fifth of all that there was to gain.
        """
        try:
            data = look(connection.fd)
        except OSError:
            self._close(connection)
            return
        self._see(connection, data)

    def _see(self, connection: Connection, data: bytes | None) -> None:
        """Go on with what has come, which is still in the socket."""
        if data is None:
            self._park(connection, connection.deadline_s)
            return
        known = connection.peer.answers.get(data)
        if known is not None:
            response, connection.keep = known
            connection.requests += 1
            connection.unread_bytes = len(data)
            self._answer(connection, response)
            return
        if data:
            try:
                request = next_request(data, body_len_limit=self._body_len_limit_bytes)
            except WireError:
                request = None  # to be found again, and answered, when the bytes are taken out
            if request is not None and request.size_bytes == len(data):
                connection.unread_bytes = len(data)
                self._make_ready(connection, request)
                return
        self._read(connection)

    def _read(self, connection: Connection) -> None:
        try:
            data = os.read(connection.fd, _READ_BYTES)
        except BlockingIOError:
            self._park(connection, connection.deadline_s)
            return
        except OSError:
            self._close(connection)
            return
        if not data:
            if connection.requests and connection.input is None:
                self._close(connection)  # the end of a kept connection between two requests
            else:
                self._refuse(connection, ResponseStatus.CONNECTION_ERROR)
            return
        received = connection.input
        if received is None:
            self._parse(connection, data)
            return
        received += data
        if len(received) >= connection.needed_bytes:
            self._parse(connection, received)

    def _take(self, connection: Connection) -> None:
        """Take the request that was only looked at out of the socket."""
        with suppress(OSError):  # the connection is broken, which sending or closing it will find out
            os.read(connection.fd, connection.unread_bytes)
        connection.unread_bytes = 0

    def _parse(self, connection: Connection, received: bytes | bytearray) -> None:
        try:
            request = next_request(received, body_len_limit=self._body_len_limit_bytes)
            if request is None:
                connection.needed_bytes = bytes_needed(received)
        except WireError as error:
            self._refuse(connection, error.status)
            return
        if request is None:
            if connection.input is None:
                connection.input = bytearray(received)
                # The time for a whole request runs from the accept, or from the first byte on a kept connection.
                if connection.requests:
                    connection.deadline_s = self._now + connection.listening.timeout_s
            self._park(connection, connection.deadline_s)
            return
        connection.needed_bytes = 0
        rest = received[request.size_bytes :] if len(received) > request.size_bytes else None
        connection.input = bytearray(rest) if rest else None
        self._make_ready(connection, request)

    def _make_ready(self, connection: Connection, request: Request) -> None:
        connection.request = request
        connection.keep = bool(request.flags & FLAG_KEEP)
        self._queue(connection)

    def _queue(self, connection: Connection) -> None:
        connection.state = _READY
        queue = self._ready.get(connection.user)
        if queue is None:
            self._ready[connection.user] = deque((connection,))
        else:
            queue.append(connection)

    # Serving

    def _serve_ready(self) -> None:
        """One request of each user in turn; after some of them, look who else has come."""
        ready = self._ready
        handle = self._pipeline.handle
        for _ in range(_REQUESTS_PER_TURN):
            if not ready:
                return
            user, queue = ready.popitem(last=False)
            connection = queue.popleft()
            if queue:
                ready[user] = queue
            if connection.steps is not None:
                self._advance(connection, connection.steps, connection.outcome)
                continue
            request = connection.request
            assert request is not None
            connection.requests += 1
            response = handle(request, connection.peer.credentials, connection.listening.door)
            if isinstance(response, bytes):
                if isinstance(response, ConstantResponse):
                    self._remember(connection, response)
                self._answer(connection, response)
            else:
                if connection.polled and connection.unread_bytes:
                    self._take(connection)  # the poll would report it again and again
                self._advance(connection, response, None)

    def _remember(self, connection: Connection, response: ConstantResponse) -> None:
        """The same bytes from this peer need no second look; where requests are counted, they get one."""
        answers = connection.peer.answers
        if (
            self._counters is None
            and len(answers) < _KNOWN_ANSWERS
            and 0 < connection.unread_bytes <= _KNOWN_REQUEST_BYTES
            and len(response) <= _KNOWN_ANSWER_BYTES
        ):
            with suppress(OSError):
                request = look(connection.fd)
                if request is not None and len(request) == connection.unread_bytes:
                    answers[request] = bytes(response), connection.keep

    def _advance(self, connection: Connection, steps: ResponseSteps, outcome: EffectOutcome | WireError) -> None:
        try:
            effect = steps.throw(outcome) if isinstance(outcome, WireError) else steps.send(outcome)
        except StopIteration as end:
            connection.steps = None
            self._answer(connection, end.value)
            return
        connection.steps = steps
        connection.outcome = None
        if isinstance(effect, StoreWrite):
            number = self._wait(connection, self._backstage.writers[effect.store])
            self._backstage.send_write(effect.store, number, effect.write)
            if self._counters is not None:
                self._counters.store_write()
        elif isinstance(effect, BackEndCall):
            # The bound is on requests that begin to wait; one that is under way may make all its calls.
            if outcome is None and not connection.user.may_wait:
                self._turn_away(connection, steps)
                return
            connection.user.add_waiting(1)
            number = self._wait(connection, effect.link)
            self._backstage.send_call(number, connection.user, effect)
        elif isinstance(effect, Job):
            if not connection.user.may_wait:
                self._turn_away(connection, steps)
                return
            connection.user.add_waiting(1)
            number = self._wait(connection, self._backstage.doer_of(effect))
            job = effect.due(self._waiting[number][1])
            self._backstage.send_job(number, connection.user, job, partial(_is_there, connection))
            if self._counters is not None:
                self._counters.job()
        elif isinstance(effect, TokenQuestion):
            if not self._backstage.identity.may_send(connection.user, effect):
                self._turn_away(connection, steps)
                return
            number = self._wait(connection, self._backstage.identity)
            question = effect.due(self._waiting[number][1])
            self._backstage.send_question(number, connection.user, question, partial(_is_there, connection))
            if self._counters is not None:
                self._counters.token_question()
        else:
            self._queue(connection)

    def _turn_away(self, connection: Connection, steps: ResponseSteps) -> None:
        steps.close()
        self._close(connection)

    def _wait(self, connection: Connection, waited: Waited) -> int:
        self._number += 1
        self._waiting[self._number] = (connection, self._now + self._execution_timeout_s, waited)
        connection.state = _WAITING
        self._count(connection)
        return self._number

    def _resume(self, number: int, outcome: EffectOutcome) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return
        connection = waiting[0]
        if isinstance(outcome, (JobOutcome, BackEndAnswer)):
            connection.user.add_waiting(-1)
        connection.outcome = outcome
        self._queue(connection)

    # Answering

    def _answer(self, connection: Connection, response: bytes) -> None:
        keep = connection.keep
        if keep and (
            self._draining or connection.requests >= connection.listening.max_requests or self._share.sheds_one()
        ):
            keep = connection.keep = False
            stop_receiving(connection.fd)
        try:
            sent = answer(connection.fd, response, connection.unread_bytes, not keep)
        except OSError:
            self._close(connection)
            return
        connection.unread_bytes = 0
        if sent < len(response):
            connection.state = _SENDING
            connection.output = memoryview(response)[sent:]
            self._park(connection, self._now + connection.listening.timeout_s)
        elif keep:
            self._next(connection)
        else:
            self._forget(connection)

    def _send_rest(self, connection: Connection) -> None:
        output = connection.output
        assert output is not None
        try:
            sent = os.write(connection.fd, output)
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
            return
        if sent < len(output):
            connection.output = output[sent:]
            return
        connection.output = None
        if not connection.keep or self._draining:
            self._close(connection)
        else:
            self._poll.modify(connection.fd, select.EPOLLIN)
            self._next(connection)

    def _next(self, connection: Connection) -> None:
        """Wait for the next request on a kept connection, which may be here already."""
        connection.state = _READING
        connection.request = None
        received = connection.input
        if received is not None:
            connection.input = None
            connection.deadline_s = self._now + connection.listening.timeout_s
            self._parse(connection, received)
        elif connection.polled:
            self._timers.set(connection, self._now + connection.listening.idle_timeout_s)
        else:
            self._park(connection, self._now + connection.listening.idle_timeout_s)

    def _end(self, connection: Connection) -> None:
        """Close a kept connection between two requests, and answer the one that has come just now."""
        if stop_receiving(connection.fd):
            self._look(connection)
        else:
            self._close(connection)

    def _refuse(self, connection: Connection, status: ResponseStatus) -> None:
        """Answer what is no request, and close; such an answer echoes nothing."""
        connection.request = connection.input = None
        connection.keep = False
        if self._counters is not None:
            self._counters.answered_outside(None, status)
        self._answer(connection, encode_early_error(status))

    # Connections and the poll

    def _park(self, connection: Connection, deadline_s: float) -> None:
        if connection.state is _SENDING:
            events = select.EPOLLOUT
        else:
            events = select.EPOLLIN
        if not connection.polled:
            self._poll.register(connection.fd, events)
            connection.polled = True
            self._connections[connection.fd] = connection
            self._count(connection)
        elif connection.state is _SENDING:
            self._poll.modify(connection.fd, events)
        self._timers.set(connection, deadline_s)

    def _count(self, connection: Connection) -> None:
        if not connection.counted:
            connection.counted = True
            connection.user.add_connections(1)
            self._counted += 1

    def _stop_polling(self, connection: Connection) -> None:
        self._poll.unregister(connection.fd)
        del self._connections[connection.fd]
        connection.polled = False

    def _close(self, connection: Connection) -> None:
        os.close(connection.fd)
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        """The descriptor is closed, which has taken it out of the poll."""
        if connection.polled:
            del self._connections[connection.fd]
            connection.polled = False
        if connection.counted:
            connection.counted = False
            connection.user.add_connections(-1)
            self._counted -= 1
        connection.state = _CLOSED
        connection.input = connection.output = connection.request = connection.steps = None
        self._open -= 1

    # Chores

    def _begin_round(self) -> None:
        """The chore's round is a request like others: it takes turns with them, waits as they do, and has an end.

        Its client is this process, at the other end of a socket that nobody else sees.
        """
        assert self._chore is not None
        self._chore_at = self._now + self._chore.pause_s
        if self._errand is not None:
            if self._errand[0].state is not _CLOSED:
                return  # the last one is still under way
            self._errand[1].close()
            self._errand = None
        try:
            ours, theirs = socketpair()
        except OSError:
            return  # no descriptor is left: next time
        listening = next(iter(self._listeners.values()))
        credentials = PeerCredentials(os.getpid(), os.geteuid(), os.getegid())
        peer = Peer(credentials, listening.users.get(credentials.uid))
        connection = Connection(ours.detach(), listening, peer, self._now)
        self._errand = connection, theirs
        self._open += 1
        self._advance(connection, self._chore.round(), None)

    # The supervisor

    def _obey(self) -> None:
        for message in self._control.receive():
            if message.order is Order.DRAIN:
                self._drain()
            else:
                self._backstage.connect(message)

    def _drain(self) -> None:
        self._share.end()
        self._chore_at = _FOR_EVER
        for listening in self._listeners.values():
            # Whoever has connected already, should nobody come after us who serves them.
            for _ in range(_LAST_BATCHES):
                if not self._accept(listening, ACCEPTS_AT_ONCE):
                    break
                self._serve_ready()  # so that the next ones meet bounds that know of these
        self._draining = True
        for connection in list(self._connections.values()):
            if connection.state is _READING and connection.requests and connection.input is None:
                self._end(connection)


def _is_done_with(fd: int, response: bytes, request: bytes | None) -> bool:
    """Answer a new connection and close it. False if the response does not fit just now; then none of it was sent."""
    assert request is not None
    try:
        return answer(fd, response, len(request), True) > 0
    except OSError:
        os.close(fd)
        return True


def _is_there(connection: Connection) -> bool:
    """Whether the client still has its end open; one that only reads from now on is there."""
    poll = select.poll()
    poll.register(connection.fd, 0)
    return not poll.poll(0)
