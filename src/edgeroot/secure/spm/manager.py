"""The partition manager: starts the partitions, brokers channels and memory between those that may talk, restarts.

One loop that never waits for anybody. It sees no message between endpoints and holds no partition's secret once it has
handed it over, except the device secret from which those are derived.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic, time
from typing import Final, Protocol

from edgeroot.abi.emulation import CHANNEL_CLOSED, CHANNEL_CONNECT, FIRMWARE_ACCEPTED, FRAME
from edgeroot.abi.ffa import FfaError, FunctionId
from edgeroot.secure.boot.errors import BootError
from edgeroot.secure.platform.one_time_memory import OneTimeMemoryError
from edgeroot.secure.runtime.frames import close_all, receive_frame
from edgeroot.secure.spm.channels import Channels
from edgeroot.secure.spm.keeper import AnchorKeeper
from edgeroot.secure.spm.launch import Launcher, Process
from edgeroot.secure.spm.log import LineReader, Log
from edgeroot.secure.spm.manifest import Manifest
from edgeroot.secure.spm.monitor import (
    Answer,
    Connection,
    Monitor,
    OpenChannel,
    channel_answer,
    counter_answer,
    refusal,
)
from edgeroot.secure.spm.state import StateError
from edgeroot.secure.spm.users import UserTable, UserTableError

_log: Final = logging.getLogger(__name__)
_CREDENTIALS: Final = struct.Struct("3i")
_CONNECTIONS_PER_USER: Final = 256
_CONNECTIONS_OF_A_STRANGER: Final = 4
_CONNECTIONS_OF_STRANGERS: Final = 64  # of all: a user may have the use of many user ids
_BACKLOG: Final = 128
_START_S: Final = 30.0
_HEALTHY_S: Final = 30.0
_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 5.0
_STOP_S: Final = 3.0


@dataclass(slots=True, eq=False)
class _Client:
    """One connection, with its socket."""

    socket: socket.socket
    connection: Connection
    partition: _Partition | None = None
    user_id: int = -1
    ready: bool = False

    @property
    def is_stranger(self) -> bool:
        """Whether whatever he asks for is denied."""
        return self.connection.endpoint_id is None and not self.connection.is_administrator


@dataclass(slots=True, eq=False)
class _Partition:
    """One partition: its process, if it runs, and the connections of its execution contexts."""

    manifest: Manifest
    process: Process | None = None
    contexts: list[_Client] = field(default_factory=list)
    lines: LineReader = field(default_factory=LineReader)
    started_s: float = 0.0
    start_at_s: float | None = 0.0
    ready_by_s: float | None = None
    delay_s: float = _FIRST_DELAY_S
    restarts: int = 0
    last_end: str | None = None

    @property
    def is_ready(self) -> bool:
        return bool(self.contexts) and all(context.ready for context in self.contexts)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A partition's request for a channel to another one that is still starting."""

    client: _Client
    tag: int
    wanted: OpenChannel
    until_s: float


class Firmware(Protocol):
    """Where verified partitions come from."""

    def accept(self) -> int:
        """What runs is good: the device's security counter, raised. BootError or OneTimeMemoryError if it cannot be."""

    def status(self) -> dict[str, object]:
        """For people and programs that ask for the secure world's status."""


class Manager:
    """Runs a secure world until it is told to stop."""

    def __init__(
        self,
        manifests: Sequence[Manifest],
        *,
        listener: socket.socket,
        launcher: Launcher,
        users: Callable[[], UserTable],
        log: Log,
        measures: Sequence[str],
        when_ready: Callable[[], None],
        owner: socket.socket | None = None,
        keeper: AnchorKeeper | None = None,
        firmware: Firmware | None = None,
        start_s: float = _START_S,
    ) -> None:
        """``owner`` is a connection whose end ends the secure world; ``start_s`` is how long a partition may start.

        ``firmware`` is where the partitions come from, if they were verified.
        """
        self._firmware = firmware
        self._start_s = start_s
        self._listener = listener
        self._launcher = launcher
        self._users = users
        self._log = log
        self._measures = tuple(measures)
        self._when_ready: Callable[[], None] | None = when_ready
        self._began_s = time()
        self._partitions = [_Partition(manifest) for manifest in manifests]
        self._monitor = Monitor(tuple(manifests), self._launcher.contexts_of, self._status)
        self._selector = selectors.DefaultSelector()
        self._clients: set[_Client] = set()
        self._channels: Channels[_Client] = Channels()
        self._waiting: list[_Waiting] = []
        self._signals: set[int] = set()
        self._woken, self._waker = socket.socketpair()
        self._owner = owner
        self._keeper = keeper
        self._spare = _spare_descriptor()

    def run(self) -> int:
        """Serve until a signal says stop; the exit code."""
        self._catch_signals()
        self._listener.listen(_BACKLOG)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        if self._owner is not None:
            self._selector.register(self._owner, selectors.EVENT_READ, lambda: self._signals.add(signal.SIGTERM))
        try:
            while not self._signals.intersection((signal.SIGTERM, signal.SIGINT)):
                self._start_due()
                self._end_overdue()
                self._turn(self._next_due_s())
        finally:
            self._stop()
            if self._keeper is not None:
                self._keeper.finish()  # what was stored to the last
        return 0

    def _turn(self, timeout_s: float | None) -> None:
        for key, _ in self._selector.select(timeout_s):
            key.data()
        self._reap()
        self._serve_waiting()

    def _catch_signals(self) -> None:
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda _number, _frame: None)
        self._selector.register(self._woken, selectors.EVENT_READ, self._wake)

    def _wake(self) -> None:
        self._signals.update(self._woken.recv(4096))

    # Partitions

    def _start_due(self) -> None:
        now = monotonic()
        for partition in self._partitions:
            if partition.start_at_s is not None and partition.start_at_s <= now:
                self._start(partition)

    def _end_overdue(self) -> None:
        """A partition that hangs as it starts is no better than one that dies, and treated like one."""
        now = monotonic()
        for partition in self._partitions:
            if partition.process is not None and partition.ready_by_s is not None and partition.ready_by_s <= now:
                partition.ready_by_s = None
                self._say(f"partition {partition.manifest.name} is not ready after {self._start_s:.1f} s: it is killed")
                partition.process.popen.kill()

    def _next_due_s(self) -> float | None:
        times = [one.start_at_s for one in self._partitions if one.start_at_s is not None]
        times += [one.ready_by_s for one in self._partitions if one.ready_by_s is not None]
        times += [one.until_s for one in self._waiting]
        left_s = [max(0.0, min(times) - monotonic())] if times else []
        if self._keeper is not None:
            left_s.append(self._keeper.tend())
        return min(left_s, default=None)

    def _start(self, partition: _Partition) -> None:
        partition.start_at_s = None
        partition.started_s = monotonic()
        partition.ready_by_s = partition.started_s + self._start_s
        try:
            partition.process = process = self._launcher.launch(partition.manifest)
        except (OSError, StateError) as error:
            if self._when_ready is not None:
                raise  # whoever starts the secure world is told
            partition.ready_by_s = None
            self._start_later(partition, f"cannot be started ({error})")
            return
        for control in process.controls:
            connection = Connection(partition.manifest.id, partition.manifest)
            self._add(_Client(control, connection, partition))
        partition.contexts = [client for client in self._clients if client.partition is partition]
        self._selector.register(process.log, selectors.EVENT_READ, lambda: self._hear(partition, process))

    def _hear(self, partition: _Partition, process: Process) -> None:
        data = os.read(process.log, 65536)
        for line in partition.lines.lines(data):
            self._log.write(partition.manifest.name, line)
        if not data:
            self._selector.unregister(process.log)
            os.close(process.log)

    def _reap(self) -> None:
        if self._signals.intersection((signal.SIGTERM, signal.SIGINT)):
            return  # everybody ends
        for partition in self._partitions:
            process = partition.process
            if process is None or (code := process.popen.poll()) is None:
                continue
            partition.process = None
            partition.ready_by_s = None
            for client in partition.contexts:
                self._drop(client)
            partition.contexts = []
            if monotonic() - partition.started_s > _HEALTHY_S:
                partition.delay_s = _FIRST_DELAY_S
            partition.restarts += 1
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
            self._start_later(partition, how)

    def _start_later(self, partition: _Partition, why: str) -> None:
        # The first time at once: whoever waits for this partition waits no longer than it takes to start.
        delay_s = 0.0 if partition.delay_s == _FIRST_DELAY_S else partition.delay_s
        partition.delay_s = min(partition.delay_s * 2, _LONGEST_DELAY_S)
        partition.start_at_s = monotonic() + delay_s
        partition.last_end = why
        self._say(f"partition {partition.manifest.name} {why}; starting it anew in {delay_s:.1f} s")

    def _say(self, line: str) -> None:
        _log.warning("%s", line)
        self._log.write("manager", line)

    # Connections

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return  # he has left again
        except OSError:
            self._turn_away()
            return
        sock.setblocking(False)
        _pid, uid, _gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        client = _Client(
            sock, Connection(self._table().ffa_id(uid), is_administrator=uid in (0, os.geteuid())), user_id=uid
        )
        if client.is_stranger:
            # He is let in to be told so: whatever he asks for is denied.
            self._log.write("manager", f"user {uid} is not in the table of users and is refused")
        limit = _CONNECTIONS_OF_A_STRANGER if client.is_stranger else _CONNECTIONS_PER_USER
        strangers = sum(one.is_stranger for one in self._clients) if client.is_stranger else 0
        if sum(one.user_id == uid for one in self._clients) >= limit or strangers >= _CONNECTIONS_OF_STRANGERS:
            sock.close()
            return
        self._add(client)

    def _turn_away(self) -> None:
        """Close the connection of who waits longest, with the descriptor that is kept for this.

        Without that he would wait, and this loop run without a pause, until there is a descriptor again.
        """
        self._log.write("manager", "there are too many connections: one more is refused")
        os.close(self._spare)
        try:
            self._listener.accept()[0].close()
        except OSError:
            pass
        self._spare = _spare_descriptor()

    def _table(self) -> UserTable:
        """The table of users; an empty one while it cannot be read, so that only administrators get in."""
        try:
            return self._users()
        except (OSError, UserTableError) as error:
            self._say(f"nobody is let in, as the table of users cannot be read: {error}")
            return UserTable()

    def _add(self, client: _Client) -> None:
        client.socket.setblocking(False)
        self._clients.add(client)
        self._selector.register(client.socket, selectors.EVENT_READ, lambda: self._read(client))

    def _drop(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.discard(client)
            self._selector.unregister(client.socket)
            client.socket.close()
            self._monitor.forget(client.connection)
            self._channels.forget(client)
            self._waiting = [one for one in self._waiting if one.client is not client]

    def _read(self, client: _Client) -> None:
        if client not in self._clients:  # dropped in this turn
            return
        try:
            received = receive_frame(client.socket)
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is None:
            self._drop(client)
            return
        registers, payload, descriptors = received
        if client.partition is not None and registers[0] in (FunctionId.MSG_WAIT, CHANNEL_CLOSED):
            close_all(descriptors)
            if registers[0] == CHANNEL_CLOSED:
                self._channels.closed(registers[1], client)
            else:
                self._note_ready(client, client.partition)
            return
        if registers[0] == FIRMWARE_ACCEPTED:
            close_all(descriptors)
            self._answer(client, self._accept_firmware(client), registers[8])
            return
        answer = self._monitor.call(client.connection, registers[:8], payload, descriptors)
        if isinstance(answer, OpenChannel):
            self._open(client, registers[8], answer)
        else:
            self._answer(client, answer, registers[8])

    def _answer(self, client: _Client, answer: Answer, tag: int) -> None:
        if not _send(client.socket, answer, tag):
            self._drop(client)

    def _note_ready(self, client: _Client, partition: _Partition) -> None:
        client.ready = True
        if partition.is_ready:
            partition.ready_by_s = None
            took_ms = 1000 * (monotonic() - partition.started_s)
            self._log.write("manager", f"partition {partition.manifest.name} is ready after {took_ms:.0f} ms")
        if self._when_ready is not None and all(one.is_ready for one in self._partitions):
            self._when_ready()
            self._when_ready = None

    def _accept_firmware(self, client: _Client) -> Answer:
        """The partition with the flash says so; what the manager has verified itself is what it goes by."""
        is_agent = client.partition is not None and client.partition.manifest.flash
        if self._firmware is None or not is_agent:
            return refusal(FfaError.DENIED)
        try:
            return counter_answer(self._firmware.accept())
        except (BootError, OneTimeMemoryError) as error:
            self._say(f"the security counter stays as it is until the next boot: {error}")
            return refusal(FfaError.ABORTED)

    # Channels

    def _open(self, client: _Client, tag: int, wanted: OpenChannel) -> None:
        target = self._partition(wanted)
        if not target.is_ready:
            # A partition's context waits for one that boots before it; whoever else is told to come again.
            if client.partition is None or any(one.client is client for one in self._waiting):
                self._answer(client, refusal(FfaError.RETRY), tag)
            else:
                self._waiting.append(_Waiting(client, tag, wanted, monotonic() + self._start_s))
            return
        context = self._channels.choose(wanted.source_id, target.contexts)
        pair = None if context is None else _channel()
        if context is None or pair is None:
            self._answer(client, refusal(FfaError.NO_MEMORY), tag)
            return
        ours, theirs = pair
        with theirs:
            number = self._channels.opened(wanted.source_id, context)
            registers = (CHANNEL_CONNECT, wanted.source_id << 16 | wanted.target.id, number, 0, 0, 0, 0, 0)
            if not _send(context.socket, Answer(registers, descriptor=ours.detach()), 0):
                self._channels.closed(number, context)
                self._answer(client, refusal(FfaError.RETRY), tag)
                return
            self._answer(client, channel_answer(theirs.detach()), tag)

    def _partition(self, wanted: OpenChannel) -> _Partition:
        return next(one for one in self._partitions if one.manifest.id == wanted.target.id)

    def _serve_waiting(self) -> None:
        if not self._waiting:
            return
        now = monotonic()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if one.until_s < now:
                self._answer(one.client, refusal(FfaError.RETRY), one.tag)
            elif self._partition(one.wanted).is_ready:
                self._open(one.client, one.tag, one.wanted)
            else:
                self._waiting.append(one)

    # Status and end

    def _status(self) -> bytes:
        partitions = [
            {
                "name": one.manifest.name,
                "id": one.manifest.id,
                "services": [str(service) for service in one.manifest.services],
                "callers": sorted(one.manifest.callers),
                "state": "ready" if one.is_ready else "starting" if one.process is not None else "down",
                "pid": None if one.process is None else one.process.popen.pid,
                "user": None if one.process is None else one.process.user_id,
                "execution_contexts": len(one.contexts),
                "slow_contexts": one.manifest.slow_contexts,
                "channels": sum(map(self._channels.count, one.contexts)),
                "restarts": one.restarts,
                "last_end": one.last_end,
                "shared_regions": self._monitor.shares.held_for(one.manifest.id),
            }
            for one in self._partitions
        ]
        users = [{"uid": uid, "id": ffa_id} for uid, ffa_id in sorted(self._table().ids.items())]
        status = {
            "emulated": True,
            "manager": {"pid": os.getpid(), "uptime_s": round(time() - self._began_s, 1)},
            "partitions": partitions,
            "users": users,
            "not_in_force": list(self._measures),
            "firmware": None if self._firmware is None else self._firmware.status(),
        }
        return json.dumps(status).encode()

    def _stop(self) -> None:
        self._listener.close()
        running = [one.process for one in self._partitions if one.process is not None]
        for process in running:
            process.popen.terminate()
        until_s = monotonic() + _STOP_S
        for process in running:
            try:
                process.popen.wait(max(0.0, until_s - monotonic()))
            except subprocess.TimeoutExpired:
                process.popen.kill()
        self._log.write("manager", "stopped")
        self._log.close()
        os.close(self._spare)


def _spare_descriptor() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


def _channel() -> tuple[socket.socket, socket.socket] | None:
    """Both ends of a new one; None if this process has no descriptors left."""
    try:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError:
        return None


def _send(sock: socket.socket, answer: Answer, tag: int) -> bool:
    """Send an answer and close its descriptor. False if the other end takes nothing: it is gone, or does not read."""
    descriptors = [] if answer.descriptor is None else [answer.descriptor]
    try:
        socket.send_fds(sock, [FRAME.pack(*answer.registers, tag) + answer.payload], descriptors)
    except OSError:
        return False
    else:
        return True
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
