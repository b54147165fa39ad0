"""A partition's endpoint over real shared memory: whatever the words are, there is an answer with a proper status."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.abi.ffa import uuid_words
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.ts_rpc import (
    NO_MEMORY,
    PROTOCOL_VERSION,
    Call,
    Words,
    call_outcome,
    call_request,
    check,
    control_word,
    interface_in,
    memory_relinquish_request,
    memory_retrieve_request,
    service_info_request,
    status_of,
    version_in,
    version_request,
)
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.runtime.api import Caller, Reply, SlowWork
from edgeroot.secure.runtime.endpoint import Endpoint, Pending
from tests.support.partition_context import Files, Scripted

ALICE = Caller(7, 1)
ALICES_OTHER = Caller(7, 2)
BOB = Caller(8, 3)
HANDLE = 0x2000_0000_0001
SIZE = 4096


class Second(Scripted):
    uuid = UUID("00112233-4455-6677-8899-aabbccddee00")


class World:
    """An endpoint with two services, and a region of Alice's."""

    def __init__(self) -> None:
        self.files = Files()
        self.service, self.second = Scripted(), Second()
        self.endpoint = Endpoint([self.service, self.second], self.files, memory_slots=16)
        self.buffer = self.files.share(HANDLE, SIZE, source_id=ALICE.source_id)

    def close(self) -> None:
        for caller in (ALICE, ALICES_OTHER, BOB):
            self.endpoint.channel_closed(caller)
        self.buffer.close()
        self.files.close()

    def ask(self, words: Words, caller: Caller = ALICE) -> Words:
        answer = self.endpoint.answer(caller, words)
        assert not isinstance(answer, Pending)
        assert answer[0] == words[0]
        return answer

    def status(self, words: Words, caller: Caller = ALICE) -> RpcStatus:
        answer = self.ask(words, caller)
        if answer[1]:
            assert answer[2:] == (0, 0, 0)
        return status_of(answer[1])

    def retrieve(self, handle: int = HANDLE, caller: Caller = ALICE) -> RpcStatus:
        return self.status(memory_retrieve_request(handle), caller)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def with_memory(size: int = 0, *, handle: int = HANDLE, opcode: int = 5) -> Words:
    return call_request(Call(0, opcode, handle, size))


# The endpoint's own interface


def test_version_is_that_of_the_protocol(world: World) -> None:
    assert version_in(world.ask(version_request())) == PROTOCOL_VERSION == 1


def test_interfaces_are_numbered_in_the_order_of_the_services(world: World) -> None:
    assert interface_in(world.ask(service_info_request(Scripted.uuid))) == 0
    assert interface_in(world.ask(service_info_request(Second.uuid))) == 1


@pytest.mark.parametrize("words", [(0, 0, 0, 0), (0xFFFFFFFF,) * 4, (*uuid_words(Scripted.uuid)[:3], 0)])
def test_a_service_that_is_not_here_is_not_found(world: World, words: tuple[int, int, int, int]) -> None:
    assert world.status((control_word(0xFF, 3), *words)) is RpcStatus.NOT_FOUND


@pytest.mark.parametrize("opcode", [4, 5, 0x100, 0xFFFF])
def test_other_opcodes_of_the_management_are_invalid(world: World, opcode: int) -> None:
    assert world.status((control_word(0xFF, opcode), 0, 0, 0, 0)) is RpcStatus.INVALID_VALUE


# Calls


@pytest.mark.parametrize("interface", [2, 3, 0x10, 0x7F, 0xFE])
def test_an_unknown_interface_is_invalid_before_anything_else_is_looked_at(world: World, interface: int) -> None:
    for handle, size in ((NO_MEMORY, 0), (1, SIZE + 1)):
        assert world.status(call_request(Call(interface, 5, handle, size))) is RpcStatus.INVALID_VALUE


@pytest.mark.parametrize("high_bits", [0, 0x0100_0000, 0xFF00_0000])
def test_opcode_and_interface_are_their_own_bits_of_the_control_word_alone(world: World, high_bits: int) -> None:
    control = high_bits | control_word(1, 0xFFFF)
    assert call_outcome(world.ask((control, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0))) == (0, 0)
    assert world.second.calls == [(ALICE, 0xFFFF, b"", 0)]
    assert world.service.calls == []


def test_request_and_response_are_in_the_memory(world: World) -> None:
    assert world.retrieve() is RpcStatus.SUCCESS
    world.service.reply = lambda request: Reply(-140, request[::-1] + b"!")
    world.buffer[:5] = b"asked"
    assert call_outcome(world.ask(with_memory(3))) == (-140, 4)
    assert world.buffer[:6] == b"ksa!d\0"
    assert world.service.calls == [(ALICE, 5, b"ask", SIZE)]


@pytest.mark.parametrize("size", [SIZE + 1, 2 * SIZE, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_request_that_is_longer_than_the_memory_is_invalid(world: World, size: int) -> None:
    assert world.retrieve() is RpcStatus.SUCCESS
    assert world.status(with_memory(size)) is RpcStatus.INVALID_VALUE
    assert world.service.calls == []
    assert world.status(with_memory(SIZE)) is RpcStatus.SUCCESS


def test_a_call_without_memory_has_neither_request_nor_response(world: World) -> None:
    assert world.status(with_memory(1, handle=NO_MEMORY)) is RpcStatus.INVALID_VALUE
    assert world.service.calls == []
    world.service.reply = lambda _request: Reply(0, b"too much")
    assert world.status(with_memory(handle=NO_MEMORY)) is RpcStatus.INVALID_RESPONSE_BODY


@pytest.mark.parametrize("handle", [0, 1, HANDLE + 1, HANDLE & 0xFFFFFFFF, HANDLE ^ 1 << 63, NO_MEMORY - 1])
def test_a_handle_that_was_not_retrieved_is_not_found(world: World, handle: int) -> None:
    assert world.retrieve() is RpcStatus.SUCCESS
    assert world.status(with_memory(handle=handle)) is RpcStatus.NOT_FOUND
    assert world.status(memory_relinquish_request(handle)) is RpcStatus.NOT_FOUND
    assert world.service.calls == []


def test_a_response_that_is_longer_than_the_memory_is_a_status_of_the_service(world: World) -> None:
    assert world.retrieve() is RpcStatus.SUCCESS
    world.service.reply = lambda _request: Reply(0, bytes(SIZE + 1))
    assert call_outcome(world.ask(with_memory())) == (PsaStatus.BUFFER_TOO_SMALL, 0)
    world.service.reply = lambda _request: Reply(0, b"\1" * SIZE)
    assert call_outcome(world.ask(with_memory())) == (0, SIZE)
    assert world.buffer[:] == b"\1" * SIZE


def test_what_the_caller_writes_during_the_call_is_not_seen(world: World) -> None:
    """Between a service's check of the request and its use, the request stays what was checked."""
    assert world.retrieve() is RpcStatus.SUCCESS
    world.buffer[:4] = b"good"
    seen = []

    def reply(request: bytes) -> Reply:
        seen.append(bytes(request))
        world.buffer[:4] = b"evil"
        seen.append(bytes(request))
        return Reply(0, request)

    world.service.reply = reply
    assert call_outcome(world.ask(with_memory(4))) == (0, 4)
    assert seen == [b"good", b"good"]
    assert world.buffer[:4] == b"good"


def test_what_the_caller_writes_into_the_response_changes_no_answer(world: World) -> None:
    assert world.retrieve() is RpcStatus.SUCCESS
    answered = b"answer"
    world.service.reply = lambda _request: Reply(0, answered)
    for _ in range(2):
        world.ask(with_memory())
        assert world.buffer[:6] == b"answer"
        world.buffer[:6] = b"forged"
    assert answered == b"answer"


# Faults of services


@pytest.mark.parametrize(
    ("error", "rpc", "service"),
    [
        (RpcError(RpcStatus.INVALID_REQUEST_BODY), RpcStatus.INVALID_REQUEST_BODY, 0),
        (RpcError(RpcStatus.TRANSPORT_LAYER), RpcStatus.TRANSPORT_LAYER, 0),
        (PsaError(PsaStatus.NOT_PERMITTED), RpcStatus.SUCCESS, PsaStatus.NOT_PERMITTED),
        (ZeroDivisionError(), RpcStatus.INTERNAL, 0),
        (MemoryError(), RpcStatus.INTERNAL, 0),
        (RecursionError(), RpcStatus.INTERNAL, 0),
        (OSError(28, "No space left on device"), RpcStatus.INTERNAL, 0),
    ],
)
@pytest.mark.parametrize("is_slow", [False, True])
def test_what_a_service_raises_is_an_answer_and_the_next_call_is_served(
    world: World, error: Exception, rpc: RpcStatus, service: int, is_slow: bool
) -> None:
    def fail(_data: bytes) -> Reply:
        raise error

    world.service.reply = (lambda _request: SlowWork(b"task", fail)) if is_slow else fail
    assert world.retrieve() is RpcStatus.SUCCESS
    answer = world.endpoint.answer(ALICE, with_memory())
    if isinstance(answer, Pending):
        answer = answer.finish(b"result")
    assert (status_of(answer[1]), answer[2], answer[3]) == (rpc, service & 0xFFFFFFFF, 0)
    world.service.reply = lambda _request: Reply(1)
    assert call_outcome(world.ask(with_memory())) == (1, 0)


# Slow work


def test_slow_work_is_finished_with_its_result(world: World) -> None:
    assert world.retrieve() is RpcStatus.SUCCESS
    world.second.reply = lambda request: SlowWork(request + b"task", lambda result: Reply(2, result))
    world.buffer[:2] = b"a "
    pending = world.endpoint.answer(ALICE, call_request(Call(1, 5, HANDLE, 2)))
    assert isinstance(pending, Pending)
    assert (pending.service, pending.task) == (1, b"a task")
    assert call_outcome(pending.finish(b"done")) == (2, 4)
    assert world.buffer[:4] == b"done"
    assert call_outcome(pending.finish(PsaError(PsaStatus.INVALID_PADDING))) == (PsaStatus.INVALID_PADDING, 0)


def test_memory_that_is_given_back_before_slow_work_ends_is_not_written(world: World) -> None:
    assert world.retrieve() is RpcStatus.SUCCESS
    world.service.reply = lambda _request: SlowWork(b"", lambda result: Reply(0, result))
    pending = world.endpoint.answer(ALICE, with_memory())
    assert isinstance(pending, Pending)
    check(world.ask(memory_relinquish_request(HANDLE)))
    assert status_of(pending.finish(b"late")[1]) is RpcStatus.SUCCESS
    assert world.buffer[:4] == bytes(4)


# Memory


def test_memory_is_retrieved_once_and_given_back_once(world: World) -> None:
    assert world.status(memory_relinquish_request(HANDLE)) is RpcStatus.NOT_FOUND
    assert world.retrieve() is RpcStatus.SUCCESS
    assert world.retrieve() is RpcStatus.INVALID_VALUE
    assert world.status(memory_relinquish_request(HANDLE)) is RpcStatus.SUCCESS
    assert world.status(memory_relinquish_request(HANDLE)) is RpcStatus.NOT_FOUND
    assert world.files.given_back == [HANDLE]
    assert world.status(with_memory()) is RpcStatus.NOT_FOUND
    assert world.retrieve() is RpcStatus.SUCCESS


def test_another_sources_memory_does_not_exist(world: World) -> None:
    assert world.retrieve(caller=BOB) is RpcStatus.TRANSPORT_LAYER
    assert world.retrieve() is RpcStatus.SUCCESS
    assert world.retrieve(caller=BOB) is RpcStatus.TRANSPORT_LAYER
    assert world.status(with_memory(), BOB) is RpcStatus.NOT_FOUND
    assert world.status(memory_relinquish_request(HANDLE), BOB) is RpcStatus.NOT_FOUND
    assert world.service.calls == []
    assert world.status(with_memory()) is RpcStatus.SUCCESS


def test_sixteen_regions_for_each_source_and_failures_take_none(world: World) -> None:
    for handle in range(20):
        assert world.retrieve(handle) is RpcStatus.TRANSPORT_LAYER
    for handle in range(18):
        for caller in (ALICE, BOB):
            world.files.share(handle, source_id=caller.source_id).close()
    answers = [world.retrieve(handle, caller=(ALICE, ALICES_OTHER)[handle % 2]) for handle in range(18)]
    assert answers == [RpcStatus.SUCCESS] * 16 + [RpcStatus.NOT_FOUND] * 2
    assert world.retrieve(0, BOB) is RpcStatus.SUCCESS
    check(world.ask(memory_relinquish_request(3)))
    assert world.retrieve(17) is RpcStatus.SUCCESS


def test_regions_go_with_the_channel_that_they_came_over(world: World) -> None:
    world.files.share(2).close()
    assert world.retrieve() is RpcStatus.SUCCESS
    assert world.retrieve(2, ALICES_OTHER) is RpcStatus.SUCCESS
    world.endpoint.channel_closed(ALICE)
    assert world.files.given_back == [HANDLE]
    assert world.service.closed == world.second.closed == [ALICE]
    assert world.status(with_memory(), ALICES_OTHER) is RpcStatus.NOT_FOUND
    assert world.status(with_memory(handle=2), ALICES_OTHER) is RpcStatus.SUCCESS


WORD = st.integers(0, 0xFFFFFFFF) | st.sampled_from([0, 1, 5, 0xFF0000, 0xFF0001, 0xFF0002, 0x2000, SIZE, 0xFFFFFFFF])


@given(st.lists(st.tuples(WORD, WORD, WORD, WORD, WORD), max_size=20))
def test_whatever_the_words_are_there_is_a_proper_answer(requests: list[tuple[int, int, int, int, int]]) -> None:
    made = World()
    made.service.reply = made.second.reply = lambda request: Reply(0, request)
    try:
        for words in requests:
            answer = made.ask(words)
            assert all(0 <= word <= 0xFFFFFFFF for word in answer)
            if answer[0] != control_word(0xFF, 0) | answer[0] & 0xFF000000:
                assert answer[1] == 0 or -8 <= answer[1] - (1 << 32) < 0
    finally:
        made.close()
