"""An execution context: which frames it answers how, whose turn it is, and what outlives a channel."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeroot.abi.emulation import CHANNEL_CLOSED, FRAME
from edgeroot.abi.ffa import FfaError, FunctionId, signed
from edgeroot.abi.rpc_status import RpcStatus
from edgeroot.abi.ts_rpc import (
    Call,
    call_outcome,
    call_request,
    check,
    memory_retrieve_request,
    status_of,
    version_in,
    version_request,
)
from edgeroot.secure.runtime import context as context_module
from edgeroot.secure.runtime.api import Reply
from edgeroot.secure.runtime.frames import receive_frame
from edgeroot.secure.runtime.manager import ManagerGoneError
from tests.support.partition_context import OWN_ID, SOURCE, CallerEnd, Scripted, turning

REQUEST, REQUEST_64 = FunctionId.MSG_SEND_DIRECT_REQ_32, FunctionId.MSG_SEND_DIRECT_REQ_64
RESPONSE, RESPONSE_64 = FunctionId.MSG_SEND_DIRECT_RESP_32, FunctionId.MSG_SEND_DIRECT_RESP_64
ROUTE = SOURCE << 16 | OWN_ID
BACK = OWN_ID << 16 | SOURCE
NOTHING = call_request(Call(0, 5))


def refused_with(frame: tuple[int, ...]) -> FfaError:
    assert frame[0] == FunctionId.ERROR
    return FfaError(signed(frame[2]))


def test_answer_goes_the_way_back_and_repeats_the_tag() -> None:
    with turning(Scripted()) as world:
        caller = world.channel()
        caller.ask(version_request(), tag=0xFEDC_BA98_7654_3210)
        world.turn()
        frame = caller.answer()
    assert frame[:3] == (RESPONSE, BACK, 0)
    assert frame[8] == 0xFEDC_BA98_7654_3210
    assert version_in(frame[3:8]) == 1


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ((FunctionId.VERSION, ROUTE, 0), FfaError.NOT_SUPPORTED),
        ((FunctionId.MEM_SHARE_32, ROUTE, 0), FfaError.NOT_SUPPORTED),
        ((RESPONSE, ROUTE, 0), FfaError.NOT_SUPPORTED),
        ((0, 0, 0), FfaError.NOT_SUPPORTED),
        ((0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF), FfaError.NOT_SUPPORTED),
        ((REQUEST, (SOURCE + 1) << 16 | OWN_ID, 0), FfaError.DENIED),
        ((REQUEST, SOURCE << 16 | OWN_ID + 1, 0), FfaError.DENIED),
        ((REQUEST, BACK, 0), FfaError.DENIED),
        ((REQUEST_64, OWN_ID, 0), FfaError.DENIED),
        ((REQUEST, ROUTE, 1), FfaError.INVALID_PARAMETERS),
        ((REQUEST, ROUTE, 1 << 31), FfaError.INVALID_PARAMETERS),
    ],
)
def test_frame_that_is_no_direct_request_of_this_channel_reaches_no_service(
    numbers: tuple[int, int, int], code: FfaError
) -> None:
    service = Scripted()
    with turning(service) as world:
        caller = world.channel()
        caller.send(*numbers, *NOTHING, 3)
        world.turn()
        frame = caller.answer()
    assert refused_with(frame) is code
    assert frame[8] == 3
    assert service.calls == []


def test_request_of_64_bits_is_answered_in_its_width_without_a_call() -> None:
    service = Scripted()
    with turning(service) as world:
        caller = world.channel()
        caller.send(REQUEST_64, ROUTE, 0, *NOTHING, 3)
        world.turn()
        frame = caller.answer()
    assert frame[:2] == (RESPONSE_64, BACK)
    assert status_of(frame[4]) is RpcStatus.INVALID_VALUE
    assert service.calls == []


@pytest.mark.parametrize("length", [1, FRAME.size - 1, FRAME.size + 1, 60000])
def test_datagram_of_another_length_is_refused_and_the_channel_goes_on(length: int) -> None:
    with turning(Scripted()) as world:
        caller = world.channel()
        caller.socket.send(FRAME.pack(REQUEST, ROUTE, 0, *version_request(), 9).ljust(length, b"\1")[:length])
        world.turn()
        frame = caller.answer()
        assert refused_with(frame) is FfaError.INVALID_PARAMETERS
        assert frame[8] == (9 if length >= FRAME.size - 1 else 0)
        caller.ask(version_request())
        world.turn()
        assert version_in(caller.answer()[3:8]) == 1


def test_service_is_told_source_and_channel_that_nobody_can_choose() -> None:
    service = Scripted()
    with turning(service) as world:
        for caller in (world.channel(), world.channel(), world.channel(SOURCE + 1)):
            caller.ask(call_request(Call(0, 5, client_id=99)))
            world.turn()
    callers = [caller for caller, *_ in service.calls]
    assert [caller.source_id for caller in callers] == [SOURCE, SOURCE, SOURCE + 1]
    assert len({caller.channel for caller in callers}) == 3


def test_only_a_full_queue_is_busy_and_only_its_own_channels() -> None:
    with turning(Scripted(), queue_depth=4) as world:
        greedy, modest = world.channel(), world.channel()
        for tag in range(7):
            greedy.ask(NOTHING, tag)
        for tag in range(4):
            modest.ask(NOTHING, tag)
        world.turn()
        answers = greedy.answers()
        assert {frame[8] for frame in answers if frame[0] == RESPONSE} == {0, 1, 2, 3}
        busy = [frame for frame in answers if frame[0] != RESPONSE]
        assert [refused_with(frame) for frame in busy] == [FfaError.BUSY] * 3
        assert [frame[8] for frame in busy] == [4, 5, 6]
        assert [(frame[0], frame[8]) for frame in modest.answers()] == [(RESPONSE, tag) for tag in range(4)]
        greedy.ask(NOTHING, 7)
        world.turn()
        assert greedy.answer()[0] == RESPONSE


def test_a_channel_with_much_to_do_lets_others_through() -> None:
    service = Scripted()
    with turning(service, queue_depth=64) as world:
        greedy, modest = world.channel(), world.channel(SOURCE + 1)
        for tag in range(40):
            greedy.ask(NOTHING, tag)
        world.turn()
        modest.ask(NOTHING)
        world.turn()
        sources = [caller.source_id for caller, *_ in service.calls]
        assert SOURCE + 1 in sources
        assert sources.count(SOURCE) < 40
        while sources.count(SOURCE) < 40:
            world.turn()
            sources = [caller.source_id for caller, *_ in service.calls]
        assert sorted(frame[8] for frame in greedy.answers()) == list(range(40))


def test_a_source_with_many_channels_takes_no_more_of_a_turn_than_another_one() -> None:
    service = Scripted()
    with turning(service, queue_depth=32) as world:
        greedy = [world.channel() for _ in range(10)]
        modest = world.channel(SOURCE + 1)
        for tag in range(8):
            for caller in (*greedy, modest):
                caller.ask(NOTHING, tag)
        sources: list[int] = []
        while len(sources) < 88:
            world.turn()
            sources = [caller.source_id for caller, *_ in service.calls]
        first_of_modest = sources.index(SOURCE + 1)
        last_of_modest = 87 - sources[::-1].index(SOURCE + 1)
        assert first_of_modest <= 4
        assert last_of_modest <= 16
        for caller in (*greedy, modest):
            assert [frame[8] for frame in caller.answers()] == list(range(8))


def test_a_source_that_is_alone_is_served_from_all_of_its_channels_in_a_turn() -> None:
    service = Scripted()
    with turning(service) as world:
        callers = [world.channel() for _ in range(5)]
        for caller in callers:
            caller.ask(NOTHING)
        world.turn()
        assert all(caller.answer()[0] == RESPONSE for caller in callers)


def fault(_request: bytes) -> Reply:
    raise ZeroDivisionError


def test_a_service_that_raises_leaves_the_context_serving() -> None:
    service = Scripted(fault)
    with turning(service) as world:
        caller = world.channel()
        caller.ask(NOTHING)
        world.turn()
        frame = caller.answer()
        assert frame[0] == RESPONSE
        assert status_of(frame[4]) is RpcStatus.INTERNAL
        service.reply = lambda _request: Reply(5)
        caller.ask(NOTHING)
        world.turn()
        assert call_outcome(caller.answer()[3:8]).service_status == 5


def test_what_belongs_to_a_channel_ends_with_it() -> None:
    service = Scripted()
    with turning(service) as world:
        caller, other = world.channel(), world.channel()
        for end, handle in ((caller, 1), (other, 2)):
            with world.files.share(handle):
                end.ask(memory_retrieve_request(handle))
                world.turn()
                check(end.answer()[3:8])
        caller.socket.close()
        world.turn()
        assert len(service.closed) == 1
        assert world.files.given_back == [1]
        other.ask(call_request(Call(0, 5, handle=2)))
        world.turn()
        assert call_outcome(other.answer()[3:8]).service_status == 0


def test_the_manager_is_told_which_channel_has_ended() -> None:
    with turning(Scripted()) as world:
        world.channel(number=5)
        caller = world.channel(number=0xFFFFFFFE)
        with pytest.raises(BlockingIOError):
            receive_frame(world.control)
        caller.socket.close()
        world.turn()
        told = receive_frame(world.control)
    assert told is not None
    assert told.frame[:2] == (CHANNEL_CLOSED, 0xFFFFFFFE)


def leaves(caller: CallerEnd) -> None:
    caller.socket.close()


def reads_nothing_more(caller: CallerEnd) -> None:
    caller.socket.shutdown(0)


@pytest.mark.parametrize("act", [leaves, reads_nothing_more])
def test_a_caller_that_goes_while_several_of_its_requests_wait_harms_nobody(
    act: Callable[[CallerEnd], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_module, "_LONGEST_HOLD_NS", 0)  # each answer leaves alone, as after long work
    service = Scripted()
    with turning(service) as world:
        caller, other = world.channel(), world.channel()

        def reply(_request: bytes) -> Reply:
            act(caller)
            return Reply()

        for tag in range(4):
            caller.ask(NOTHING, tag)
        service.reply = reply
        world.turn()
        assert len(service.calls) == 1
        service.reply = lambda _request: Reply()
        other.ask(NOTHING)
        world.turn()
        assert other.answer()[0] == RESPONSE


def test_an_empty_datagram_ends_the_channel_as_its_end_does() -> None:
    service = Scripted()
    with turning(service) as world:
        caller = world.channel()
        caller.socket.send(b"")
        world.turn()
        assert len(service.closed) == 1
        with pytest.raises(EOFError):
            caller.answers()


def test_a_caller_that_reads_no_answers_loses_its_channel() -> None:
    service = Scripted()
    with turning(service, queue_depth=8) as world:
        caller = world.channel()
        for tag in range(100_000):
            try:
                caller.ask(NOTHING, tag)
            except OSError:
                break
            world.turn()
        assert len(service.closed) == 1


def test_the_context_ends_with_the_manager() -> None:
    with turning(Scripted()) as world:
        world.control.close()
        with pytest.raises(ManagerGoneError):
            world.turn()
