"""Receiving a frame together with the descriptors that come with it."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterable
from typing import Final, NamedTuple

from edgeroot.abi.emulation import FRAME, PAGE_BYTES

_BYTES: Final = FRAME.size + PAGE_BYTES
_MAX_DESCRIPTORS: Final = 4
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize)


class Received(NamedTuple):
    """A frame's nine numbers (eight registers and the tag), what followed them, and the descriptors."""

    frame: tuple[int, ...]
    payload: bytes
    descriptors: list[int]


def receive_frame(sock: socket.socket, flags: int = 0) -> Received | None:
    """The next datagram; None at the end of the connection, or for one that is no whole frame. OSError.

    (:func:`socket.recv_fds` does not pass its flags on in Python 3.11.)
    """
    data, ancillary, message_flags, _ = sock.recvmsg(_BYTES, _ANCILLARY_BYTES, flags | socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    if len(data) < FRAME.size or message_flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close_all(descriptors)
        return None
    return Received(FRAME.unpack_from(data), data[FRAME.size :], list(descriptors))


def close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
