"""Slow contexts: one piece of work at a time, in turn by source, and whatever it ends with is told."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from edgeroot.abi.ffa import FfaError, FunctionId, signed
from edgeroot.abi.ts_rpc import NO_MEMORY, Call, call_outcome, call_request, memory_retrieve_request, version_request
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.runtime.api import Caller, Reply, SlowWork
from edgeroot.secure.runtime.lanes import Lanes, run_lane
from tests.support.partition_context import SOURCE, Scripted, turning

ALICE, BOB = Caller(7, 1), Caller(8, 2)
LONGEST = 160 * 1024 - 5


@contextmanager
def lanes_of(*works: Callable[[bytes], bytes]) -> Iterator[list[socket.socket]]:
    """Slow contexts that do this work, each in a thread; the ends of who gives it."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in works]

    class Service(Scripted):
        def __init__(self, work: Callable[[bytes], bytes]) -> None:
            super().__init__()
            self.do = work

        def work(self, task: bytes) -> bytes:
            return self.do(task)

    threads = [
        Thread(target=run_lane, args=([theirs], [Scripted(), Service(work)]), daemon=True)
        for (_, theirs), work in zip(pairs, works, strict=True)
    ]
    for (ours, _), thread in zip(pairs, threads, strict=True):
        ours.settimeout(20)
        thread.start()
    try:
        yield [ours for ours, _ in pairs]
    finally:
        for ours, _ in pairs:
            ours.close()
        for thread in threads:
            thread.join(20)


class Results:
    """What has come of tasks, by their names."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.of: dict[str, bytes | PsaError] = {}

    def done(self, name: str) -> Callable[[bytes | PsaError], None]:
        def done(result: bytes | PsaError) -> None:
            self.order.append(name)
            self.of[name] = result

        return done


def test_work_is_done_by_the_service_that_it_is_for() -> None:
    results = Results()
    with lanes_of(lambda task: task.upper()) as sockets:
        lanes = Lanes(sockets)
        lanes.submit(ALICE, 1, b"task", results.done("a"))
        lanes.hear(sockets[0].fileno())
        lanes.submit(ALICE, 0, b"task", results.done("b"))
        lanes.hear(sockets[0].fileno())
    assert results.of == {"a": b"TASK", "b": b"ksat"}


def psa_error(_task: bytes) -> bytes:
    raise PsaError(PsaStatus.INVALID_PADDING)


def fault(_task: bytes) -> bytes:
    raise ZeroDivisionError


@pytest.mark.parametrize(("work", "status"), [(psa_error, PsaStatus.INVALID_PADDING), (fault, PsaStatus.GENERIC_ERROR)])
def test_work_that_fails_is_told_and_the_lane_goes_on(work: Callable[[bytes], bytes], status: PsaStatus) -> None:
    results = Results()
    with lanes_of(work) as sockets:
        lanes = Lanes(sockets)
        lanes.submit(ALICE, 1, b"task", results.done("bad"))
        lanes.submit(ALICE, 0, b"task", results.done("good"))
        lanes.hear(sockets[0].fileno())
        lanes.hear(sockets[0].fileno())
    error = results.of["bad"]
    assert isinstance(error, PsaError)
    assert error.status is status
    assert results.of["good"] == b"ksat"


def test_the_longest_task_passes_and_a_longer_one_is_refused_at_once() -> None:
    results = Results()
    with lanes_of(lambda task: b"%d" % len(task)) as sockets:
        lanes = Lanes(sockets)
        lanes.submit(ALICE, 1, bytes(LONGEST), results.done("longest"))
        lanes.hear(sockets[0].fileno())
        lanes.submit(ALICE, 1, bytes(LONGEST + 1), results.done("longer"))
    assert results.of["longest"] == b"%d" % LONGEST
    assert isinstance(error := results.of["longer"], PsaError)
    assert error.status is PsaStatus.INSUFFICIENT_MEMORY


def test_without_lanes_there_is_no_slow_work() -> None:
    results = Results()
    Lanes([]).submit(ALICE, 0, b"", results.done("a"))
    assert isinstance(results.of["a"], PsaError)


def test_sources_take_turns_however_much_one_of_them_wants() -> None:
    results = Results()
    with lanes_of(bytes) as sockets:
        lanes = Lanes(sockets)
        for number in range(4):
            lanes.submit(ALICE, 1, b"", results.done(f"alice {number}"))
        for number in range(2):
            lanes.submit(BOB, 1, b"", results.done(f"bob {number}"))
        while len(results.order) < 6:
            lanes.hear(sockets[0].fileno())
    assert results.order == ["alice 0", "alice 1", "bob 0", "alice 2", "bob 1", "alice 3"]


def test_every_lane_is_used_and_a_busy_one_holds_up_no_other() -> None:
    results, may_end = Results(), Event()

    def long(task: bytes) -> bytes:
        may_end.wait(20)
        return task

    with lanes_of(long, bytes) as (busy, free):
        lanes = Lanes([busy, free])
        lanes.submit(ALICE, 1, b"", results.done("long"))
        for number in range(3):
            lanes.submit(ALICE, 1, b"", results.done(str(number)))
            lanes.hear(free.fileno())
        assert results.order == ["0", "1", "2"]
        may_end.set()
        lanes.hear(busy.fileno())
        assert results.order[-1] == "long"


def test_what_waits_for_a_caller_that_has_gone_is_not_done() -> None:
    results = Results()
    done: list[bytes] = []

    def note(task: bytes) -> bytes:
        done.append(task)
        return task

    with lanes_of(note) as sockets:
        lanes = Lanes(sockets)
        stays = Caller(ALICE.source_id, 9)
        for caller, name in ((ALICE, "begun"), (ALICE, "waits"), (stays, "stays"), (BOB, "bob"), (ALICE, "too")):
            lanes.submit(caller, 1, name.encode(), results.done(name))
        lanes.forget(ALICE)
        lanes.forget(Caller(99, 99))
        for _ in range(3):
            lanes.hear(sockets[0].fileno())
        lanes.submit(ALICE, 1, b"last", results.done("last"))
        lanes.hear(sockets[0].fileno())
    assert done == [b"begun", b"stays", b"bob", b"last"]
    assert results.order == ["begun", "stays", "bob", "last"]


# With the context's loop around them


def slowly(request: bytes) -> SlowWork:
    return SlowWork(request, lambda result: Reply(1, result))


def test_quick_calls_overtake_slow_ones_which_are_answered_under_their_tags() -> None:
    may_end = Event()

    def long(task: bytes) -> bytes:
        may_end.wait(20)
        return task + b"!"

    quick, slow = Scripted(), Scripted(slowly)
    with lanes_of(long) as sockets, turning(quick, slow, lanes=sockets) as world:
        caller = world.channel()
        with world.files.share(1) as buffer:
            caller.ask(memory_retrieve_request(1))
            world.turn()
            caller.answers()
            buffer[:4] = b"slow"
            caller.ask(call_request(Call(1, 5, 1, 4)), tag=10)
            caller.ask(version_request(), tag=11)
            world.turn()
            assert caller.answer()[8] == 11
            may_end.set()
            world.turn()
            frame = caller.answer()
            assert frame[8] == 10
            assert call_outcome(frame[3:8]) == (1, 5)
            assert buffer[:5] == b"slow!"


def test_slow_calls_take_room_in_the_queue_until_they_are_answered() -> None:
    may_end = Event()

    def long(task: bytes) -> bytes:
        may_end.wait(20)
        return task

    slow = Scripted(slowly)
    with lanes_of(Scripted().work, long) as (_, busy), turning(slow, slow, queue_depth=2, lanes=[busy]) as world:
        caller = world.channel()
        for tag in range(3):
            caller.ask(call_request(Call(1, 5)), tag)
            world.turn()
        refused = caller.answer()
        assert (refused[0], signed(refused[2]), refused[8]) == (FunctionId.ERROR, FfaError.BUSY, 2)
        may_end.set()
        world.turn()
        world.turn()
        assert [frame[8] for frame in caller.answers()] == [0, 1]
        caller.ask(version_request())
        world.turn()
        assert caller.answer()[0] == FunctionId.MSG_SEND_DIRECT_RESP_32


def test_a_caller_that_comes_anew_with_slow_work_again_and_again_leaves_nothing_behind() -> None:
    may_end = Event()

    def long(task: bytes) -> bytes:
        may_end.wait(20)
        return task

    slow = Scripted(slowly)
    with lanes_of(long) as sockets, turning(slow, slow, lanes=sockets) as world:
        for _ in range(20):
            caller = world.channel()
            for tag in range(4):
                caller.ask(call_request(Call(1, 5)), tag)
            world.turn()
            caller.socket.close()
            world.turn()
        lanes = world.context._lanes
        assert sum(map(len, lanes._waiting.values())) == 0
        may_end.set()
        world.turn()  # the one that had begun; nobody waits for it
        other = world.channel(SOURCE + 1)
        other.ask(call_request(Call(1, 5)))
        world.turn()
        world.turn()
        assert call_outcome(other.answer()[3:8]).service_status == 1


def test_many_channels_of_a_source_hold_no_more_slow_work_than_one() -> None:
    may_end = Event()

    def long(task: bytes) -> bytes:
        may_end.wait(20)
        return task

    slow = Scripted(lambda _request: SlowWork(b"", lambda _result: Reply(1)))
    with lanes_of(long) as lanes, turning(Scripted(), slow, queue_depth=2, lanes=lanes) as world:
        words = call_request(Call(1, 5, NO_MEMORY, 0))
        one, two, other = world.channel(), world.channel(), world.channel(SOURCE + 1)
        for tag in (1, 2):
            one.ask(words, tag=tag)  # one is worked on, one waits
        world.turn()
        for tag in (3, 4):
            two.ask(words, tag=tag)
        other.ask(words, tag=5)
        while len(slow.calls) < 5:
            world.turn()
        busy = two.answer()
        assert (busy[0], signed(busy[2]), busy[8]) == (FunctionId.ERROR, FfaError.BUSY, 4)
        assert one.answers() == other.answers() == []
        may_end.set()
        answered: list[int] = []
        while len(answered) < 4:
            world.turn()
            answered += [frame[8] for caller in (one, two, other) for frame in caller.answers()]
        assert answered == [1, 2, 5, 3]
        two.ask(words, tag=6)
        while not (last := two.answers()):
            world.turn()
        assert last[0][8] == 6
