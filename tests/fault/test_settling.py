"""Writes and jobs whose writer or helper ended before it answered, in every order of events that matters."""

from __future__ import annotations

import mmap
import operator
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from edgeroot.client import templates
from edgeroot.daemon.channel import Channel, ChannelClosedError
from edgeroot.daemon.control import ControlLine, Message, Order
from edgeroot.daemon.elsewhere import HelperLinks, WriterLink
from edgeroot.daemon.shared import UserTable
from edgeroot.daemon.users import User
from edgeroot.daemon.writer_process import run_writer
from edgeroot.keystore.database import create_store
from edgeroot.keystore.generation import Generations
from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyIdentity, KeyRecord
from edgeroot.keystore.writer import Writer
from edgeroot.keystore.writes import Insert, Outcome, Remove, Result, Write
from edgeroot.service.jobs import Job, JobOutcome
from edgeroot.wire.status import ResponseStatus
from tests.support.clients import forked, wait_until

NAME = KeyIdentity(3, "1000", "software", "key")
FIRST = KeyRecord(NAME, b"first", templates.ecdsa_p256())
SECOND = KeyRecord(NAME, b"second", templates.ecdsa_p256())
SHORTLY_S = 0.2
SECONDS = 10


class Store:
    """A store with one writer after another; each may end without a word."""

    def __init__(self, path: Path) -> None:
        self.path = path
        create_store(path)
        self.reader = Reader.open(path)
        self.generations = Generations(mmap.mmap(-1, Generations.size_bytes()))

    def write(self, *batch: Write) -> list[Result]:
        writer = Writer.open(self.path, self.generations)
        outcomes = writer.apply(batch)
        writer.close()
        return [outcome.result for outcome in outcomes]

    def reference(self) -> bytes | None:
        record = self.reader.find(NAME)
        return record.reference if record else None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store")
    yield store
    store.reader.close()


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = (Channel(sock) for sock in socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def settle(store: Store, write: Write, channel: Channel) -> list[Outcome]:
    """What a worker knows of a write that it sent to the last writer, once the next one is there."""
    link = WriterLink(store.reader)
    link.send(1, write)
    return [outcome for _, outcome in link.connect(channel)]


def test_a_removal_that_was_done_does_not_meet_the_next_key_of_the_name(
    store: Store, pair: tuple[Channel, Channel]
) -> None:
    removal = Remove(NAME, FIRST.reference)
    assert store.write(Insert(FIRST), removal, Insert(SECOND)) == [Result.DONE] * 3

    assert [outcome.result for outcome in settle(store, removal, pair[0])] == [Result.DONE]
    assert store.write(removal) == [Result.CONFLICT]  # not even if it were sent again
    assert store.reference() == SECOND.reference


def test_a_removal_that_was_not_done_is_sent_again(store: Store, pair: tuple[Channel, Channel]) -> None:
    store.write(Insert(FIRST))
    assert settle(store, Remove(NAME, FIRST.reference), pair[0]) == []
    assert pair[0].has_output


def test_a_creation_that_lost_its_name_is_not_taken_for_done(store: Store, pair: tuple[Channel, Channel]) -> None:
    store.write(Insert(FIRST))
    assert settle(store, Insert(SECOND), pair[0]) == []


def test_what_cannot_be_looked_up_has_failed(store: Store, pair: tuple[Channel, Channel]) -> None:
    store.reader.close()  # so that the log is written back when the writer ends
    store.write(Insert(FIRST))
    store.reader = Reader.open(store.path)
    content = store.path.read_bytes()
    store.path.write_bytes(content[:100] + bytes(len(content) - 100))
    (outcome,) = settle(store, Insert(SECOND), pair[0])
    assert outcome.result is Result.FAILED
    assert "damaged" in outcome.detail


# The next writer waits until everybody has looked


@contextmanager
def next_writer(store: Store, *, clients: int) -> Iterator[Callable[[], WriterLink]]:
    """A writer process; call the value to connect as a worker with nothing unanswered."""
    ours, theirs = ControlLine.pair()
    links: list[WriterLink] = []

    def work() -> None:
        ours.close()
        run_writer(Writer.open(store.path, store.generations), theirs, clients=clients)

    def connect_worker() -> WriterLink:
        one, other = socket.socketpair()
        with other:
            ours.send(Message(Order.CONNECT, None, other))
        link = WriterLink(store.reader)
        link.connect(Channel(one))
        links.append(link)
        return link

    with forked(work):
        theirs.close()
        yield connect_worker
        for link in links:
            link.disconnect()
        ours.close()


def flush(link: WriterLink) -> Channel:
    assert link.channel is not None
    link.channel.flush()
    return link.channel


def is_answered(link: WriterLink, timeout_s: float) -> bool:
    return bool(select.select([flush(link)], [], [], timeout_s)[0])


def test_nothing_is_written_before_every_worker_has_looked(store: Store) -> None:
    with next_writer(store, clients=2) as connect_worker:
        quick, slow = connect_worker(), connect_worker()
        quick.send(1, Insert(FIRST))
        assert not is_answered(quick, SHORTLY_S)
        assert store.reference() is None

        flush(slow)  # it has looked, and has nothing to ask
        assert is_answered(quick, SECONDS)
        assert store.reference() == FIRST.reference


def test_a_worker_that_ends_is_not_waited_for(store: Store) -> None:
    with next_writer(store, clients=2) as connect_worker:
        quick, dead = connect_worker(), connect_worker()
        quick.send(1, Insert(FIRST))
        assert not is_answered(quick, SHORTLY_S)
        dead.disconnect()
        assert is_answered(quick, SECONDS)


def test_a_worker_that_comes_later_is_not_waited_for(store: Store) -> None:
    with next_writer(store, clients=1) as connect_worker:
        first = connect_worker()
        first.send(1, Insert(FIRST))
        assert is_answered(first, SECONDS)
        connect_worker()
        first.send(2, Remove(NAME, FIRST.reference))
        wait_until(lambda: is_answered(first, 0) and first.receive() != [], "the first answer", timeout_s=SECONDS)
        wait_until(lambda: store.reference() is None, "the removal", timeout_s=SECONDS)


# A helper that ends


@pytest.fixture
def user() -> User:
    table = UserTable(1)
    return User(table, table.claim(0, 1000), 0, uid=1000, max_connections=8, max_waiting=8)


JOB = Job(0, 1, b"work")


def waited_for() -> bool:
    return True


LOST = ResponseStatus.PSA_ERROR_COMMUNICATION_FAILURE


def taken(channel: Channel) -> list[int]:
    """The numbers of the jobs that have reached a helper."""
    return [number for number, _ in channel.get()]


def test_a_job_that_a_helper_had_begun_fails_with_it(user: User, pair: tuple[Channel, Channel]) -> None:
    links, (ours, theirs) = HelperLinks(), pair
    links.connect(ours)
    links.send(1, user, JOB, waited_for)
    links.send(2, user, JOB, waited_for)
    ours.flush()
    assert taken(theirs) == [1]
    assert links.receive(ours) == []
    theirs.close()
    assert links.receive(ours) == [(1, JobOutcome(LOST))]

    one, other = (Channel(sock) for sock in socket.socketpair())
    links.connect(one)
    one.flush()
    assert taken(other) == [2]
    one.close()
    other.close()


def test_a_job_that_a_helper_had_not_begun_is_the_first_for_the_next(user: User, pair: tuple[Channel, Channel]) -> None:
    links, (ours, theirs) = HelperLinks(), pair
    links.connect(ours)
    links.send(1, user, JOB, waited_for)
    links.send(2, user, JOB, waited_for)
    ours.flush()
    theirs.close()
    assert links.receive(ours) == []

    one, other = (Channel(sock) for sock in socket.socketpair())
    links.connect(one)
    one.flush()
    assert taken(other) == [1]
    other.put(1, JobOutcome(0, b"done").encode())
    other.flush()
    assert links.receive(one) == [(1, JobOutcome(0, b"done"))]
    one.flush()
    assert taken(other) == [2]
    one.close()
    other.close()


def test_a_job_that_did_not_reach_a_helper_any_more_is_the_first_for_the_next(
    user: User, pair: tuple[Channel, Channel]
) -> None:
    links, (ours, theirs) = HelperLinks(), pair
    links.connect(ours)
    theirs.close()
    links.send(1, user, JOB, waited_for)
    with pytest.raises(ChannelClosedError):
        ours.flush()
    assert links.receive(ours) == []

    one, other = (Channel(sock) for sock in socket.socketpair())
    links.connect(one)
    one.flush()
    assert taken(other) == [1]
    one.close()
    other.close()


def test_of_two_jobs_in_a_host_the_one_that_it_had_not_read_is_the_first_for_the_next(
    user: User, pair: tuple[Channel, Channel]
) -> None:
    links, (ours, theirs) = HelperLinks(), pair
    second, its_end = (Channel(sock) for sock in socket.socketpair())
    for channel in (ours, second):
        links.connect(channel)
    for number in (1, 2):
        links.send(number, user, JOB, waited_for)
    ours.flush()
    second.flush()
    assert taken(its_end) == [2]
    theirs.close()
    its_end.close()
    assert links.receive(ours) == []
    assert links.receive(second) == [(2, JobOutcome(LOST))]

    one, other = (Channel(sock) for sock in socket.socketpair())
    links.connect(one)
    one.flush()
    assert taken(other) == [1]
    one.close()
    other.close()


def test_a_job_nobody_waits_for_is_not_given_to_the_next_helper(user: User, pair: tuple[Channel, Channel]) -> None:
    links, (ours, theirs) = HelperLinks(), pair
    links.connect(ours)
    links.send(1, user, JOB, waited_for)
    ours.flush()
    links.forget(1)
    theirs.close()
    assert links.receive(ours) == []

    one, other = (Channel(sock) for sock in socket.socketpair())
    links.connect(one)
    one.flush()
    assert not select.select([other], [], [], 0)[0]
    one.close()
    other.close()


def test_a_job_whose_client_has_gone_is_dropped_when_its_turn_comes(user: User, pair: tuple[Channel, Channel]) -> None:
    links, (ours, theirs) = HelperLinks(), pair
    for number in (1, 2, 3):
        links.send(number, user, JOB, partial(operator.eq, number, 3))
    links.connect(ours)
    ours.flush()
    assert taken(theirs) == [3]
    assert links.abandoned() == [1, 2]
    assert links.abandoned() == []
    ours.close()
    theirs.close()
