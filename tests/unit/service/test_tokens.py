"""What a worker knows of tokens: for how long, whatever the clock does, and what it asks otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from edgeroot.auth import AuthenticationError, AuthenticationFailure, Identity, PeerCredentials
from edgeroot.service.questions import LOST, TokenAnswer, TokenQuestion
from edgeroot.service.tokens import TokenAuthenticator
from edgeroot.wire.status import ResponseStatus as Status
from edgeroot.wire.status import WireError

PEER = PeerCredentials(1, 1000, 1000)
TILL = Identity(4, "spiffe://cluster.local/ns/shop/sa/till")
EPOCH_S = 1_800_000_000.0


@dataclass(slots=True)
class Clocks:
    wall_s: float = EPOCH_S
    steady_s: float = 5_000.0

    def pass_s(self, seconds: float) -> None:
        self.wall_s += seconds
        self.steady_s += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def tokens(clocks: Clocks) -> TokenAuthenticator:
    return TokenAuthenticator(7, clock_s=lambda: clocks.wall_s, steady_clock_s=lambda: clocks.steady_s, capacity=3)


def good_for(seconds: float) -> TokenAnswer:
    return TokenAnswer(Status.SUCCESS, TILL.application, EPOCH_S + seconds)


def ask(tokens: TokenAuthenticator, token: bytes, *answers: TokenAnswer) -> tuple[Identity, Sequence[TokenQuestion]]:
    """What comes of asking, and what was asked."""
    question = tokens.authenticate(token, PEER)
    assert isinstance(question, TokenQuestion)
    steps = tokens.ask(question)
    asked: list[TokenQuestion] = []
    remaining = [None, *answers]
    try:
        while remaining:
            effect = steps.send(remaining.pop(0))
            assert isinstance(effect, TokenQuestion)
            asked.append(effect)
    except StopIteration as end:
        identity: Identity = end.value
        return identity, asked
    raise AssertionError("it still asks")


def test_a_verdict_holds_until_its_end(tokens: TokenAuthenticator, clocks: Clocks) -> None:
    assert ask(tokens, b"token", good_for(10)) == (TILL, [TokenQuestion(b"token", 7)])
    clocks.pass_s(9.9)
    assert tokens.authenticate(b"token", PEER) == TILL
    assert isinstance(tokens.authenticate(b"another", PEER), TokenQuestion)
    clocks.pass_s(0.2)
    assert tokens.authenticate(b"token", PEER) == TokenQuestion(b"token", 7)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_a_clock_that_is_set_makes_no_verdict_last_longer(
    tokens: TokenAuthenticator, clocks: Clocks, step_s: float
) -> None:
    ask(tokens, b"token", good_for(10))
    clocks.wall_s += step_s
    clocks.pass_s(10.1)
    assert isinstance(tokens.authenticate(b"token", PEER), TokenQuestion)


@pytest.mark.parametrize("back_again", [False, True])
@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_a_clock_that_is_set_between_question_and_answer_makes_no_verdict_last_longer(
    tokens: TokenAuthenticator, clocks: Clocks, step_s: float, back_again: bool
) -> None:
    """The answer is by the clock after the step (``good_for``), or by the one before it."""
    question = tokens.authenticate(b"token", PEER)
    assert isinstance(question, TokenQuestion)
    for judged_at_s in (clocks.wall_s, clocks.wall_s + step_s):
        steps = tokens.ask(question)
        next(steps)
        clocks.wall_s += step_s
        with pytest.raises(StopIteration):
            steps.send(TokenAnswer(Status.SUCCESS, TILL.application, judged_at_s + 10))
        if back_again:
            clocks.wall_s -= step_s
        clocks.pass_s(10.1)
        assert isinstance(tokens.authenticate(b"token", PEER), TokenQuestion)


def test_a_verdict_that_is_over_already_serves_the_request_that_asked_and_no_other(
    tokens: TokenAuthenticator,
) -> None:
    assert ask(tokens, b"token", good_for(0))[0] == TILL
    assert isinstance(tokens.authenticate(b"token", PEER), TokenQuestion)


def test_an_application_may_have_another_name_than_its_spiffe_id(clocks: Clocks) -> None:
    tokens = TokenAuthenticator(
        None, clock_s=lambda: clocks.wall_s, steady_clock_s=lambda: clocks.steady_s, names={TILL.application: "till"}
    )
    assert ask(tokens, b"token", good_for(10))[0] == Identity(4, "till")
    assert tokens.authenticate(b"token", PEER) == Identity(4, "till")
    other = TokenAnswer(Status.SUCCESS, "spiffe://other", EPOCH_S + 10)
    assert ask(tokens, b"other", other)[0] == Identity(4, "spiffe://other")


def test_the_oldest_verdict_goes_when_there_are_too_many(tokens: TokenAuthenticator) -> None:
    for token in (b"1", b"2", b"3", b"4"):
        ask(tokens, token, good_for(10))
    assert isinstance(tokens.authenticate(b"1", PEER), TokenQuestion)
    assert all(tokens.authenticate(token, PEER) == TILL for token in (b"2", b"3", b"4"))


@pytest.mark.parametrize("status", [Status.AUTHENTICATION_ERROR, Status.INVALID_ENCODING, Status.CONNECTION_ERROR])
def test_what_is_refused_is_asked_about_again(tokens: TokenAuthenticator, status: Status) -> None:
    with pytest.raises(WireError, match="expired") as refused:
        ask(tokens, b"token", TokenAnswer(status, "it has expired"))
    assert refused.value.status is status
    assert isinstance(tokens.authenticate(b"token", PEER), TokenQuestion)


def test_a_question_that_was_lost_is_asked_once_more(tokens: TokenAuthenticator) -> None:
    assert ask(tokens, b"token", LOST, good_for(10)) == (TILL, [TokenQuestion(b"token", 7)] * 2)
    with pytest.raises(WireError) as refused:
        ask(tokens, b"deadly", LOST, LOST)
    assert refused.value.status is Status.AUTHENTICATION_ERROR


def test_what_can_be_no_token_is_not_asked_about(tokens: TokenAuthenticator) -> None:
    with pytest.raises(AuthenticationError) as empty:
        tokens.authenticate(b"", PEER)
    with pytest.raises(AuthenticationError) as encoding:
        tokens.authenticate(b"\xff", PEER)
    assert empty.value.kind is AuthenticationFailure.REFUSED
    assert encoding.value.kind is AuthenticationFailure.INVALID_ENCODING


@pytest.mark.parametrize("slot", [None, 0, 1023])
def test_questions_and_answers_as_bytes(slot: int | None) -> None:
    question = TokenQuestion(b"a.b.c", slot, 12.5)
    decoded = TokenQuestion.decode(question.encode())
    assert (decoded, decoded.deadline_s) == (question, 12.5)
    assert "a.b.c" not in repr(question)
    answer = TokenAnswer(Status.AUTHENTICATION_ERROR, "Zoë", 1.5)
    assert TokenAnswer.decode(answer.encode()) == answer
