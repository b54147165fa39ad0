"""The process that finds out who holds a token: whatever it has to ask or to wait for, no worker waits with it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from time import monotonic
from typing import Final, NamedTuple

from edgeroot.auth import AuthenticationError, AuthenticationFailure, TokenVerdict
from edgeroot.daemon.channel import Channel
from edgeroot.daemon.channel_server import ChannelServer
from edgeroot.daemon.control import ControlLine, SupervisorGoneError
from edgeroot.service.questions import TokenAnswer, TokenQuestion
from edgeroot.wire.status import ResponseStatus

_log: Final = logging.getLogger(__name__)
_THREADS: Final = 8
_OVERDUE: Final = TokenAnswer(ResponseStatus.CONNECTION_ERROR, "it took longer than execution_timeout")
Verify = Callable[[bytes, int | None], TokenVerdict]
"""May be called by several threads at once."""


class _WithheldError(Exception):
    """Stands in the log for an exception whose message may hold a token."""


class StuckError(Exception):
    """A question is still being answered for which nobody waits any more."""


def run_identity(verify: Verify, control: ControlLine, *, longest_s: float) -> None:
    """Answer the workers' questions, several at a time.

    One that takes longer than ``longest_s`` ends this process; its successor takes up the others.
    """
    server = ChannelServer(control)
    desk = Desk(verify, longest_s=longest_s)
    server.watch(desk.fileno())
    server.ready()
    with suppress(SupervisorGoneError):
        while not server.finished:
            for channel in server.stirred(longest_s=desk.patience_s()):
                for number, message in server.receive(channel):
                    desk.take(channel, number, TokenQuestion.decode(message))
            for channel, number, answer in desk.answered():
                channel.put(number, answer.encode())
                server.flush(channel)


class _UnderWay(NamedTuple):
    channel: Channel
    number: int
    begun_s: float


class Desk:
    """Has questions answered by threads, and collects the answers for the one that serves the channels."""

    def __init__(self, verify: Verify, *, longest_s: float) -> None:
        self._verify = verify
        self._longest_s = longest_s
        self._pool = ThreadPoolExecutor(_THREADS, "verifier")
        self._under_way: dict[Future[TokenVerdict], _UnderWay] = {}  # the longest first
        self._done: SimpleQueue[Future[TokenVerdict]] = SimpleQueue()
        self._refused: list[tuple[Channel, int, TokenAnswer]] = []
        self._fault = ""
        self._woken, self._waker = socket.socketpair()
        for one in (self._woken, self._waker):
            one.setblocking(False)

    def fileno(self) -> int:
        """Is readable when there are answers."""
        return self._woken.fileno()

    def patience_s(self) -> float | None:
        """How long nothing has to be done here, if no answer comes."""
        begun_s = next((one.begun_s for one in self._under_way.values()), None)
        return None if begun_s is None else max(0.0, begun_s + self._longest_s - monotonic())

    def take(self, channel: Channel, number: int, question: TokenQuestion) -> None:
        """Begin to answer a question."""
        now_s = monotonic()
        if now_s > question.deadline_s:
            self._refused.append((channel, number, _OVERDUE))
            return
        verdict = self._pool.submit(self._verify, question.token, question.slot)
        self._under_way[verdict] = _UnderWay(channel, number, now_s)
        verdict.add_done_callback(self._note)

    def answered(self) -> list[tuple[Channel, int, TokenAnswer]]:
        """What has been answered since the last call; StuckError if something takes too long."""
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        answers, self._refused = self._refused, []
        while not self._done.empty():
            verdict = self._done.get()
            asked = self._under_way.pop(verdict)
            answers.append((asked.channel, asked.number, self._answer(verdict)))
        if self.patience_s() == 0.0:
            raise StuckError(f"a token was not judged in {self._longest_s} s")
        return answers

    def close(self) -> None:
        """Wait for the threads."""
        self._pool.shutdown()
        self._woken.close()
        self._waker.close()

    def _note(self, verdict: Future[TokenVerdict]) -> None:
        self._done.put(verdict)
        with suppress(BlockingIOError):  # enough wake-ups are on their way
            self._waker.send(b"\0")

    def _answer(self, verdict: Future[TokenVerdict]) -> TokenAnswer:
        error = verdict.exception()
        if error is None:
            self._fault = ""
            found = verdict.result()
            return TokenAnswer(ResponseStatus.SUCCESS, found.application, found.good_until_s)
        if isinstance(error, AuthenticationError):
            is_encoding = error.kind is AuthenticationFailure.INVALID_ENCODING
            status = ResponseStatus.INVALID_ENCODING if is_encoding else ResponseStatus.AUTHENTICATION_ERROR
            return TokenAnswer(status, str(error))
        # Whatever happens, the question is answered: a token must not end the process that others wait for. A fault
        # that lasts is told once.
        fault = type(error).__name__
        if fault != self._fault:
            self._fault = fault
            withheld = _WithheldError(f"{fault}, whose message is withheld").with_traceback(error.__traceback__)
            _log.error("a fault in the service itself while judging a token; please report it", exc_info=withheld)
        return TokenAnswer(ResponseStatus.AUTHENTICATION_ERROR, "the token could not be judged: see the log")
