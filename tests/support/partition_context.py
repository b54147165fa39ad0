"""An execution context of a partition in this process, turned by hand: its callers' channels and memory are real."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final
from uuid import UUID

from edgeroot.abi.emulation import CHANNEL_CONNECT, FRAME
from edgeroot.abi.ffa import FunctionId
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.ts_rpc import Words
from edgeroot.secure.runtime.api import Caller, Reply, Service, SlowWork
from edgeroot.secure.runtime.context import Context
from edgeroot.secure.runtime.endpoint import Endpoint
from edgeroot.secure.runtime.lanes import Lanes
from edgeroot.secure.runtime.manager import ManagerConnection
from edgeroot.secure.runtime.memory import MappedMemory, sealed_size_bytes

OWN_ID: Final = 0x8002
SOURCE: Final = 7
SIZE_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def memory_file(size_bytes: int, *, seals: int = SIZE_SEALS) -> int:
    """A memory file as callers share it; the descriptor."""
    descriptor = os.memfd_create("shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size_bytes)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


class Files:
    """The memory calls of a manager that knows these regions: (source, handle) to what the source sees of it."""

    def __init__(self) -> None:
        self._descriptors: dict[tuple[int, int], int] = {}
        self.given_back: list[int] = []

    def share(self, handle: int, size_bytes: int = 4096, *, source_id: int = SOURCE) -> mmap.mmap:
        """A new region, as the source sees it."""
        descriptor = self._descriptors[source_id, handle] = memory_file(size_bytes)
        return mmap.mmap(descriptor, size_bytes)

    def retrieve(self, source_id: int, handle: int) -> MappedMemory:
        try:
            descriptor = self._descriptors[source_id, handle]
        except KeyError:
            raise RpcError(RpcStatus.TRANSPORT_LAYER, "not this source's") from None
        return MappedMemory(descriptor, sealed_size_bytes(descriptor))

    def relinquish(self, handle: int) -> None:
        self.given_back.append(handle)

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)


class Scripted(Service):
    """A service that does what the test says, and remembers who called with what."""

    uuid = UUID("00112233-4455-6677-8899-aabbccddeeff")

    def __init__(self, reply: Callable[[bytes], Reply | SlowWork] = lambda _request: Reply()) -> None:
        self.reply = reply
        self.calls: list[tuple[Caller, int, bytes, int]] = []
        self.closed: list[Caller] = []

    def call(self, caller: Caller, opcode: int, request: bytes, *, capacity_bytes: int) -> Reply | SlowWork:
        self.calls.append((caller, opcode, request, capacity_bytes))
        return self.reply(request)

    def work(self, task: bytes) -> bytes:
        return task[::-1]

    def channel_closed(self, caller: Caller) -> None:
        self.closed.append(caller)


class CallerEnd:
    """A caller's end of a channel."""

    def __init__(self, sock: socket.socket, source_id: int) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.route = source_id << 16 | OWN_ID

    def ask(self, words: Words, tag: int = 1) -> None:
        self.send(FunctionId.MSG_SEND_DIRECT_REQ_32, self.route, 0, *words, tag)

    def send(self, *numbers: int) -> None:
        self.socket.send(FRAME.pack(*numbers))

    def answers(self) -> list[tuple[int, ...]]:
        """The frames that have come by now."""
        found: list[tuple[int, ...]] = []
        while True:
            try:
                data = self.socket.recv(FRAME.size + 1)
            except BlockingIOError:
                return found
            if not data:
                raise EOFError
            found.append(FRAME.unpack(data))

    def answer(self) -> tuple[int, ...]:
        """The one frame that has come."""
        (frame,) = self.answers()
        return frame


class Turning:
    """The context, and the manager's end of its connection."""

    def __init__(self, context: Context, control: socket.socket, files: Files) -> None:
        self.context = context
        self.control = control
        self.files = files
        self._callers: list[CallerEnd] = []

    def turn(self) -> None:
        self.context.turn()

    def channel(self, source_id: int = SOURCE, *, number: int = 0) -> CallerEnd:
        """A new channel from this source."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            connect = FRAME.pack(CHANNEL_CONNECT, source_id << 16 | OWN_ID, number, 0, 0, 0, 0, 0, 0)
            socket.send_fds(self.control, [connect], [theirs.fileno()])
        self.context.turn()
        self._callers.append(CallerEnd(ours, source_id))
        return self._callers[-1]

    def close(self) -> None:
        """Whatever is still open."""
        for caller in self._callers:
            caller.socket.close()
        for channel in self.context._channels.values():
            channel.socket.close()
        self.context._poll.close()


@contextmanager
def turning(
    *services: Service, queue_depth: int = 4, memory_slots: int = 4, lanes: Sequence[socket.socket] = ()
) -> Iterator[Turning]:
    """A context with these services."""
    with ExitStack() as stack:
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(control)
        stack.enter_context(theirs)
        files = Files()
        stack.callback(files.close)
        manager = ManagerConnection(theirs, OWN_ID)
        endpoint = Endpoint(services, files, memory_slots=memory_slots)
        context = Context(
            manager, endpoint, Lanes(lanes, source_depth=queue_depth), own_id=OWN_ID, queue_depth=queue_depth
        )
        control.setblocking(False)
        world = Turning(context, control, files)
        stack.callback(world.close)
        yield world
