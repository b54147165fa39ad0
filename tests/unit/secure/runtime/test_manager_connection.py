"""A partition's connection to the manager: answers of every kind, and what comes in between."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from edgeroot.abi.emulation import CHANNEL_CONNECT, FRAME
from edgeroot.abi.ffa import FfaError, FunctionId
from edgeroot.abi.memory import MemoryRelinquish, RetrieveRequest, Transaction
from edgeroot.abi.rpc_status import RpcError
from edgeroot.secure.runtime.frames import close_all, receive_frame
from edgeroot.secure.runtime.manager import ManagerConnection, ManagerGoneError
from tests.support.descriptors import open_descriptors
from tests.support.partition_context import OWN_ID, SOURCE, memory_file

HANDLE = 0x2000_0000_0001


class World:
    """The connection, and a manager that has said beforehand what it answers."""

    def __init__(self) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        self.theirs = theirs
        self.manager = ManagerConnection(theirs, OWN_ID)

    def say(self, *registers: int, tag: int = 1, descriptors: tuple[int, ...] = ()) -> None:
        frame = FRAME.pack(*registers, *(0,) * (8 - len(registers)), tag)
        socket.send_fds(self.control, [frame], descriptors)
        close_all(descriptors)

    def refuse(self, code: FfaError, *, tag: int = 1) -> None:
        self.say(FunctionId.ERROR, 0, code & 0xFFFFFFFF, tag=tag)

    def asked(self) -> tuple[tuple[int, ...], bytes]:
        """What the partition has asked for: the registers and what followed."""
        received = receive_frame(self.control)
        assert received is not None
        close_all(received.descriptors)
        return received.frame[:8], received.payload


@pytest.fixture
def world() -> Iterator[World]:
    before = open_descriptors()
    made = World()
    yield made
    made.control.close()
    made.theirs.close()
    assert open_descriptors() <= before


def test_memory_is_asked_for_by_its_source_and_mapped(world: World) -> None:
    shared = memory_file(8192)
    os.pwrite(shared, b"hello", 0)
    world.say(FunctionId.MEM_RETRIEVE_RESP, descriptors=(shared,))
    memory = world.manager.retrieve(SOURCE, HANDLE)
    assert (memory.size_bytes, memory.read(5)) == (8192, b"hello")
    memory.close()
    registers, payload = world.asked()
    assert registers[0] == FunctionId.MEM_RETRIEVE_REQ_32
    request = RetrieveRequest.decode(payload)
    assert (request.sender, request.receiver, request.handle) == (SOURCE, OWN_ID, HANDLE)


@pytest.mark.parametrize(
    ("function", "memories"),
    [
        (FunctionId.ERROR, []),
        (FunctionId.MEM_RETRIEVE_RESP, []),
        (FunctionId.SUCCESS_32, [lambda: memory_file(4096)]),
        (FunctionId.MEM_RETRIEVE_RESP, [lambda: memory_file(4096)] * 2),
        (FunctionId.MEM_RETRIEVE_RESP, [lambda: memory_file(4096, seals=0)]),
        (FunctionId.MEM_RETRIEVE_RESP, [lambda: memory_file(0)]),
        (FunctionId.MEM_RETRIEVE_RESP, [lambda: os.open("/dev/zero", os.O_RDWR)]),
    ],
)
def test_memory_that_is_not_given_or_not_safe_is_an_error(
    world: World, function: int, memories: list[Callable[[], int]]
) -> None:
    world.say(function, descriptors=tuple(memory() for memory in memories))
    with pytest.raises(RpcError, match="TRANSPORT_LAYER"):
        world.manager.retrieve(SOURCE, HANDLE)


def test_memory_is_shared_given_back_and_taken_back_under_its_handle(world: World) -> None:
    world.say(FunctionId.SUCCESS_32, 0, HANDLE & 0xFFFFFFFF, HANDLE >> 32)
    shared = memory_file(8192)
    assert world.manager.share(shared, 2, 0x8001) == HANDLE
    os.close(shared)
    transaction = Transaction.decode(world.asked()[1])
    assert (transaction.sender, transaction.receivers, transaction.page_count) == (OWN_ID, (0x8001,), 2)

    world.refuse(FfaError.INVALID_PARAMETERS, tag=2)
    world.manager.relinquish(HANDLE)
    registers, payload = world.asked()
    assert registers[0] == FunctionId.MEM_RELINQUISH
    assert MemoryRelinquish.decode(payload) == MemoryRelinquish(handle=HANDLE, endpoints=(OWN_ID,))

    world.say(FunctionId.SUCCESS_32, tag=3)
    assert world.manager.reclaim(HANDLE)
    assert world.asked()[0][:3] == (FunctionId.MEM_RECLAIM, HANDLE & 0xFFFFFFFF, HANDLE >> 32)
    world.refuse(FfaError.DENIED, tag=4)
    assert not world.manager.reclaim(HANDLE)
    world.refuse(FfaError.INVALID_PARAMETERS, tag=5)
    assert world.manager.reclaim(HANDLE)


def test_what_the_manager_refuses_is_an_error_of_its_kind(world: World) -> None:
    world.refuse(FfaError.NO_MEMORY)
    shared = memory_file(4096)
    with pytest.raises(RpcError, match="RESOURCE_FAILURE"):
        world.manager.share(shared, 1, 0x8001)
    os.close(shared)
    world.refuse(FfaError.DENIED, tag=2)
    with pytest.raises(RpcError, match="TRANSPORT_LAYER"):
        world.manager.open_channel(0x8001)
    world.say(FunctionId.SUCCESS_32, tag=3)
    with pytest.raises(RpcError, match="TRANSPORT_LAYER"):
        world.manager.open_channel(0x8001)


def test_channels_that_come_during_a_call_are_kept_and_other_answers_are_not(world: World) -> None:
    route = SOURCE << 16 | OWN_ID
    world.say(CHANNEL_CONNECT, route, 41, tag=0, descriptors=(os.dup(world.control.fileno()),))
    world.say(CHANNEL_CONNECT, route, 42, tag=1, descriptors=(os.dup(world.control.fileno()),))
    world.say(CHANNEL_CONNECT, route, 43, tag=0)  # without a channel
    world.say(FunctionId.SUCCESS_32, tag=99, descriptors=(os.dup(world.control.fileno()),))
    world.refuse(FfaError.DENIED, tag=1)
    had_channels = [world.manager.has_channels]
    assert not world.manager.reclaim(HANDLE)
    had_channels.append(world.manager.has_channels)
    assert had_channels == [False, True]
    world.say(CHANNEL_CONNECT, route + (1 << 16), 44, tag=0, descriptors=(os.dup(world.control.fileno()),))
    found = world.manager.new_channels()
    assert [(one.source_id, one.number) for one in found] == [(SOURCE, 41), (SOURCE, 42), (SOURCE + 1, 44)]
    assert not any(one.socket.getblocking() for one in found)
    for one in found:
        one.socket.close()
    assert world.manager.new_channels() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda manager: manager.new_channels(),
        lambda manager: manager.partitions(),
        lambda manager: manager.reclaim(HANDLE),
        lambda manager: manager.closed(1),
        lambda manager: manager.retrieve(SOURCE, HANDLE),
    ],
)
def test_the_end_of_the_manager_is_noticed_in_every_call(
    world: World, call: Callable[[ManagerConnection], object]
) -> None:
    world.control.close()
    with pytest.raises(ManagerGoneError):
        call(world.manager)
