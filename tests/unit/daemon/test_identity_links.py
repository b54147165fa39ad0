"""Questions about tokens on their way: asked once for all who wait, in turn by user, lost by nobody."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from edgeroot.daemon.channel import Channel
from edgeroot.daemon.elsewhere import IdentityLinks
from edgeroot.daemon.shared import UserTable
from edgeroot.daemon.users import Users
from edgeroot.service.questions import LOST, TokenAnswer, TokenQuestion
from edgeroot.wire.status import ResponseStatus as Status

ONE = TokenQuestion(b"one", 0)
OTHER = TokenQuestion(b"other", 0)
YES = TokenAnswer(Status.SUCCESS, "app", 1.0)


def users_of(table: UserTable, listener: int) -> Users:
    return Users(table, listener=listener, worker=0, max_connections=8, max_waiting=2, told_apart=False)


@pytest.fixture
def users() -> list[Users]:
    """Of two slots."""
    table = UserTable(1)
    return [users_of(table, listener) for listener in range(2)]


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = (Channel(sock) for sock in socket.socketpair())
    yield ours, theirs
    for one in (ours, theirs):
        if one.fileno() >= 0:
            one.close()


def still() -> bool:
    return True


def gone() -> bool:
    return False


def asked(pair: tuple[Channel, Channel]) -> list[tuple[int, TokenQuestion]]:
    """What has reached the identity process."""
    pair[0].flush()
    return [(number, TokenQuestion.decode(message)) for number, message in pair[1].get()]


def answer(pair: tuple[Channel, Channel], number: int) -> None:
    pair[1].put(number, YES.encode())
    pair[1].flush()


def test_everybody_at_a_slot_is_one_user(users: list[Users]) -> None:
    assert users[0].get(1000) is users[0].get(0)
    assert users[0].get(1000) is not users[1].get(1000)
    users[0].get(1000).add_connections(8)
    assert not users[0].get(5).may_connect
    assert users[1].get(1000).may_connect


def test_one_question_for_all_who_wait(users: list[Users], pair: tuple[Channel, Channel]) -> None:
    links = IdentityLinks()
    links.connect(pair[0])
    for number in (1, 2, 3):
        links.send(number, users[0].get(0), ONE.due(number), still)
    ((sent, question),) = asked(pair)
    assert question == ONE
    answer(pair, sent)
    assert links.receive(pair[0]) == [(1, YES), (2, YES), (3, YES)]
    links.send(4, users[0].get(0), ONE, still)
    assert [one for _, one in asked(pair)] == [ONE]


def test_the_same_token_through_another_slot_is_another_question(
    users: list[Users], pair: tuple[Channel, Channel]
) -> None:
    links = IdentityLinks()
    links.connect(pair[0])
    links.send(1, users[0].get(0), ONE, still)
    links.send(2, users[1].get(0), TokenQuestion(b"one", 1), still)
    ((sent, _),) = asked(pair)
    answer(pair, sent)
    assert links.receive(pair[0]) == [(1, YES)]


def test_a_user_has_a_bound_of_questions_that_is_nobody_elses(users: list[Users]) -> None:
    links, (greedy, other) = IdentityLinks(), (users[0].get(0), users[1].get(0))
    for number, question in enumerate((ONE, OTHER)):
        assert links.may_send(greedy, question)
        links.send(number, greedy, question, still)
    assert links.may_send(greedy, ONE)  # to wait with others costs nothing
    assert not links.may_send(greedy, TokenQuestion(b"third", 0))
    assert links.may_send(other, TokenQuestion(b"third", 1))
    links.forget(0)
    assert links.may_send(greedy, TokenQuestion(b"third", 0))


def test_users_are_asked_for_in_turn(users: list[Users], pair: tuple[Channel, Channel]) -> None:
    links, (greedy, other) = IdentityLinks(), (users[0].get(0), users[1].get(0))
    links.send(1, greedy, ONE, still)
    links.send(2, greedy, OTHER, still)
    links.send(3, other, TokenQuestion(b"mine", 1), still)
    links.connect(pair[0])
    order = []
    for _ in range(3):
        ((sent, question),) = asked(pair)
        order.append(question.token)
        answer(pair, sent)
        links.receive(pair[0])
    assert order == [b"one", b"mine", b"other"]


def test_a_question_is_asked_as_long_as_anybody_waits(users: list[Users], pair: tuple[Channel, Channel]) -> None:
    links, user = IdentityLinks(), users[0].get(0)
    links.send(1, user, ONE, gone)
    links.send(2, user, ONE, still)
    links.send(3, user, OTHER, gone)
    links.forget(2)
    links.send(4, user, ONE, still)
    links.connect(pair[0])
    ((sent, question),) = asked(pair)
    assert question == ONE
    answer(pair, sent)
    assert links.receive(pair[0]) == [(1, YES), (4, YES)]
    assert links.abandoned() == [3]


def test_who_no_longer_waits_gets_no_answer(users: list[Users], pair: tuple[Channel, Channel]) -> None:
    links, user = IdentityLinks(), users[0].get(0)
    links.connect(pair[0])
    links.send(1, user, ONE, still)
    ((sent, _),) = asked(pair)
    links.forget(1)
    links.send(2, user, ONE, still)  # the first is under way, but nobody waits for it
    answer(pair, sent)
    assert links.receive(pair[0]) == []
    ((sent, _),) = asked(pair)
    answer(pair, sent)
    assert links.receive(pair[0]) == [(2, YES)]


def test_a_question_that_ended_its_process_is_lost_for_all_who_wait(
    users: list[Users], pair: tuple[Channel, Channel]
) -> None:
    links, user = IdentityLinks(), users[0].get(0)
    links.connect(pair[0])
    for number in (1, 2):
        links.send(number, user, ONE, still)
    asked(pair)
    pair[1].close()
    assert links.receive(pair[0]) == [(1, LOST), (2, LOST)]
