"""Calls that wait for their answer: connecting, forks, partitions that are busy or gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from edgeroot.abi.services import CRYPTO
from edgeroot.providers.api import BackEndAnswer, BackEndCall
from edgeroot.providers.trusted_services.errors import RefusedCallError
from edgeroot.providers.trusted_services.native import NoLink, SessionCaller
from edgeroot.psa import PsaStatus
from edgeroot.tee.api import (
    DEFAULT_BUFFER_BYTES,
    NoSuchServiceError,
    Session,
    TeeBusyError,
    TeeError,
    TeeRefusedError,
    Transport,
)
from edgeroot.tee.transports import patience
from edgeroot.tee.transports.emulated import WorldGoneError
from tests.vectors.keys import refused

CALL = BackEndCall(NoLink(), 0x101, b"the request")
BUSY = TeeBusyError("busy")


@dataclass
class FakeWorld:
    """``outcomes`` of the calls that come, then (0, b""); ``opening`` what connecting and opening a session raise."""

    outcomes: list[tuple[int, bytes] | Exception] = field(default_factory=list)
    connecting: list[TeeError | None] = field(default_factory=list)
    opening: list[TeeError | None] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    pauses_s: list[float] = field(default_factory=list)

    def connect(self) -> Transport:
        _raise_next(self.connecting)
        self.log.append("connect")
        return FakeTransport(self)

    def caller(self) -> SessionCaller:
        return SessionCaller(self.connect, CRYPTO, buffer_bytes=4096)


class FakeTransport(Transport):
    def __init__(self, world: FakeWorld) -> None:
        self.world = world

    def open_session(self, service: UUID, *, buffer_bytes: int = DEFAULT_BUFFER_BYTES) -> Session:
        assert (service, buffer_bytes) == (CRYPTO, 4096)
        _raise_next(self.world.opening)
        self.world.log.append("open")
        return FakeSession(self.world)

    def close(self) -> None:
        self.world.log.append("disconnect")


class FakeSession(Session):
    capacity_bytes = 4096

    def __init__(self, world: FakeWorld) -> None:
        self.world = world

    def call(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        self.world.requests.append((opcode, request))
        outcome = self.world.outcomes.pop(0) if self.world.outcomes else (0, b"")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        self.world.log.append("close")


def _raise_next(errors: list[TeeError | None]) -> None:
    error = errors.pop(0) if errors else None
    if error is not None:
        raise error


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWorld]:
    made = FakeWorld()
    monkeypatch.setattr(patience, "sleep", made.pauses_s.append)
    yield made
    assert made.log.count("connect") - made.log.count("disconnect") in (0, 1), "a connection was dropped and not closed"


def status_of(answer: BackEndAnswer) -> PsaStatus:
    assert answer.error is not None
    return answer.error.status


def test_it_connects_at_the_first_call_and_stays_connected(world: FakeWorld) -> None:
    caller = world.caller()
    assert world.log == []
    world.outcomes = [(0, b"first"), (-137, b"second")]
    assert caller.call(CALL) == BackEndAnswer(0, b"first")
    assert caller.call(CALL) == BackEndAnswer(-137, b"second")
    assert world.log == ["connect", "open"]
    assert world.requests == [(0x101, b"the request")] * 2
    caller.close()
    caller.close()
    assert world.log == ["connect", "open", "close", "disconnect"]


def test_after_a_failure_it_connects_again(world: FakeWorld) -> None:
    caller = world.caller()
    world.outcomes = [WorldGoneError("gone"), (0, b"again")]
    assert status_of(caller.call(CALL)) is PsaStatus.COMMUNICATION_FAILURE
    assert world.log == ["connect", "open", "close", "disconnect"]
    # Nobody knows what became of the call, so it is the caller who decides whether it is made again.
    assert len(world.requests) == 1
    assert caller.call(CALL) == BackEndAnswer(0, b"again")
    assert world.log[4:] == ["connect", "open"]


def test_busy_is_tried_again_with_longer_and_longer_breaks(world: FakeWorld) -> None:
    world.outcomes = [BUSY, BUSY, BUSY, (0, b"at last")]
    assert world.caller().call(CALL) == BackEndAnswer(0, b"at last")
    assert world.pauses_s == [0.001, 0.002, 0.004]
    assert world.log == ["connect", "open"]


def test_for_ever_busy_is_told_after_about_a_second(world: FakeWorld) -> None:
    caller = world.caller()
    world.outcomes = [BUSY] * 100
    assert status_of(caller.call(CALL)) is PsaStatus.CONNECTION_BUSY
    assert 0.9 < sum(world.pauses_s) < 1.2
    assert world.pauses_s == sorted(world.pauses_s)
    world.outcomes = []
    assert caller.call(CALL) == BackEndAnswer()
    assert world.log == ["connect", "open"]


def test_a_busy_set_up_is_tried_again_over_the_same_connection(world: FakeWorld) -> None:
    world.opening = [BUSY, BUSY]
    assert world.caller().call(CALL) == BackEndAnswer()
    assert world.log == ["connect", "open"]
    assert len(world.pauses_s) == 2


def test_a_call_that_reached_no_service_is_told_as_such(world: FakeWorld) -> None:
    caller = world.caller()
    world.outcomes = [TeeRefusedError("not taken")]
    answer = caller.call(CALL)
    assert isinstance(answer.error, RefusedCallError)
    assert caller.call(CALL) == BackEndAnswer()
    assert world.log == ["connect", "open"]


def test_a_request_that_does_not_fit(world: FakeWorld) -> None:
    world.outcomes = [ValueError("longer than the buffer")]
    assert status_of(world.caller().call(CALL)) is PsaStatus.INSUFFICIENT_MEMORY


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (WorldGoneError("none"), PsaStatus.COMMUNICATION_FAILURE),
        (NoSuchServiceError("none"), PsaStatus.NOT_SUPPORTED),
    ],
)
def test_no_secure_world_or_no_such_service(world: FakeWorld, error: TeeError, status: PsaStatus) -> None:
    caller = world.caller()
    world.connecting, world.opening = [error], [error]
    assert status_of(caller.call(CALL)) is status
    assert status_of(caller.call(CALL)) is status
    assert world.log == ["connect", "disconnect"]
    assert caller.call(CALL) == BackEndAnswer()


def test_a_check_leaves_no_connection_that_forks_could_share(world: FakeWorld) -> None:
    caller = world.caller()
    caller.check()
    assert world.log == ["connect", "open", "close", "disconnect"]
    world.opening = [NoSuchServiceError("none")]
    with refused(PsaStatus.COMMUNICATION_FAILURE):
        caller.check()
    assert world.log[4:] == ["connect", "disconnect"]


def test_a_forked_process_has_a_connection_of_its_own(world: FakeWorld) -> None:
    caller = world.caller()
    caller.call(CALL)
    pid = os.fork()
    if pid == 0:
        caller.call(CALL)
        caller.call(CALL)
        # The parent's is not closed either: to give back its buffer would take it from the parent.
        os._exit(0 if world.log == ["connect", "open"] * 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    caller.call(CALL)
    assert world.log == ["connect", "open"]


def test_the_stand_in_for_a_link_has_nothing_to_poll() -> None:
    link = NoLink()
    assert (link.fileno(), link.flush(), link.collect()) == (-1, [], [])
