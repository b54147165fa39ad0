"""The partition manager's FF-A calls: who may do what, what is refused with which code, and what becomes of memory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from edgeroot.abi.emulation import CHANNEL_CONNECT, CHANNEL_OPEN, MANAGER_STATUS, PAGE_BYTES
from edgeroot.abi.ffa import VERSION_1_1, FfaError, FunctionId, PartitionInfo, signed, uuid_words
from edgeroot.abi.memory import MemoryAccess, MemoryRange, MemoryRelinquish, RetrieveRequest, Transaction
from edgeroot.abi.services import TS_RPC_FFA_UUID
from edgeroot.secure.spm.manifest import NORMAL_WORLD, Manifest
from edgeroot.secure.spm.monitor import Answer, Connection, Monitor, OpenChannel
from tests.support.descriptors import no_descriptor_left, open_descriptors
from tests.support.partition_context import SIZE_SEALS, memory_file

LOW = Manifest(
    name="low", id=0x8001, module="m", services=(), boot_order=1, callers=frozenset({NORMAL_WORLD, "high"}),
    memory_slots=16, max_shared_bytes=4 * PAGE_BYTES,
)  # fmt: skip
HIGH = Manifest(name="high", id=0x8002, module="m", services=(), boot_order=2, callers=frozenset({NORMAL_WORLD}))
CLOSED = Manifest(name="closed", id=0x8003, module="m", services=(), boot_order=3, callers=frozenset())
WITH_DESCRIPTOR = (
    FunctionId.MEM_SHARE_32,
    FunctionId.MEM_SHARE_64,
    FunctionId.MEM_RETRIEVE_REQ_32,
    FunctionId.MEM_RETRIEVE_REQ_64,
)
STATUS = bytes(range(256)) * 40


class Caller:
    """A connection to the manager, its calls, and what came of them."""

    def __init__(self, monitor: Monitor, connection: Connection) -> None:
        self.monitor = monitor
        self.connection = connection
        self.id = connection.endpoint_id or 0

    def call(self, *registers: int, payload: bytes = b"", descriptors: tuple[int, ...] = ()) -> Answer | OpenChannel:
        if len(registers) == 1 and registers[0] in WITH_DESCRIPTOR:
            registers = (*registers, len(payload), len(payload))
        padded = (*registers, *(0,) * (8 - len(registers)))
        return self.monitor.call(self.connection, padded, payload, list(descriptors))

    def answer(self, *registers: int, payload: bytes = b"", descriptors: tuple[int, ...] = ()) -> Answer:
        answer = self.call(*registers, payload=payload, descriptors=descriptors)
        assert isinstance(answer, Answer)
        assert len(answer.registers) == 8
        return answer

    def code(self, *registers: int, payload: bytes = b"", descriptors: tuple[int, ...] = ()) -> FfaError:
        """The code of a call that is refused, with nothing given away."""
        answer = self.answer(*registers, payload=payload, descriptors=descriptors)
        assert answer.registers[0] == FunctionId.ERROR
        assert answer.payload == b""
        assert answer.descriptor is None
        return FfaError(signed(answer.registers[2]))

    def succeeds(self, *registers: int, payload: bytes = b"", descriptors: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The registers from w2 on."""
        answer = self.answer(*registers, payload=payload, descriptors=descriptors)
        assert answer.registers[:2] == (FunctionId.SUCCESS_32, 0)
        return answer.registers[2:]

    def share(self, receiver: Manifest = LOW, page_count: int = 1) -> int:
        """The handle of a new region."""
        transaction = Transaction.share(sender=self.id, receiver=receiver.id, page_count=page_count)
        memory = memory_file(page_count * PAGE_BYTES)
        low, high, *_ = self.succeeds(FunctionId.MEM_SHARE_32, payload=transaction.encode(), descriptors=(memory,))
        return high << 32 | low

    def retrieval(self, handle: int, source_id: int) -> bytes:
        return RetrieveRequest(sender=source_id, receiver=self.id, handle=handle).encode()

    def retrieve(self, handle: int, source_id: int) -> int:
        """The descriptor of a region, for the test to close."""
        answer = self.answer(FunctionId.MEM_RETRIEVE_REQ_32, payload=self.retrieval(handle, source_id))
        assert answer.registers[:3] == (FunctionId.MEM_RETRIEVE_RESP, len(answer.payload), len(answer.payload))
        assert Transaction.decode(answer.payload).handle == handle
        assert answer.descriptor is not None
        return answer.descriptor

    def relinquishment(self, handle: int) -> bytes:
        return MemoryRelinquish(handle=handle, endpoints=(self.id,)).encode()

    def reclaim_registers(self, handle: int) -> tuple[int, int, int]:
        return FunctionId.MEM_RECLAIM, handle & 0xFFFFFFFF, handle >> 32


class World:
    """Connections to one manager: two users, the administrator, a stranger, and a context of each partition."""

    def __init__(self) -> None:
        self.statuses = 0
        self.monitor = Monitor((LOW, HIGH, CLOSED), lambda manifest: manifest.boot_order * 2, self.status)
        self.alice = self.connect(1)
        self.bob = self.connect(2)
        self.administrator = self.connect(None, is_administrator=True)
        self.stranger = self.connect(None)
        self.low = self.connect(LOW.id, LOW)
        self.high = self.connect(HIGH.id, HIGH)

    def status(self) -> bytes:
        self.statuses += 1
        return STATUS

    def connect(
        self, endpoint_id: int | None, manifest: Manifest | None = None, *, is_administrator: bool = False
    ) -> Caller:
        return Caller(self.monitor, Connection(endpoint_id, manifest, is_administrator=is_administrator))


@pytest.fixture
def world() -> Iterator[World]:
    """And whatever happens, no descriptor is left when all connections have ended."""
    before = open_descriptors()
    made = World()
    yield made
    for caller in (made.alice, made.bob, made.low, made.high):
        made.monitor.forget(caller.connection)
    assert open_descriptors() == before


# Who one is, and what there is


def test_version_is_said_in_the_first_register(world: World) -> None:
    assert world.alice.answer(FunctionId.VERSION, 0x0001_0000).registers == (VERSION_1_1, *(0,) * 7)


@pytest.mark.parametrize(("name", "endpoint_id"), [("alice", 1), ("bob", 2), ("low", 0x8001)])
def test_everybody_is_told_the_own_id(world: World, name: str, endpoint_id: int) -> None:
    assert getattr(world, name).succeeds(FunctionId.ID_GET)[0] == endpoint_id


@pytest.mark.parametrize("uuid", [(0, 0, 0, 0), uuid_words(TS_RPC_FFA_UUID)])
def test_partitions_are_listed_in_boot_order_with_their_contexts(world: World, uuid: tuple[int, ...]) -> None:
    answer = world.alice.answer(FunctionId.PARTITION_INFO_GET, *uuid)
    assert answer.registers == (FunctionId.SUCCESS_32, 0, 3, 24, 0, 0, 0, 0)
    infos = PartitionInfo.decode_all(answer.payload)
    assert [(info.id, info.execution_contexts) for info in infos] == [(0x8001, 2), (0x8002, 4), (0x8003, 6)]
    assert {info.uuid for info in infos} == {TS_RPC_FFA_UUID}


def test_only_the_count_is_told_to_who_asks_for_it(world: World) -> None:
    answer = world.alice.answer(FunctionId.PARTITION_INFO_GET, 0, 0, 0, 0, 1)
    assert answer.registers[2] == 3
    assert answer.payload == b""


def test_nothing_is_found_under_another_uuid(world: World) -> None:
    answer = world.alice.answer(FunctionId.PARTITION_INFO_GET, 1, 2, 3, 4)
    assert answer.registers[2] == 0
    assert answer.payload == b""


# Who may ask for anything


@pytest.mark.parametrize("function", [*FunctionId, CHANNEL_OPEN, CHANNEL_CONNECT, 0, 0xFFFFFFFF])
def test_who_is_in_no_table_is_denied_whatever_he_asks_for(world: World, function: int) -> None:
    assert world.stranger.code(function, LOW.id) is FfaError.DENIED
    assert world.administrator.code(function, LOW.id) is FfaError.DENIED


KNOWN = {
    FunctionId.VERSION, FunctionId.ID_GET, FunctionId.PARTITION_INFO_GET, FunctionId.MEM_SHARE_32,
    FunctionId.MEM_SHARE_64, FunctionId.MEM_RECLAIM, FunctionId.MEM_RETRIEVE_REQ_32, FunctionId.MEM_RETRIEVE_REQ_64,
    FunctionId.MEM_RELINQUISH,
}  # fmt: skip


@pytest.mark.parametrize("function", sorted(set(FunctionId) - KNOWN) + [CHANNEL_CONNECT, 0, 1, 0xFFFFFFFF])
def test_other_functions_are_not_supported(world: World, function: int) -> None:
    assert world.alice.code(function, LOW.id) is FfaError.NOT_SUPPORTED
    assert world.high.code(function, LOW.id) is FfaError.NOT_SUPPORTED


@pytest.mark.parametrize(
    "function", [FunctionId.MEM_RETRIEVE_REQ_32, FunctionId.MEM_RETRIEVE_REQ_64, FunctionId.MEM_RELINQUISH]
)
def test_memory_is_retrieved_and_given_back_by_partitions_alone(world: World, function: int) -> None:
    handle = world.alice.share()
    for payload in (world.alice.retrieval(handle, 1), world.alice.relinquishment(handle)):
        assert world.alice.code(function, payload=payload) is FfaError.NOT_SUPPORTED


def test_status_is_for_administrators_and_comes_in_pages_of_one_moment(world: World) -> None:
    pages = [world.administrator.answer(MANAGER_STATUS, page) for page in range(4)]
    assert {page.registers[2] for page in pages} == {len(STATUS)}
    assert b"".join(page.payload for page in pages) == STATUS
    assert [len(page.payload) for page in pages] == [4096, 4096, len(STATUS) - 8192, 0]
    assert world.statuses == 1
    assert world.administrator.answer(MANAGER_STATUS, 0xFFFFFFFF).payload == b""
    assert world.alice.code(MANAGER_STATUS) is FfaError.NOT_SUPPORTED
    assert world.stranger.code(MANAGER_STATUS) is FfaError.DENIED


# Channels


def test_channel_is_opened_from_whoever_asks_to_a_partition_that_lets_him(world: World) -> None:
    assert world.alice.call(CHANNEL_OPEN, HIGH.id) == OpenChannel(1, HIGH)
    assert world.high.call(CHANNEL_OPEN, LOW.id) == OpenChannel(HIGH.id, LOW)


@pytest.mark.parametrize(("name", "target"), [("alice", CLOSED), ("low", HIGH), ("low", LOW), ("high", HIGH)])
def test_channel_to_a_partition_that_does_not_let_him_is_denied(world: World, name: str, target: Manifest) -> None:
    caller: Caller = getattr(world, name)
    assert caller.code(CHANNEL_OPEN, target.id) is FfaError.DENIED


@pytest.mark.parametrize("endpoint_id", [0, 1, 2, 0x8000, 0x8004, 0x18001, 0xFFFFFFFF])
def test_there_is_no_channel_to_what_is_no_partition(world: World, endpoint_id: int) -> None:
    assert world.alice.code(CHANNEL_OPEN, endpoint_id) is FfaError.INVALID_PARAMETERS


# Memory


def test_memory_is_the_same_for_both_from_sharing_to_reclaiming(world: World) -> None:
    handle = world.alice.share(page_count=2)
    descriptor = world.low.retrieve(handle, 1)
    other = world.low.retrieve(handle, 1)
    try:
        os.pwrite(descriptor, b"seen", 5000)
        assert os.pread(other, 4, 5000) == b"seen"
        assert os.fstat(descriptor).st_size == 2 * PAGE_BYTES
    finally:
        os.close(descriptor)
        os.close(other)
    assert world.alice.code(*world.alice.reclaim_registers(handle)) is FfaError.DENIED
    world.low.succeeds(FunctionId.MEM_RELINQUISH, payload=world.low.relinquishment(handle))
    world.alice.succeeds(*world.alice.reclaim_registers(handle))
    assert world.alice.code(*world.alice.reclaim_registers(handle)) is FfaError.INVALID_PARAMETERS
    gone = world.low.retrieval(handle, 1)
    assert world.low.code(FunctionId.MEM_RETRIEVE_REQ_32, payload=gone) is FfaError.INVALID_PARAMETERS


def test_handles_take_both_registers_and_are_never_given_again(world: World) -> None:
    first = world.alice.share()
    assert first >> 32
    world.alice.succeeds(*world.alice.reclaim_registers(first))
    assert world.alice.share() != first
    assert world.alice.code(FunctionId.MEM_RECLAIM, first & 0xFFFFFFFF, 0) is FfaError.INVALID_PARAMETERS


def test_a_region_is_for_its_receiver_from_its_source_and_back_to_its_connection(world: World) -> None:
    handle = world.alice.share()
    invalid = FfaError.INVALID_PARAMETERS
    retrieve, give_back = FunctionId.MEM_RETRIEVE_REQ_32, FunctionId.MEM_RELINQUISH
    assert world.low.code(retrieve, payload=world.low.retrieval(handle, 2)) is invalid
    assert world.high.code(retrieve, payload=world.high.retrieval(handle, 1)) is invalid
    assert world.high.code(retrieve, payload=world.low.retrieval(handle, 1)) is invalid
    assert world.low.code(give_back, payload=world.low.relinquishment(handle)) is invalid
    assert world.bob.code(*world.bob.reclaim_registers(handle)) is invalid
    second_of_alice = world.connect(1)
    assert second_of_alice.code(*second_of_alice.reclaim_registers(handle)) is invalid
    os.close(world.low.retrieve(handle, 1))
    assert world.high.code(give_back, payload=world.high.relinquishment(handle)) is invalid
    second_of_low = world.connect(LOW.id, LOW)
    assert second_of_low.code(give_back, payload=second_of_low.relinquishment(handle)) is invalid
    world.low.succeeds(give_back, payload=world.low.relinquishment(handle))


def test_sixteen_regions_for_each_source_and_receiver(world: World) -> None:
    handles = [world.alice.share() for _ in range(16)]
    again = world.connect(1)  # another connection of the same user has no others
    for caller in (world.alice, again):
        transaction = Transaction.share(sender=1, receiver=LOW.id, page_count=1).encode()
        memory = memory_file(PAGE_BYTES)
        assert caller.code(FunctionId.MEM_SHARE_32, payload=transaction, descriptors=(memory,)) is FfaError.NO_MEMORY
    world.bob.share()
    world.high.share()
    world.alice.share(HIGH)
    world.alice.succeeds(*world.alice.reclaim_registers(handles[3]))
    world.alice.share()


def test_regions_end_with_their_owner_and_are_free_again_when_a_borrower_ends(world: World) -> None:
    handle = world.alice.share()
    os.close(world.low.retrieve(handle, 1))
    world.monitor.forget(world.low.connection)
    world.alice.succeeds(*world.alice.reclaim_registers(handle))
    for _ in range(16):
        world.alice.share()
    assert world.monitor.shares.held_for(LOW.id) == 16
    world.monitor.forget(world.alice.connection)
    assert world.monitor.shares.held_for(LOW.id) == 0


def shared_by(sender: int, receiver: int, page_count: int = 1, handle: int = 0) -> bytes:
    return Transaction.share(sender=sender, receiver=receiver, page_count=page_count, handle=handle).encode()


TWO_RECEIVERS = Transaction(
    sender=1,
    accesses=(MemoryAccess(receiver=LOW.id), MemoryAccess(receiver=HIGH.id)),
    ranges=(MemoryRange(address=0, page_count=1),),
).encode()


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (shared_by(2, LOW.id), FfaError.INVALID_PARAMETERS),
        (shared_by(1, LOW.id, handle=5), FfaError.INVALID_PARAMETERS),
        (shared_by(1, 2), FfaError.INVALID_PARAMETERS),
        (shared_by(1, 0x8000), FfaError.INVALID_PARAMETERS),
        (shared_by(1, LOW.id, page_count=2), FfaError.INVALID_PARAMETERS),
        (shared_by(1, LOW.id, page_count=0xFFFFFFFF), FfaError.INVALID_PARAMETERS),
        (shared_by(1, CLOSED.id), FfaError.DENIED),
        (TWO_RECEIVERS, FfaError.INVALID_PARAMETERS),
        (b"", FfaError.INVALID_PARAMETERS),
        (bytes(PAGE_BYTES), FfaError.INVALID_PARAMETERS),
        (b"\xff" * PAGE_BYTES, FfaError.INVALID_PARAMETERS),
        (RetrieveRequest(sender=1, receiver=LOW.id, handle=0).encode(), FfaError.INVALID_PARAMETERS),
    ],
)
def test_what_is_no_offer_of_this_memory_is_refused(world: World, payload: bytes, code: FfaError) -> None:
    for function in (FunctionId.MEM_SHARE_32, FunctionId.MEM_SHARE_64):
        assert world.alice.code(function, payload=payload, descriptors=(memory_file(PAGE_BYTES),)) is code
    assert world.monitor.shares.held_for(LOW.id) == 0


def test_no_descriptor_that_is_cut_off_anywhere_is_taken(world: World) -> None:
    handle = world.alice.share()
    calls = [
        (world.alice, FunctionId.MEM_SHARE_32, shared_by(1, LOW.id)),
        (world.low, FunctionId.MEM_RETRIEVE_REQ_32, world.low.retrieval(handle, 1)),
        (world.low, FunctionId.MEM_RELINQUISH, world.low.relinquishment(handle)),
    ]
    for caller, function, whole in calls:
        for length in range(len(whole)):
            descriptors = (memory_file(PAGE_BYTES),) if caller is world.alice else ()
            code = caller.code(function, payload=whole[:length], descriptors=descriptors)
            assert code is FfaError.INVALID_PARAMETERS, (function, length)


def pipe_end() -> int:
    readable, writable = os.pipe()
    os.close(writable)
    return readable


@pytest.mark.parametrize(
    "memory",
    [
        pytest.param(lambda: memory_file(PAGE_BYTES, seals=0), id="unsealed"),
        pytest.param(lambda: memory_file(PAGE_BYTES, seals=fcntl.F_SEAL_SHRINK), id="may grow"),
        pytest.param(lambda: memory_file(PAGE_BYTES, seals=SIZE_SEALS & ~fcntl.F_SEAL_SHRINK), id="may shrink"),
        pytest.param(lambda: memory_file(PAGE_BYTES - 1), id="no whole page"),
        pytest.param(lambda: memory_file(PAGE_BYTES + 1), id="more than said"),
        pytest.param(lambda: memory_file(0), id="empty"),
        pytest.param(lambda: os.open("/dev/zero", os.O_RDWR), id="a device"),
        pytest.param(lambda: os.open(__file__, os.O_RDONLY), id="a file"),
        pytest.param(lambda: os.open("/", os.O_PATH), id="a path"),
        pytest.param(pipe_end, id="a pipe"),
    ],
)
def test_only_memory_that_keeps_its_size_is_shared(world: World, memory: object) -> None:
    assert callable(memory)
    code = world.alice.code(FunctionId.MEM_SHARE_32, payload=shared_by(1, LOW.id), descriptors=(memory(),))
    assert code is FfaError.INVALID_PARAMETERS


def test_exactly_one_descriptor_comes_with_an_offer(world: World) -> None:
    for count in (0, 2, 4):
        descriptors = tuple(memory_file(PAGE_BYTES) for _ in range(count))
        code = world.alice.code(FunctionId.MEM_SHARE_32, payload=shared_by(1, LOW.id), descriptors=descriptors)
        assert code is FfaError.INVALID_PARAMETERS


def test_receiver_takes_no_larger_region_than_its_manifest_says(world: World) -> None:
    world.alice.share(page_count=4)
    memory = memory_file(5 * PAGE_BYTES)
    code = world.alice.code(FunctionId.MEM_SHARE_32, payload=shared_by(1, LOW.id, 5), descriptors=(memory,))
    assert code is FfaError.NO_MEMORY


@pytest.mark.parametrize("function", [FunctionId.VERSION, CHANNEL_OPEN, FunctionId.MEM_RECLAIM, 0xFFFFFFFF])
def test_descriptors_that_come_with_other_calls_are_closed(world: World, function: int) -> None:
    for caller in (world.alice, world.stranger):
        caller.call(function, LOW.id, descriptors=(memory_file(PAGE_BYTES), pipe_end()))


def test_a_retrieval_names_one_receiver_and_no_addresses(world: World) -> None:
    handle = world.alice.share()
    for payload in (shared_by(1, LOW.id, handle=handle), TWO_RECEIVERS):
        assert world.low.code(FunctionId.MEM_RETRIEVE_REQ_32, payload=payload) is FfaError.INVALID_PARAMETERS


def test_a_manager_without_descriptors_refuses_and_goes_on(world: World) -> None:
    handle = world.alice.share()
    with no_descriptor_left():
        code = world.low.code(FunctionId.MEM_RETRIEVE_REQ_32, payload=world.low.retrieval(handle, 1))
    assert code is FfaError.NO_MEMORY
    world.alice.succeeds(*world.alice.reclaim_registers(handle))


@pytest.mark.parametrize("function", WITH_DESCRIPTOR)
@pytest.mark.parametrize("words", [(0, 0), (-1, 0), (0, -1), (1, 1), (0, 0, 1), (0, 0, 0, 1)])
def test_a_descriptor_is_as_long_as_the_registers_say_and_comes_in_one_piece(
    world: World, function: int, words: tuple[int, ...]
) -> None:
    descriptors: tuple[int, ...] = ()
    if function in (FunctionId.MEM_SHARE_32, FunctionId.MEM_SHARE_64):
        payload = Transaction.share(sender=world.alice.id, receiver=LOW.id, page_count=1).encode()
        caller, descriptors = world.alice, (memory_file(PAGE_BYTES),)
    else:
        payload = world.low.retrieval(world.alice.share(), world.alice.id)
        caller = world.low
    first, second, *others = words
    wrong = (len(payload) + first, len(payload) + second, *others)
    if words == (0, 0):
        wrong = (0, 0)
    assert caller.code(function, *wrong, payload=payload, descriptors=descriptors) is FfaError.INVALID_PARAMETERS
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
