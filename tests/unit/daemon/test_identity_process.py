"""What the identity process answers, whatever a verifier does."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import socketpair

import pytest

from edgeroot.auth import AuthenticationError, AuthenticationFailure, TokenVerdict
from edgeroot.daemon.channel import Channel
from edgeroot.daemon.identity_process import Desk, StuckError
from edgeroot.service.questions import TokenAnswer, TokenQuestion
from edgeroot.wire.status import ResponseStatus as Status

Verify = Callable[[bytes, int | None], TokenVerdict]
PATIENCE_S = 20.0


@contextmanager
def desk_of(verify: Verify, *, longest_s: float = 60.0) -> Iterator[Desk]:
    desk = Desk(verify, longest_s=longest_s)
    try:
        yield desk
    finally:
        desk.close()


@pytest.fixture
def channel() -> Iterator[Channel]:
    ours, theirs = socketpair()
    with ours, theirs:
        yield Channel(ours)


def answers_of(desk: Desk, count: int) -> list[tuple[int, TokenAnswer]]:
    """So many answers, in the order in which they come."""
    answers: list[tuple[int, TokenAnswer]] = []
    while len(answers) < count:
        readable, _, _ = select.select([desk], [], [], PATIENCE_S)
        assert readable, "no answer comes"
        answers += [(number, answer) for _, number, answer in desk.answered()]
    return answers


def question(token: bytes = b"token", slot: int | None = 0, *, due_in_s: float = 60.0) -> TokenQuestion:
    return TokenQuestion(token, slot, time.monotonic() + due_in_s)


def judge(token: bytes, slot: int | None) -> TokenVerdict:
    if token == b"bad":
        raise AuthenticationError("it has expired")
    if token == b"encoding":
        raise AuthenticationError("it is not UTF-8", kind=AuthenticationFailure.INVALID_ENCODING)
    if token == b"fault":
        raise RuntimeError(2 * token.decode())
    return TokenVerdict(f"{token.decode()} at {slot}", 12.5)


@pytest.mark.parametrize(
    ("token", "slot", "expected"),
    [
        (b"good", 3, TokenAnswer(Status.SUCCESS, "good at 3", 12.5)),
        (b"good", None, TokenAnswer(Status.SUCCESS, "good at None", 12.5)),
        (b"bad", 0, TokenAnswer(Status.AUTHENTICATION_ERROR, "it has expired")),
        (b"encoding", 0, TokenAnswer(Status.INVALID_ENCODING, "it is not UTF-8")),
        (b"fault", 0, TokenAnswer(Status.AUTHENTICATION_ERROR, "the token could not be judged: see the log")),
    ],
)
def test_every_question_is_answered(channel: Channel, token: bytes, slot: int | None, expected: TokenAnswer) -> None:
    with desk_of(judge) as desk:
        assert desk.patience_s() is None
        desk.take(channel, 7, question(token, slot))
        assert answers_of(desk, 1) == [(7, expected)]
        assert desk.patience_s() is None


def test_a_fault_that_lasts_is_told_once(channel: Channel, caplog: pytest.LogCaptureFixture) -> None:
    with desk_of(judge) as desk:
        for number, token in enumerate((b"fault", b"bad", b"fault", b"good", b"fault")):
            desk.take(channel, number, question(token))
            answers_of(desk, 1)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "RuntimeError" in caplog.text
    assert "faultfault" not in caplog.text


def test_a_token_that_takes_long_holds_up_no_other(channel: Channel) -> None:
    may_end = threading.Event()

    def slow(token: bytes, slot: int | None) -> TokenVerdict:
        if token == b"slow":
            assert may_end.wait(PATIENCE_S)
        return judge(token, slot)

    with desk_of(slow) as desk:
        desk.take(channel, 1, question(b"slow"))
        desk.take(channel, 2, question(b"quick"))
        assert [number for number, _ in answers_of(desk, 1)] == [2]
        may_end.set()
        assert [number for number, _ in answers_of(desk, 1)] == [1]


def test_what_nobody_waits_for_any_more_is_not_asked(channel: Channel) -> None:
    def never(_token: bytes, _slot: int | None) -> TokenVerdict:
        raise AssertionError("asked")

    with desk_of(never) as desk:
        desk.take(channel, 1, question(due_in_s=-1.0))
        ((_, number, answer),) = desk.answered()
        assert (number, answer.status) == (1, Status.CONNECTION_ERROR)


def test_a_verifier_that_hangs_ends_the_process(channel: Channel) -> None:
    may_end = threading.Event()

    def hang(_token: bytes, _slot: int | None) -> TokenVerdict:
        may_end.wait(PATIENCE_S)
        return TokenVerdict("late", 0.0)

    with desk_of(hang, longest_s=0.05) as desk:
        desk.take(channel, 1, question())
        patience_s = desk.patience_s()
        assert patience_s is not None
        assert desk.answered() == []
        time.sleep(patience_s)
        with pytest.raises(StuckError):
            desk.answered()
        may_end.set()
