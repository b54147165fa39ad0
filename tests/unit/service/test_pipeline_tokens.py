"""Requests that bring a token: what is asked, and in which order what is found wrong with them is answered."""

from __future__ import annotations

from typing import cast

import pytest

from edgeroot.service.call import Door
from edgeroot.service.effects import Effect, EffectOutcome
from edgeroot.service.questions import TokenAnswer, TokenQuestion
from edgeroot.service.tokens import TokenAuthenticator
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import encode_operation
from edgeroot.wire.framing import Request, decode_response
from edgeroot.wire.opcodes import BY_OPERATION
from edgeroot.wire.operations import AuthType
from edgeroot.wire.status import ResponseStatus as Status
from tests.unit.service.pipeline_kit import ES256, P256, PROVIDER, USER, BackEnd, Harness

TILL = "spiffe://cluster.local/ns/shop/sa/till"
NOW_S = 1_800_000_000.0
YES = TokenAnswer(Status.SUCCESS, TILL, NOW_S + 10)
NO = TokenAnswer(Status.AUTHENTICATION_ERROR, "it has expired")
GENERATE = ops.PsaGenerateKey("key", P256)


class TokenHarness(Harness):
    """A pipeline behind a slot. ``answer`` is what every question is answered."""

    def __init__(self) -> None:
        super().__init__(BackEnd())
        self.answer = YES
        self.questions: list[TokenQuestion] = []
        token = TokenAuthenticator(3, clock_s=lambda: NOW_S, steady_clock_s=lambda: 0.0)
        self.door = Door({token.auth_type: token})

    def outcome(self, effect: Effect) -> EffectOutcome:
        if isinstance(effect, TokenQuestion):
            self.questions.append(effect)
            return self.answer
        return super().outcome(effect)

    def send(self, operation: ops.Operation, *, auth: bytes = b"token", provider: int = 1) -> Status:
        spec, body = BY_OPERATION[type(operation)], encode_operation(operation)
        provider = 0 if spec.core else provider
        request = Request(0, provider, 0, 0, 0, AuthType.JWT_SVID, spec.opcode, body, auth, 40 + len(body))
        steps = self.pipeline.handle(request, USER, self.door)
        outcome: EffectOutcome = None
        while not isinstance(steps, bytes):
            try:
                outcome = self.outcome(steps.send(outcome))
            except StopIteration as end:
                steps = cast(bytes, end.value)
        return decode_response(steps).status


@pytest.fixture
def harness() -> TokenHarness:
    return TokenHarness()


def test_a_key_belongs_to_the_name_that_the_token_proves(harness: TokenHarness) -> None:
    assert harness.send(GENERATE) is Status.SUCCESS
    assert [identity[:3] for identity in harness.model.keys] == [(AuthType.JWT_SVID, TILL, PROVIDER)]
    assert harness.send(ops.PsaSignHash("key", ES256, bytes(32))) is Status.SUCCESS
    assert harness.send(ops.PsaDestroyKey("key")) is Status.SUCCESS
    assert harness.questions == [TokenQuestion(b"token", 3)]
    assert all(call.identity == (AuthType.JWT_SVID, TILL) for call, _ in harness.observed)


def test_a_refused_token_comes_before_all_that_is_wrong_behind_it(harness: TokenHarness) -> None:
    harness.answer = NO
    assert harness.send(GENERATE, provider=3) is Status.AUTHENTICATION_ERROR
    harness.answer = YES
    assert harness.send(GENERATE, provider=3) is Status.PROVIDER_NOT_REGISTERED
    assert harness.send(ops.ListClients()) is Status.ADMIN_OPERATION
    assert harness.model.keys == {}


def test_what_is_no_text_is_not_asked_about(harness: TokenHarness) -> None:
    assert harness.send(GENERATE, auth=b"\xff") is Status.INVALID_ENCODING
    assert harness.send(GENERATE, auth=b"") is Status.AUTHENTICATION_ERROR
    assert harness.questions == []


@pytest.mark.parametrize("operation", [ops.ListProviders(), ops.Ping(), ops.ListAuthenticators()])
def test_no_answer_to_a_token_is_kept_for_equal_requests(harness: TokenHarness, operation: ops.Operation) -> None:
    assert harness.send(operation) is Status.SUCCESS
    spec = BY_OPERATION[type(operation)]
    request = Request(0, 0, 0, 0, 0, AuthType.JWT_SVID, spec.opcode, encode_operation(operation), b"token", 40)
    response = harness.pipeline.handle(request, USER, harness.door)
    assert type(response) is bytes


def test_who_waits_too_long_is_answered(harness: TokenHarness) -> None:
    harness.answer = TokenAnswer(Status.CONNECTION_ERROR, "it took longer than execution_timeout")
    assert harness.send(GENERATE) is Status.CONNECTION_ERROR
