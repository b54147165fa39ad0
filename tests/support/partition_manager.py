"""The partition manager's loop in this process, with users' real connections, and partitions that the test plays."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from typing import Any, Final

from edgeroot.abi.emulation import CHANNEL_CLOSED, CHANNEL_CONNECT, CHANNEL_OPEN, FRAME, MANAGER_STATUS
from edgeroot.abi.ffa import FunctionId
from edgeroot.secure.runtime.frames import Received, receive_frame
from edgeroot.secure.spm.launch import Launcher, Process
from edgeroot.secure.spm.log import Log
from edgeroot.secure.spm.manager import Manager
from edgeroot.secure.spm.manifest import Manifest
from edgeroot.secure.spm.users import UserTable

_PATIENCE_S: Final = 20.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class Line:
    """A connection to the manager: a user's, or an execution context's."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(_PATIENCE_S)
        self.socket = sock
        self._tag = 0

    def send(self, *registers: int, descriptors: Sequence[int] = ()) -> None:
        self._tag += 1
        socket.send_fds(self.socket, [FRAME.pack(*registers, *(0,) * (8 - len(registers)), self._tag)], descriptors)

    def receive(self) -> Received:
        """EOFError if the manager has ended the connection."""
        received = receive_frame(self.socket)
        if received is None:
            raise EOFError
        return received

    def call(self, *registers: int) -> Received:
        self.send(*registers)
        return self.receive()

    def settle(self) -> None:
        """Until the manager has done all that it was sent on this connection."""
        self.call(FunctionId.VERSION)

    def open_channel(self, endpoint_id: int) -> socket.socket:
        answer = self.call(CHANNEL_OPEN, endpoint_id)
        assert answer.frame[0] == FunctionId.SUCCESS_32, FunctionId.ERROR.name
        (descriptor,) = answer.descriptors
        return socket.socket(fileno=descriptor)

    def status(self) -> dict[str, dict[str, Any]]:
        """Of the partitions, by name."""
        answer = self.call(MANAGER_STATUS)
        return {one["name"]: one for one in json.loads(answer.payload)["partitions"]}


class ContextLine(Line):
    """An execution context's."""

    def ready(self) -> None:
        self.send(FunctionId.MSG_WAIT)
        self.settle()

    def take_channel(self) -> tuple[int, int, socket.socket]:
        """Route, number and end of a channel that the manager has given."""
        received = self.receive()
        assert received.frame[0] == CHANNEL_CONNECT
        (descriptor,) = received.descriptors
        return received.frame[1], received.frame[2], socket.socket(fileno=descriptor)

    def closed(self, number: int, *, descriptors: Sequence[int] = ()) -> None:
        self.send(CHANNEL_CLOSED, number, descriptors=descriptors)
        self.settle()


class Played:
    """One start of a partition: a process that only waits, its contexts' connections, and where it says something."""

    def __init__(self, manifest: Manifest, contexts: int) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(contexts)]
        log, self.says = os.pipe()
        self.name = manifest.name
        self.contexts = [ContextLine(theirs) for _, theirs in pairs]
        self.popen = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
        self.process = Process(self.popen, tuple(ours for ours, _ in pairs), log, None)

    def ready(self) -> None:
        for context in self.contexts:
            context.ready()

    def end(self) -> None:
        self.popen.kill()

    def close(self) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        self.popen.wait()
        os.close(self.says)
        for context in self.contexts:
            context.socket.close()


class Stage(Launcher):
    """Starts partitions that the test plays."""

    def __init__(self, contexts: int) -> None:
        self._contexts = contexts
        self._started: Queue[Played] = Queue()
        self.made: list[Played] = []
        self.failures: list[OSError] = []

    def contexts_of(self, manifest: Manifest) -> int:
        return manifest.execution_contexts or self._contexts

    def launch(self, manifest: Manifest) -> Process:
        if self.failures:
            raise self.failures.pop()
        played = Played(manifest, self.contexts_of(manifest))
        self.made.append(played)
        self._started.put(played)
        return played.process

    def started(self) -> Played:
        """The next partition that was started."""
        return self._started.get(timeout=_PATIENCE_S)


class ManagerWorld:
    """What a test's part in a running manager's world can do."""

    def __init__(self, folder: Path, stage: Stage, users: UserTable) -> None:
        self.stage = stage
        self.users: UserTable | Exception = users
        self.path = folder / "spm.sock"
        self.log_path = folder / "log"
        self.times_ready = 0
        self._lines: list[Line] = []

    def table(self) -> UserTable:
        if isinstance(self.users, Exception):
            raise self.users
        return self.users

    def note_ready(self) -> None:
        self.times_ready += 1

    def socket(self) -> socket.socket:
        """One that is not connected yet."""
        line = Line(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        self._lines.append(line)
        return line.socket

    def connect(self) -> Line:
        sock = self.socket()
        sock.connect(str(self.path))
        return self._lines[-1]

    def close(self) -> None:
        for line in self._lines:
            line.socket.close()
        for played in self.stage.made:
            played.close()


def played_world(
    folder: Path,
    manifests: Sequence[Manifest],
    play: Callable[[ManagerWorld], None],
    *,
    contexts: int = 1,
    users: UserTable | None = None,
    start_s: float = 30.0,
) -> ManagerWorld:
    """Run a manager in this thread until ``play``, which has one of its own, has ended; what that raises is raised."""
    table = UserTable({os.geteuid(): 1}, 2) if users is None else users
    world = ManagerWorld(folder, Stage(contexts), table)
    with ExitStack() as stack:
        handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        stack.callback(lambda: [signal.signal(number, handler) for number, handler in handlers.items()])
        stack.callback(signal.set_wakeup_fd, -1)
        stack.callback(world.close)
        owner, ours = socket.socketpair()
        stack.enter_context(owner)
        stack.enter_context(ours)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(str(world.path))
        world.path.chmod(0o666)
        manager = Manager(
            manifests,
            listener=listener,
            launcher=world.stage,
            users=world.table,
            log=Log(world.log_path),
            measures=(),
            when_ready=world.note_ready,
            owner=owner,
            start_s=start_s,
        )

        def run() -> None:
            try:
                play(world)
            finally:
                ours.shutdown(socket.SHUT_RDWR)

        with ThreadPoolExecutor(1) as threads:
            playing = threads.submit(run)
            try:
                assert manager.run() == 0
            finally:
                wait([playing])
                for sock in (manager._woken, manager._waker, *(client.socket for client in manager._clients)):
                    sock.close()
                manager._selector.close()
        playing.result()
    return world
