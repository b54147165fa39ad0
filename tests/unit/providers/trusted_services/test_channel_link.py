"""A worker's link to a service, over sockets to a secure world in threads whose answers the tests decide."""

from __future__ import annotations

import gc
import os
import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from queue import Queue
from threading import Event
from time import monotonic, sleep

import pytest

from edgeroot.abi.emulation import CHANNEL_OPEN
from edgeroot.abi.ffa import FfaError, FunctionId
from edgeroot.abi.rpc_status import RpcStatus
from edgeroot.abi.services import ATTESTATION, CRYPTO
from edgeroot.abi.ts_rpc import ManagementOpcode, Words
from edgeroot.providers.api import BackEndAnswer, BackEndCall
from edgeroot.providers.trusted_services import native
from edgeroot.providers.trusted_services.errors import RefusedCallError
from edgeroot.providers.trusted_services.native import ChannelLink
from edgeroot.psa import PsaStatus
from tests.support.scripted_world import ScriptedWorld, ServiceCall, error, scripted_world

BUFFER_BYTES = 4096
BUFFERS = 4
ALICE, BOB = "alice", "bob"
_WAIT_S = 10.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ScriptedWorld]:
    with scripted_world(tmp_path / "spm.sock") as running:
        yield running


@contextmanager
def linked(world: ScriptedWorld, *, buffers: int) -> Iterator[ChannelLink]:
    """A link that is closed in the end; a worker's own ends with its process."""
    made = ChannelLink(world.path, CRYPTO, buffers=buffers, buffer_bytes=BUFFER_BYTES)
    yield made
    if made._channel is not None:
        made._channel.close()
    if made._transport is not None:
        made._transport.close()


@pytest.fixture
def link(world: ScriptedWorld) -> Iterator[ChannelLink]:
    with linked(world, buffers=BUFFERS) as made:
        yield made


@pytest.fixture
def calls(world: ScriptedWorld) -> Queue[ServiceCall]:
    """The calls that have reached the partition, which answers none of them by itself."""
    arrived: Queue[ServiceCall] = Queue()
    world.on_call = arrived.put
    return arrived


def call(link: ChannelLink, opcode: int = 1, request: bytes = b"", *, slow: bool = False) -> BackEndCall:
    return BackEndCall(link, opcode, request, slow)


def submit(link: ChannelLink, numbers: Sequence[int], user: object = ALICE, *, slow: bool = False) -> None:
    """Calls whose opcodes are their numbers."""
    for number in numbers:
        assert link.submit(number, user, call(link, number, slow=slow)) is None
    assert link.flush() == []


def arrived(calls: Queue[ServiceCall], count: int) -> list[ServiceCall]:
    """The next ones; there must not be more."""
    found = [calls.get(timeout=_WAIT_S) for _ in range(count)]
    sleep(0.02)
    assert calls.empty()
    return found


def collected(link: ChannelLink, count: int) -> dict[int, BackEndAnswer]:
    """So many answers, in any order, as a loop would get them. What now finds a buffer is sent."""
    answers: dict[int, BackEndAnswer] = {}
    until_s = monotonic() + _WAIT_S
    while len(answers) < count:
        assert monotonic() < until_s
        if link.fileno() >= 0:
            select.select([link.fileno()], [], [], 1)
        for number, answer in link.collect():
            assert number not in answers
            answers[number] = answer
        answers.update(link.flush())
    return answers


def status_of(answer: BackEndAnswer | None) -> PsaStatus:
    assert answer is not None
    assert answer.error is not None
    return answer.error.status


class TestCalls:
    def test_a_call_and_its_answer(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        assert (link.fileno(), link.connections) == (-1, 0)
        assert link.submit(7, ALICE, call(link, 0x101, b"the request")) is None
        assert link.fileno() >= 0
        assert link.connections == 1
        assert calls.empty()  # before the flush
        assert link.flush() == []
        [one] = arrived(calls, 1)
        assert (one.opcode, one.request) == (0x101, b"the request")
        assert link.collect() == []
        one.reply(-137, b"the response")
        assert collected(link, 1) == {7: BackEndAnswer(-137, b"the response")}

    def test_answers_come_in_any_order(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        submit(link, [1, 2, 3])
        for one in reversed(arrived(calls, 3)):
            one.reply(one.opcode, bytes((one.opcode,)))
        assert collected(link, 3) == {number: BackEndAnswer(number, bytes((number,))) for number in (1, 2, 3)}

    def test_each_call_under_way_has_a_buffer_to_itself(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        for number in range(BUFFERS):
            assert link.submit(number, ALICE, call(link, number, bytes((number,)) * 100)) is None
        link.flush()
        assert {one.request for one in arrived(calls, BUFFERS)} == {bytes((number,)) * 100 for number in range(BUFFERS)}

    def test_a_request_fills_its_buffer_and_no_more(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        failure = link.submit(1, ALICE, call(link, 1, bytes(BUFFER_BYTES + 1)))
        assert status_of(failure) is PsaStatus.INSUFFICIENT_MEMORY
        assert link.submit(2, ALICE, call(link, 2, bytes(BUFFER_BYTES))) is None
        link.flush()
        assert len(arrived(calls, 1)[0].request) == BUFFER_BYTES

    def test_a_waiting_request_that_does_not_fit(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        submit(link, range(BUFFERS))
        assert link.submit(8, ALICE, call(link, 8, bytes(BUFFER_BYTES + 1))) is None
        assert link.submit(9, ALICE, call(link, 9)) is None
        arrived(calls, BUFFERS)[0].reply()
        answers = collected(link, 2)
        assert status_of(answers[8]) is PsaStatus.INSUFFICIENT_MEMORY
        assert [one.opcode for one in arrived(calls, 1)] == [9]

    def test_a_call_that_reached_no_service(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        submit(link, [1])
        arrived(calls, 1)[0].refuse(RpcStatus.INVALID_REQUEST_BODY)
        answer = collected(link, 1)[1]
        assert isinstance(answer.error, RefusedCallError)

    def test_a_busy_partition(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        submit(link, [1])
        arrived(calls, 1)[0].error(FfaError.BUSY)
        assert status_of(collected(link, 1)[1]) is PsaStatus.CONNECTION_BUSY
        submit(link, [2])
        arrived(calls, 1)[0].reply()
        assert collected(link, 1) == {2: BackEndAnswer()}

    def test_a_channel_that_takes_no_more(self, link: ChannelLink, world: ScriptedWorld) -> None:
        """The partition does not read: calls fail at once, and their buffers are free again."""
        reads_again = Event()
        world.on_call = lambda _call: assert_true(reads_again.wait(_WAIT_S))
        submit(link, [2])
        assert link._channel is not None
        frame = bytes(40)
        try:
            while True:
                link._channel._socket.send(frame)
        except BlockingIOError:
            pass
        assert link.submit(3, ALICE, call(link, 3)) is None
        [(number, answer)] = link.flush()
        assert number == 3
        assert status_of(answer) is PsaStatus.CONNECTION_BUSY
        assert len(link._free) == BUFFERS - 1
        reads_again.set()


def assert_true(value: bool) -> None:
    assert value


class TestTurns:
    def test_no_more_calls_are_under_way_than_there_are_buffers(
        self, link: ChannelLink, calls: Queue[ServiceCall]
    ) -> None:
        submit(link, range(10))
        first = arrived(calls, BUFFERS)
        assert [one.opcode for one in first] == [0, 1, 2, 3]
        first[2].reply()
        assert set(collected(link, 1)) == {2}
        assert [one.opcode for one in arrived(calls, 1)] == [4]

    def test_users_have_their_turns(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        submit(link, range(8), ALICE)
        submit(link, [100, 101], BOB)
        assert _order(link, calls, 10) == [0, 1, 2, 3, 4, 100, 5, 101, 6, 7]

    def test_slow_calls_get_half_of_the_buffers(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        submit(link, range(10), slow=True)
        slow = arrived(calls, BUFFERS // 2)
        submit(link, [20, 21, 22])
        quick = arrived(calls, 2)
        assert [one.opcode for one in quick] == [20, 21]
        quick[0].reply()
        assert set(collected(link, 1)) == {20}
        assert [one.opcode for one in arrived(calls, 1)] == [22]
        slow[0].reply()
        assert set(collected(link, 1)) == {0}
        assert [one.opcode for one in arrived(calls, 1)] == [2]

    def test_a_link_with_one_buffer_takes_slow_calls_too(self, world: ScriptedWorld, calls: Queue[ServiceCall]) -> None:
        with linked(world, buffers=1) as link:
            submit(link, [1, 2], slow=True)
            submit(link, [3, 4])
            assert _order(link, calls, 4) == [1, 3, 2, 4]

    def test_quick_calls_do_not_keep_slow_ones_waiting_for_ever(
        self, link: ChannelLink, calls: Queue[ServiceCall]
    ) -> None:
        submit(link, range(8), ALICE)
        submit(link, [100, 101, 102], BOB, slow=True)
        submit(link, range(8, 12), ALICE)
        order = _order(link, calls, 15)
        assert order.index(100) < 6
        assert order.index(102) < 10
        assert [number for number in order if number < 100] == list(range(12))


def _order(link: ChannelLink, calls: Queue[ServiceCall], count: int) -> list[int]:
    """In which order calls are carried out if each is answered as soon as it is there."""
    order: list[int] = []
    while len(order) < count:
        one = calls.get(timeout=_WAIT_S)
        order.append(one.opcode)
        one.reply()
        collected(link, 1)
    return order


class TestForget:
    def test_nobody_is_told_of_a_call_that_was_forgotten_under_way(
        self, link: ChannelLink, calls: Queue[ServiceCall]
    ) -> None:
        submit(link, range(BUFFERS + 1))
        under_way = arrived(calls, BUFFERS)
        link.forget(0)
        under_way[0].reply(0, b"late")
        [next_one] = _after_collecting(link, calls)  # its buffer is free again
        assert next_one.opcode == BUFFERS
        next_one.reply()
        under_way[1].reply()
        assert set(collected(link, 2)) == {1, BUFFERS}

    def test_its_buffer_is_not_given_to_another_before_the_answer(
        self, link: ChannelLink, calls: Queue[ServiceCall]
    ) -> None:
        submit(link, range(BUFFERS))
        arrived(calls, BUFFERS)
        link.forget(0)
        submit(link, [9])
        arrived(calls, 0)

    def test_a_waiting_call_that_was_forgotten_is_never_sent(
        self, link: ChannelLink, calls: Queue[ServiceCall]
    ) -> None:
        submit(link, range(BUFFERS + 3))
        link.forget(BUFFERS)
        link.forget(BUFFERS + 2)
        under_way = arrived(calls, BUFFERS)
        for one in under_way:
            one.reply()
        assert set(collected(link, BUFFERS)) == set(range(BUFFERS))
        assert [one.opcode for one in arrived(calls, 1)] == [BUFFERS + 1]

    def test_what_is_forgotten_is_kept_nowhere(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        """A partition that hangs while its callers come and go must not cost memory."""
        submit(link, range(BUFFERS))
        arrived(calls, BUFFERS)
        for number in range(BUFFERS, 100):
            submit(link, [number], number % 3, slow=number % 2 == 0)
            link.forget(number)
        link.forget(12345)
        assert not link._waiting
        assert not link._slow_waiting
        assert not link._forgotten

    def test_a_forgotten_call_that_cannot_be_sent(self, link: ChannelLink, world: ScriptedWorld) -> None:
        submit(link, [1])
        collected(link, 1)
        world.kill_partition()
        assert link.submit(2, ALICE, call(link)) is None
        link.forget(2)
        assert link.flush() == []
        assert not link._forgotten


def _after_collecting(link: ChannelLink, calls: Queue[ServiceCall]) -> list[ServiceCall]:
    until_s = monotonic() + _WAIT_S
    while calls.empty() and monotonic() < until_s:
        assert link.collect() == []
        link.flush()
        sleep(0.001)
    return arrived(calls, 1)


class TestLoss:
    def test_a_partition_that_ends(self, link: ChannelLink, world: ScriptedWorld, calls: Queue[ServiceCall]) -> None:
        submit(link, range(BUFFERS + 2))
        submit(link, [50], slow=True)
        arrived(calls, BUFFERS)
        link.forget(1)
        world.answers[CHANNEL_OPEN] = lambda _asked: error(FfaError.RETRY)
        world.kill_partition()
        answers = collected(link, BUFFERS - 1)
        assert set(answers) == {0, 2, 3}
        assert {status_of(answer) for answer in answers.values()} == {PsaStatus.COMMUNICATION_FAILURE}
        assert link.fileno() == -1
        assert link.collect() == []

    def test_what_it_never_had_waits_for_it(
        self, link: ChannelLink, world: ScriptedWorld, calls: Queue[ServiceCall]
    ) -> None:
        submit(link, range(BUFFERS + 2))
        submit(link, [50], slow=True)
        arrived(calls, BUFFERS)
        world.answers[CHANNEL_OPEN] = lambda _asked: error(FfaError.RETRY)
        world.kill_partition()
        assert set(collected(link, BUFFERS)) == set(range(BUFFERS))
        submit(link, [60], BOB)
        sleep(0.1)
        assert link.flush() == []
        assert link.fileno() == -1
        link.forget(5)
        del world.answers[CHANNEL_OPEN]
        _wait_until_due(link)
        assert link.flush() == []
        assert link.due_s == inf
        left = arrived(calls, 3)
        assert {one.opcode for one in left} == {4, 50, 60}
        for one in left:
            one.reply()
        assert collected(link, 3) == {4: BackEndAnswer(), 50: BackEndAnswer(), 60: BackEndAnswer()}

    def test_the_next_call_connects_again(
        self, link: ChannelLink, world: ScriptedWorld, calls: Queue[ServiceCall]
    ) -> None:
        submit(link, [1, 2], slow=True)
        arrived(calls, 2)
        world.kill_partition()
        collected(link, 2)
        _let_it_try_again(link)
        submit(link, [3, 4], slow=True)
        assert link.connections == 2
        for one in arrived(calls, 2):
            one.reply()
        assert collected(link, 2) == {3: BackEndAnswer(), 4: BackEndAnswer()}

    def test_nothing_stays_open(self, link: ChannelLink, world: ScriptedWorld, calls: Queue[ServiceCall]) -> None:
        counts = []
        gc.collect()  # what earlier tests have left
        for number in range(4):
            _let_it_try_again(link)
            submit(link, [number])
            arrived(calls, 1)
            world.kill_partition()
            collected(link, 1)
            theirs = len(world.memory) + len(world.channels) + len(world.connections)
            counts.append(len(os.listdir("/proc/self/fd")) - theirs)
        assert len(set(counts)) == 1

    def test_an_answer_that_nobody_asked_for(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        submit(link, [1, 2])
        first, _second = arrived(calls, 2)
        first.reply()
        first.reply()
        answers = collected(link, 2)
        assert answers[1] == BackEndAnswer()
        assert status_of(answers[2]) is PsaStatus.COMMUNICATION_FAILURE
        assert link.fileno() == -1

    def test_an_answer_that_is_no_frame(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        submit(link, [1])
        arrived(calls, 1)[0].channel.send(b"what?")
        assert status_of(collected(link, 1)[1]) is PsaStatus.COMMUNICATION_FAILURE
        assert link.fileno() == -1

    def test_a_response_that_is_longer_than_the_buffer(self, link: ChannelLink, calls: Queue[ServiceCall]) -> None:
        submit(link, [1])
        one = arrived(calls, 1)[0]
        one.words((one.frame[3], 0, 0, 0xFFFFFFFF, 0))
        assert len(collected(link, 1)[1].response) == BUFFER_BYTES


class TestConnecting:
    def test_no_secure_world(self, tmp_path: Path) -> None:
        link = ChannelLink(tmp_path / "none", CRYPTO, buffers=1, buffer_bytes=BUFFER_BYTES)
        assert status_of(link.submit(1, ALICE, call(link))) is PsaStatus.COMMUNICATION_FAILURE
        assert (link.fileno(), link.connections, link.flush()) == (-1, 0, [])

    def test_a_service_that_nobody_offers(self, world: ScriptedWorld) -> None:
        link = ChannelLink(world.path, ATTESTATION, buffers=1, buffer_bytes=BUFFER_BYTES)
        assert status_of(link.submit(1, ALICE, call(link))) is PsaStatus.NOT_SUPPORTED

    def test_a_partition_that_is_starting_is_waited_for(self, link: ChannelLink, world: ScriptedWorld) -> None:
        world.answers[CHANNEL_OPEN] = lambda _asked: error(FfaError.RETRY)
        submit(link, [1, 2])
        assert link.due_s <= monotonic() + native._RECONNECT_S
        del world.answers[CHANNEL_OPEN]
        _wait_until_due(link)
        assert link.flush() == []
        assert collected(link, 2) == {1: BackEndAnswer(), 2: BackEndAnswer()}

    def test_a_call_that_comes_just_when_it_is_ready_waits_with_the_others(
        self, link: ChannelLink, world: ScriptedWorld, calls: Queue[ServiceCall]
    ) -> None:
        world.answers[CHANNEL_OPEN] = lambda _asked: error(FfaError.RETRY)
        submit(link, [1])
        submit(link, [2], slow=True)
        del world.answers[CHANNEL_OPEN]
        _wait_until_due(link)
        submit(link, [3], BOB)
        assert {one.opcode for one in arrived(calls, 3)} == {1, 2, 3}

    def test_one_that_does_not_get_ready_is_waited_for_once(
        self, link: ChannelLink, world: ScriptedWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(native, "_PATIENCE_S", 0.2)
        world.answers[CHANNEL_OPEN] = lambda _asked: error(FfaError.RETRY)
        submit(link, [1])
        submit(link, [2], slow=True)
        failures: list[tuple[int, BackEndAnswer]] = []
        while not failures:
            _wait_until_due(link)
            failures = link.flush()
        assert [number for number, _answer in failures] == [1, 2]
        assert {status_of(answer) for _number, answer in failures} == {PsaStatus.COMMUNICATION_FAILURE}
        assert link.due_s == inf
        assert status_of(link.submit(3, ALICE, call(link))) is PsaStatus.COMMUNICATION_FAILURE

    def test_a_refusal_ends_the_wait(self, link: ChannelLink, world: ScriptedWorld) -> None:
        world.answers[CHANNEL_OPEN] = lambda _asked: error(FfaError.RETRY)
        submit(link, [1])
        world.answers[CHANNEL_OPEN] = lambda _asked: error(FfaError.DENIED)
        _wait_until_due(link)
        [(number, answer)] = link.flush()
        assert (number, status_of(answer)) == (1, PsaStatus.COMMUNICATION_FAILURE)
        assert link.due_s == inf

    def test_after_a_failure_there_is_a_pause(self, link: ChannelLink, world: ScriptedWorld) -> None:
        world.answers[FunctionId.VERSION] = lambda _asked: error(FfaError.DENIED)
        for number in range(20):
            assert status_of(link.submit(number, ALICE, call(link))) is PsaStatus.COMMUNICATION_FAILURE
        assert world.asked.count(FunctionId.VERSION) == 1

    def test_a_partition_that_hangs_costs_a_small_share_of_the_time(
        self, link: ChannelLink, world: ScriptedWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(native, "_SETUP_S", 0.05)
        world.management[ManagementOpcode.VERSION_GET] = too_late
        began_s = monotonic()
        assert status_of(link.submit(1, ALICE, call(link))) is PsaStatus.COMMUNICATION_FAILURE
        took_s = monotonic() - began_s
        assert took_s >= 0.05
        assert link._next_try_s - monotonic() > 3 * took_s

    def test_memory_that_is_refused(self, link: ChannelLink, world: ScriptedWorld) -> None:
        world.answers[FunctionId.MEM_SHARE_32] = lambda _asked: error(FfaError.NO_MEMORY)
        assert status_of(link.submit(1, ALICE, call(link))) is PsaStatus.COMMUNICATION_FAILURE
        assert link.fileno() == -1


def too_late(_words: Words) -> bytes:
    sleep(0.2)
    return b""


def _wait_until_due(link: ChannelLink) -> None:
    assert link.due_s < inf
    while monotonic() < link.due_s:
        sleep(0.001)


def _let_it_try_again(link: ChannelLink) -> None:
    link._next_try_s = 0.0
