"""A worker: accepts, reads, answers. One thread, one epoll loop that never waits for a byte, a lock or a back end.

A request whose answer needs nothing but this process is answered in the turn in which it arrived, usually without the
connection ever being registered anywhere. Everything else parks the connection and goes on with the others.
"""

from __future__ import annotations

import _socket  # the C type: `socket.socket` adds Python calls to every accept and close
import logging
import select
import socket
from collections import OrderedDict, deque
from collections.abc import Sequence
from functools import partial
from struct import Struct
from time import monotonic
from typing import Final, Protocol

from edgeroot.auth import PeerCredentials
from edgeroot.daemon.backstage import Backstage
from edgeroot.daemon.connection import Connection, Listening, State
from edgeroot.daemon.control import ControlLine, Message, Order, SupervisorGoneError
from edgeroot.daemon.elsewhere import WriterLink
from edgeroot.daemon.metrics import WorkerCounters
from edgeroot.daemon.shared import WorkerLoads
from edgeroot.daemon.timers import Timers
from edgeroot.daemon.users import User
from edgeroot.service.effects import EffectOutcome, ResponseSteps, StoreWrite
from edgeroot.service.jobs import Job, JobOutcome
from edgeroot.service.pipeline import Pipeline
from edgeroot.wire.framing import bytes_needed, encode_early_error, next_request
from edgeroot.wire.header import FLAG_KEEP
from edgeroot.wire.status import ResponseStatus, WireError

_log: Final = logging.getLogger(__name__)
_CREDENTIALS: Final = Struct("3i")
# Plain numbers: the socket module's are enumerations, whose `|` costs as much as a system call.
_FAMILY: Final = int(socket.AF_UNIX)
_TYPE: Final = int(socket.SOCK_STREAM)
_LEVEL: Final = int(socket.SOL_SOCKET)
_PEERCRED: Final = int(socket.SO_PEERCRED)
_LOOK: Final = int(socket.MSG_DONTWAIT | socket.MSG_PEEK)
_TAKE: Final = int(socket.MSG_DONTWAIT)
_SEND: Final = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_RECEIVING: Final = int(socket.SHUT_RD)
_LOOK_BYTES: Final = 8192
_READ_BYTES: Final = 65536  # below what makes malloc ask the kernel for pages each time
_READING: Final = State.READING
_READY: Final = State.READY
_WAITING: Final = State.WAITING
_SENDING: Final = State.SENDING
_CLOSED: Final = State.CLOSED
_REQUESTS_PER_TURN: Final = 32
_ACCEPTS_PER_TURN: Final = 32
_SLACK: Final = 1  # connections that a worker may have above the mean before it leaves them to the others
_KNOWN_PEERS: Final = 4096
_EVENTS_PER_TURN: Final = 64
_BALANCE_S: Final = 0.001
_WRITE_S: Final = 0.002
_SHED_S: Final = 0.01
_UNWRITTEN_RETRY_S: Final = 0.05
_BUSY_RETRY_S: Final = 0.005
_RESOURCE_RETRY_S: Final = 0.1


class Notes(Protocol):
    """What was noted of answered requests and is to be written out."""

    @property
    def pending(self) -> bool: ...

    def flush(self) -> None: ...


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
        loads: WorkerLoads,
        body_len_limit_bytes: int,
        execution_timeout_s: float,
        notes: Notes,
        counters: WorkerCounters | None = None,
    ) -> None:
        self._index = index
        self._control = control
        self._listeners = {listening.socket.fileno(): listening for listening in listeners}
        self._pipeline = pipeline
        self._loads = loads
        self._body_len_limit_bytes = body_len_limit_bytes
        self._execution_timeout_s = execution_timeout_s
        self._notes = notes
        self._counters = counters
        self._poll = select.epoll()
        self._backstage = Backstage(self._poll, writers, self._resume)
        self._connections: dict[int, Connection] = {}
        self._open = 0
        self._counted = 0
        self._shown = (0, 0)
        self._shed = False
        self._shed_at = 0.0
        self._ready: OrderedDict[User, deque[Connection]] = OrderedDict()
        self._waiting: dict[int, tuple[Connection, float, WriterLink | None]] = {}
        self._timers = Timers()
        self._number = 0
        self._now = monotonic()
        self._accepting = False
        self._accept_at = 0.0
        self._balance_at = 0.0
        self._write_at = 0.0
        self._draining = False

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
        for fd, event in events:
            connection = self._connections.get(fd)
            if connection is not None:
                self._on_event(connection, event)
            elif fd in self._listeners:
                self._accept(self._listeners[fd])
            elif fd == self._control.fileno():
                self._obey()
            else:
                self._backstage.hear(fd)
        self._serve_ready()
        if self._waiting or self._timers.next_s() <= self._now:
            self._expire()
        self._backstage.flush()
        if self._now >= self._balance_at:
            self._balance_at = self._now + _BALANCE_S
            self._balance()

    # Turns and time

    def _events(self) -> list[tuple[int, int]]:
        shown = len(self._connections), self._counted
        if shown != self._shown:  # a worker that sleeps must not mislead the others
            self._shown = shown
            self._loads.set(self._index, polled=shown[0], counted=shown[1])
        if self._ready:
            return self._poll.poll(0, _EVENTS_PER_TURN)
        if self._notes.pending:
            # Under load, lines of several turns are written at once; none waits longer than this, or while nothing
            # else is to be done.
            if self._now < self._write_at:
                events = self._poll.poll(0, _EVENTS_PER_TURN)
                if events:
                    return events
            self._notes.flush()
            self._write_at = self._now + _WRITE_S
            if self._notes.pending:  # they are not taken just now
                return self._poll.poll(self._timeout_s(_UNWRITTEN_RETRY_S), _EVENTS_PER_TURN)
        return self._poll.poll(self._timeout_s(), _EVENTS_PER_TURN)

    def _timeout_s(self, longest_s: float = float("inf")) -> float:
        if self._ready:
            return 0
        next_s = min(self._timers.next_s(), self._now + longest_s)
        if self._waiting:
            next_s = min(next_s, next(iter(self._waiting.values()))[1])
        if not self._accepting and not self._draining:
            next_s = min(next_s, max(self._accept_at, self._balance_at))
        if next_s == float("inf"):
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
            number, (connection, deadline_s, writer) = next(iter(self._waiting.items()))
            if deadline_s > self._now:
                break
            if writer is not None:
                writer.forget(number)
                status = ResponseStatus.KEY_INFO_MANAGER_ERROR
            else:
                self._backstage.helpers.forget(number)
                connection.user.add_waiting(-1)
                status = ResponseStatus.CONNECTION_ERROR
            del self._waiting[number]
            steps = connection.steps
            assert steps is not None
            # The pipeline is told, so that it undoes what is half done, and this end is audited like any other.
            self._advance(connection, steps, WireError(status, "it took longer than execution_timeout"))

    def _balance(self) -> None:
        above_mean = len(self._connections) > self._loads.mean_polled() + _SLACK
        if above_mean and self._now >= self._shed_at:
            # One kept connection at a time is closed after its answer: its client comes again, and another worker
            # takes it. More at once would swing back and forth.
            self._shed = True
            self._shed_at = self._now + _SHED_S
        if self._draining:
            return
        accept = not above_mean and self._now >= self._accept_at
        if accept != self._accepting:
            self._accepting = accept
            if not accept:
                self._accept_at = max(self._accept_at, self._now + _BUSY_RETRY_S)
            for fd in self._listeners:
                if accept:
                    self._poll.register(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE)
                else:
                    self._poll.unregister(fd)
        elif not accept and self._now >= self._accept_at:  # not sooner: a busy worker would put it off for ever
            self._accept_at = self._now + _BUSY_RETRY_S

    # Accepting and reading

    def _accept(self, listening: Listening) -> None:
        accept = listening.socket._accept  # type: ignore[attr-defined] # what `accept` wraps; the wrapper costs as much as a system call
        # Nobody can be above a bound that all connections together are below, with those that are being accepted.
        accepted = _ACCEPTS_PER_TURN * self._loads.workers
        bounded = self._loads.total_counted() + accepted >= listening.users.max_connections
        deadline_s = self._now + listening.timeout_s
        accepted = 0
        while accepted < _ACCEPTS_PER_TURN:
            try:
                fd, _address = accept()
            except BlockingIOError:
                break
            except OSError as error:
                _log.warning("cannot accept a connection: %s", error)
                self._accept_at = self._now + _RESOURCE_RETRY_S
                self._balance_at = self._now  # so that listening stops in this turn
                break
            accepted += 1
            sock = _socket.socket(_FAMILY, _TYPE, 0, fd)
            peer, user = self._who(listening, sock)
            if bounded and not user.may_connect:
                sock.close()
                if self._counters is not None:
                    self._counters.refused()
                continue
            self._open += 1
            connection = Connection(sock, fd, listening, user, peer)
            connection.deadline_s = deadline_s
            self._look(connection)
        if self._counters is not None:
            self._counters.accepted(accepted)

    def _who(self, listening: Listening, sock: _socket.socket) -> tuple[PeerCredentials, User]:
        credentials = sock.getsockopt(_LEVEL, _PEERCRED, _CREDENTIALS.size)
        known = listening.peers.get(credentials)
        if known is None:
            peer = PeerCredentials(*_CREDENTIALS.unpack(credentials))
            known = peer, listening.users.get(peer.uid)
            if len(listening.peers) >= _KNOWN_PEERS:
                listening.peers.clear()
            listening.peers[credentials] = known
        return known

    def _on_event(self, connection: Connection, _event: int) -> None:
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
            data = connection.socket.recv(_LOOK_BYTES, _LOOK)
            if data:
                request = next_request(data, body_len_limit=self._body_len_limit_bytes)
                if request is not None and request.size_bytes == len(data):
                    connection.request = request
                    connection.unread_bytes = len(data)
                    self._make_ready(connection)
                    return
        except BlockingIOError:
            self._park(connection, connection.deadline_s)
            return
        except OSError:
            self._close(connection)
            return
        except WireError:
            pass  # to be found again, and answered, when the bytes are taken out
        self._read(connection)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(_READ_BYTES, _TAKE)
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
        try:
            connection.socket.recv(connection.unread_bytes, _TAKE)
        except OSError:
            pass  # the connection is broken, which sending or closing it will find out
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
        connection.request = request
        self._make_ready(connection)

    def _make_ready(self, connection: Connection) -> None:
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
            answer = handle(request, connection.peer, connection.listening.door)
            if isinstance(answer, bytes):
                self._answer(connection, answer)
            else:
                if connection.polled and connection.unread_bytes:
                    self._take(connection)  # the poll would report it again and again
                self._advance(connection, answer, None)

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
            writer = self._backstage.writers[effect.store]
            writer.send(self._wait(connection, writer), effect.write)
            if self._counters is not None:
                self._counters.store_write()
        elif isinstance(effect, Job):
            if not connection.user.may_wait:
                self._close(connection)
                return
            connection.user.add_waiting(1)
            number = self._wait(connection, None)
            job = effect.due(self._waiting[number][1])
            self._backstage.helpers.send(number, connection.user, job, partial(_is_there, connection))
            if self._counters is not None:
                self._counters.job()
        else:
            self._make_ready(connection)

    def _wait(self, connection: Connection, writer: WriterLink | None) -> int:
        self._number += 1
        self._waiting[self._number] = (connection, self._now + self._execution_timeout_s, writer)
        connection.state = _WAITING
        self._count(connection)
        return self._number

    def _resume(self, number: int, outcome: EffectOutcome) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return
        connection = waiting[0]
        if isinstance(outcome, JobOutcome):
            connection.user.add_waiting(-1)
        connection.outcome = outcome
        self._make_ready(connection)

    # Answering

    def _answer(self, connection: Connection, response: bytes) -> None:
        request = connection.request
        keep = request is not None and request.flags & FLAG_KEEP
        if keep and (self._shed or self._draining or connection.requests >= connection.listening.max_requests):
            keep = False
            self._shed = False
            _stop_receiving(connection)
        try:
            sent = connection.socket.send(response, _SEND)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        if connection.unread_bytes:
            self._take(connection)
        if not keep:
            connection.request = None
        if sent < len(response):
            connection.state = _SENDING
            connection.output = memoryview(response)[sent:]
            self._park(connection, self._now + connection.listening.timeout_s)
        elif keep:
            self._next(connection)
        else:
            self._close(connection)

    def _send_rest(self, connection: Connection) -> None:
        output = connection.output
        assert output is not None
        try:
            sent = connection.socket.send(output, _SEND)
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
            return
        if sent < len(output):
            connection.output = output[sent:]
            return
        connection.output = None
        if connection.request is None or self._draining:
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
        else:
            self._park(connection, self._now + connection.listening.idle_timeout_s)

    def _end(self, connection: Connection) -> None:
        """Close a kept connection between two requests, and answer the one that has come just now."""
        if _stop_receiving(connection):
            self._look(connection)
        else:
            self._close(connection)

    def _refuse(self, connection: Connection, status: ResponseStatus) -> None:
        """Answer what is no request, and close; such an answer echoes nothing."""
        connection.request = None
        connection.input = None
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
        if connection.polled:
            del self._connections[connection.fd]  # closing takes it out of the poll
            connection.polled = False
        if connection.counted:
            connection.counted = False
            connection.user.add_connections(-1)
            self._counted -= 1
        connection.state = _CLOSED
        connection.input = connection.output = connection.request = connection.steps = None
        connection.socket.close()
        self._open -= 1

    # The supervisor

    def _obey(self) -> None:
        for message in self._control.receive():
            if message.order is Order.DRAIN:
                self._drain()
            else:
                self._backstage.connect(message)

    def _drain(self) -> None:
        if self._accepting:
            for fd in self._listeners:
                self._poll.unregister(fd)
        for listening in self._listeners.values():
            self._accept(listening)  # whoever has connected already, should nobody come after us who serves them
        self._draining = True
        for connection in list(self._connections.values()):
            if connection.state is _READING and connection.requests and connection.input is None:
                self._end(connection)


def _stop_receiving(connection: Connection) -> bool:
    """Have the kernel refuse what the client sends from now on: it then knows that nobody has seen that request.

    False if the connection is broken.
    """
    try:
        connection.socket.shutdown(_RECEIVING)
    except OSError:
        return False
    return True


def _is_there(connection: Connection) -> bool:
    """Whether the client still has its end open; one that only reads from now on is there."""
    poll = select.poll()
    poll.register(connection.fd, 0)
    return not poll.poll(0)
