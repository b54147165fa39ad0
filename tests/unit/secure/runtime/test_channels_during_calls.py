"""A channel that is given to a context which is just waiting for the manager's answer to something else."""

from __future__ import annotations

import socket
from threading import Thread

from edgeroot.abi.emulation import CHANNEL_CONNECT, FRAME
from edgeroot.abi.ffa import FfaError, FunctionId
from edgeroot.abi.ts_rpc import Words, memory_retrieve_request, version_in, version_request
from edgeroot.secure.runtime.context import Context
from edgeroot.secure.runtime.endpoint import Endpoint
from edgeroot.secure.runtime.frames import receive_frame
from edgeroot.secure.runtime.lanes import Lanes
from edgeroot.secure.runtime.manager import ManagerConnection, ManagerGoneError

OWN_ID = 0x8002
CALLER_ID = 7
ROUTE = CALLER_ID << 16 | OWN_ID


def give_channel(control: socket.socket) -> socket.socket:
    """A new channel; the caller's end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        socket.send_fds(control, [FRAME.pack(CHANNEL_CONNECT, ROUTE, 0, 0, 0, 0, 0, 0, 0)], [theirs.fileno()])
    ours.settimeout(10)
    return ours


def ask(channel: socket.socket, words: Words) -> None:
    channel.send(FRAME.pack(FunctionId.MSG_SEND_DIRECT_REQ_32, ROUTE, 0, *words, 1))


def test_it_is_served_without_anything_else_happening() -> None:
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    manager = ManagerConnection(theirs, OWN_ID)
    context = Context(manager, Endpoint([], manager, memory_slots=4), Lanes([]), own_id=OWN_ID, queue_depth=4)

    def serve() -> None:
        try:
            context.run()
        except ManagerGoneError:
            pass

    serving = Thread(target=serve, daemon=True)
    control.settimeout(10)
    with control, theirs:
        serving.start()
        assert receive_frame(control) is not None  # it is ready
        with give_channel(control) as first:
            ask(first, memory_retrieve_request(99))
            asked = receive_frame(control)
            assert asked is not None
            with give_channel(control) as second:
                refusal = FRAME.pack(
                    FunctionId.ERROR, 0, FfaError.INVALID_PARAMETERS & 0xFFFFFFFF, 0, 0, 0, 0, 0, asked.frame[8]
                )
                control.send(refusal)
                assert first.recv(FRAME.size)
                ask(second, version_request())
                assert version_in(FRAME.unpack(second.recv(FRAME.size))[3:8]) == 1
        control.shutdown(socket.SHUT_RDWR)
        serving.join(10)
    for channel in context._channels.values():
        channel.socket.close()
    context._poll.close()
