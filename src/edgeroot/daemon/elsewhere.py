"""A worker's links to the processes that work for it: writers, helpers and hosts, whoever judges tokens."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from edgeroot.daemon.channel import Channel, ChannelClosedError
from edgeroot.daemon.users import User
from edgeroot.daemon.writer_process import SETTLED
from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyStoreError
from edgeroot.keystore.recovery import look_up_outcome
from edgeroot.keystore.write_codec import decode_outcome, encode_write
from edgeroot.keystore.writes import Outcome, Result, Write
from edgeroot.service.jobs import Job, JobOutcome
from edgeroot.service.questions import LOST, TokenAnswer, TokenQuestion
from edgeroot.wire.status import ResponseStatus

_LOST_JOB: Final = JobOutcome(ResponseStatus.PSA_ERROR_COMMUNICATION_FAILURE)
_AskedT = TypeVar("_AskedT", bound=Job | TokenQuestion)
_AnswerT = TypeVar("_AnswerT", bound=JobOutcome | TokenAnswer)


class WriterLink:
    """Writes on their way to one store's writer. Each has a number, and is kept until its outcome is known."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pending: dict[int, Write] = {}
        self._channel: Channel | None = None

    @property
    def channel(self) -> Channel | None:
        return self._channel

    def send(self, number: int, write: Write) -> None:
        """Queue a write; while there is no writer it waits for the next one."""
        self._pending[number] = write
        if self._channel is not None:
            self._channel.put(number, encode_write(write))

    def forget(self, number: int) -> None:
        """Nobody waits for this write's outcome any more; it may still be carried out."""
        self._pending.pop(number, None)

    def connect(self, channel: Channel) -> list[tuple[int, Outcome]]:
        """A new writer is there, so the old one is dead and what it did is settled.

        A write without an answer is looked up first: it is answered if the store shows its effect, and only otherwise
        sent again. The writer begins when it has :data:`SETTLED` from every worker, so that what it shows now is what
        the last writer left, and no later change is mistaken for the effect of a pending write or for its absence.
        """
        self._channel = channel
        channel.put(0, SETTLED)
        settled = []
        for number, write in list(self._pending.items()):
            try:
                outcome = look_up_outcome(self._reader, write)
                is_settled = outcome.result is Result.DONE
            except KeyStoreError as error:
                outcome = Outcome(Result.FAILED, str(error))
                is_settled = True
            if is_settled:
                settled.append((number, outcome))
                del self._pending[number]
            else:
                channel.put(number, encode_write(write))
        return settled

    def receive(self) -> list[tuple[int, Outcome]]:
        """Outcomes that have arrived. ChannelClosedError if the writer is gone."""
        assert self._channel is not None
        outcomes = []
        for number, message in self._channel.get():
            if self._pending.pop(number, None) is not None:
                outcomes.append((number, decode_outcome(message)))
        return outcomes

    def disconnect(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


@dataclass(slots=True)
class _Given(Generic[_AskedT]):
    """A job that a helper has from us."""

    number: int
    user: User
    job: _AskedT


class TurnLinks(Generic[_AskedT, _AnswerT]):
    """Jobs waiting for a helper, in turn by user; in each channel to one there is one of ours at a time."""

    def __init__(self, decode: Callable[[bytes], _AnswerT], lost: _AnswerT) -> None:
        """``lost`` is the outcome of a job whose helper did not survive it."""
        self._decode = decode
        self._outcome_if_lost = lost
        self._channels: list[Channel] = []
        self._busy: dict[Channel, _Given[_AskedT]] = {}
        self._queues: OrderedDict[User, deque[tuple[int, _AskedT]]] = OrderedDict()
        self._dropped: set[int] = set()
        self._wanted: dict[int, Callable[[], bool]] = {}
        self._abandoned: list[int] = []

    def send(self, number: int, user: User, job: _AskedT, wanted: Callable[[], bool]) -> None:
        """Queue a job. ``wanted`` is asked when its turn comes: whether the client still waits for it."""
        self._queues.setdefault(user, deque()).append((number, job))
        self._wanted[number] = wanted
        self._dispatch()

    def abandoned(self) -> list[int]:
        """The jobs that were dropped since the last call, because nobody waits for them."""
        numbers, self._abandoned = self._abandoned, []
        return numbers

    def forget(self, number: int) -> None:
        """Nobody waits for this job any more; if it has not begun, it never will."""
        self._wanted.pop(number, None)
        self._dropped.add(number)

    def connect(self, channel: Channel) -> None:
        self._channels.append(channel)
        self._dispatch()

    def receive(self, channel: Channel) -> list[tuple[int, _AnswerT]]:
        """Outcomes that have arrived; if the helper is gone, the job that it had begun has failed."""
        try:
            messages = channel.get()
        except ChannelClosedError as closed:
            channel.close()
            self._channels.remove(channel)
            return self._lose(channel, begun=not (closed.left_unread or channel.has_output))
        outcomes = [(number, self._decode(message)) for number, message in messages]
        if outcomes:
            number = self._busy.pop(channel).number
            self._wanted.pop(number, None)
            self._dropped.discard(number)
            self._dispatch()
        return outcomes

    def _lose(self, channel: Channel, *, begun: bool) -> list[tuple[int, _AnswerT]]:
        """``begun``: the helper had read the job that was in the channel."""
        given = self._busy.pop(channel, None)
        outcomes = []
        if given is not None and begun:
            self._wanted.pop(given.number, None)
            self._dropped.discard(given.number)
            outcomes = [(given.number, self._outcome_if_lost)]
        elif given is not None:  # somebody else's job ended the helper: this one is the next again
            self._queues.setdefault(given.user, deque()).appendleft((given.number, given.job))
            self._queues.move_to_end(given.user, last=False)
        self._dispatch()
        return outcomes

    def _dispatch(self) -> None:
        for channel in self._channels:
            if channel in self._busy:
                continue
            job = self._next()
            if job is None:
                return
            self._busy[channel] = job
            channel.put(job.number, job.job.encode())

    def _next(self) -> _Given[_AskedT] | None:
        while self._queues:
            user, queue = self._queues.popitem(last=False)
            number, job = queue.popleft()
            if queue:
                self._queues[user] = queue  # behind the others: their turn comes first
            if number in self._dropped:
                self._dropped.discard(number)
            elif self._wanted[number]():
                return _Given(number, user, job)
            else:
                del self._wanted[number]
                self._abandoned.append(number)
        return None


class HelperLinks(TurnLinks[Job, JobOutcome]):
    """To the helpers, or to the hosts of a provider."""

    def __init__(self) -> None:
        super().__init__(JobOutcome.decode, _LOST_JOB)


@dataclass(slots=True)
class _Asked:
    """A question under way, and all who wait for its answer: whether each still does."""

    number: int
    user: User
    question: TokenQuestion
    askers: dict[int, Callable[[], bool]]

    def is_wanted(self) -> bool:
        return any(wanted() for wanted in self.askers.values())


class IdentityLinks:
    """Questions about tokens on their way to the identity process: each is asked once, however many wait for it."""

    def __init__(self) -> None:
        self._links: TurnLinks[TokenQuestion, TokenAnswer] = TurnLinks(TokenAnswer.decode, LOST)
        self._by_question: dict[TokenQuestion, _Asked] = {}
        self._by_asker: dict[int, _Asked] = {}
        self._by_number: dict[int, _Asked] = {}
        self._number = 0

    def may_send(self, user: User, question: TokenQuestion) -> bool:
        """Whether the user has not too many questions under way; to join one of them is always allowed."""
        if question in self._by_question:
            return True
        return sum(asked.user is user for asked in self._by_number.values()) < user.max_waiting

    def send(self, number: int, user: User, question: TokenQuestion, wanted: Callable[[], bool]) -> None:
        """As :meth:`TurnLinks.send`."""
        asked = self._by_question.get(question)
        if asked is not None:
            asked.askers[number] = wanted
            self._by_asker[number] = asked
            return
        self._number += 1
        asked = _Asked(self._number, user, question, {number: wanted})
        self._by_question[question] = self._by_asker[number] = self._by_number[self._number] = asked
        self._links.send(self._number, user, question, asked.is_wanted)

    def abandoned(self) -> list[int]:
        """As :meth:`TurnLinks.abandoned`."""
        return [asker for number in self._links.abandoned() for asker in self._take(number)]

    def forget(self, number: int) -> None:
        """As :meth:`TurnLinks.forget`."""
        asked = self._by_asker.pop(number, None)
        if asked is None:
            return
        del asked.askers[number]
        if not asked.askers:
            self._take(asked.number)
            self._links.forget(asked.number)

    def connect(self, channel: Channel) -> None:
        self._links.connect(channel)

    def receive(self, channel: Channel) -> list[tuple[int, TokenAnswer]]:
        """As :meth:`TurnLinks.receive`."""
        answers = self._links.receive(channel)
        return [(asker, answer) for number, answer in answers for asker in self._take(number)]

    def _take(self, number: int) -> list[int]:
        """Who waits for this question's answer, which is no longer under way."""
        asked = self._by_number.pop(number, None)
        if asked is None:
            return []
        del self._by_question[asked.question]
        for asker in asked.askers:
            del self._by_asker[asker]
        return list(asked.askers)
