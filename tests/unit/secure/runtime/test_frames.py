"""Frames with their descriptors: whole ones are received, and of the others nothing is kept."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from edgeroot.abi.emulation import FRAME, PAGE_BYTES
from edgeroot.secure.runtime.frames import close_all, receive_frame
from tests.support.descriptors import no_descriptor_left, open_descriptors

NUMBERS = (1, 2, 3, 4, 5, 6, 7, 0xFFFFFFFF, 0xFFFFFFFF_FFFFFFFF)
WHOLE = FRAME.pack(*NUMBERS)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        before = open_descriptors()
        yield ours, theirs
        assert open_descriptors() <= before


@pytest.mark.parametrize("payload", [b"", b"\0", bytes(PAGE_BYTES)])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_frame_payload_and_descriptors_arrive(
    pair: tuple[socket.socket, socket.socket], payload: bytes, count: int
) -> None:
    ours, theirs = pair
    socket.send_fds(ours, [WHOLE + payload], [ours.fileno()] * count)
    received = receive_frame(theirs)
    assert received is not None
    assert (received.frame, received.payload, len(received.descriptors)) == (NUMBERS, payload, count)
    assert not any(os.get_inheritable(descriptor) for descriptor in received.descriptors)
    assert {os.fstat(descriptor).st_ino for descriptor in received.descriptors} <= {os.fstat(ours.fileno()).st_ino}
    close_all(received.descriptors)


@pytest.mark.parametrize(
    ("data", "count"),
    [(b"x", 0), (WHOLE[:-1], 0), (WHOLE[:-1], 3), (WHOLE + bytes(PAGE_BYTES + 1), 2), (WHOLE, 5), (WHOLE, 200)],
)
def test_what_is_no_whole_frame_ends_the_connection_and_leaves_no_descriptor(
    pair: tuple[socket.socket, socket.socket], data: bytes, count: int
) -> None:
    ours, theirs = pair
    socket.send_fds(ours, [data], [ours.fileno()] * count)
    assert receive_frame(theirs) is None


def test_end_of_the_connection_and_silence_are_told_apart(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    with pytest.raises(BlockingIOError):
        receive_frame(theirs, socket.MSG_DONTWAIT)
    ours.shutdown(socket.SHUT_RDWR)
    assert receive_frame(theirs) is None


def test_descriptors_for_which_there_is_no_room_are_not_kept(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    socket.send_fds(ours, [WHOLE], [ours.fileno()])
    with no_descriptor_left():
        assert receive_frame(theirs) is None
