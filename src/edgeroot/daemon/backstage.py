"""The processes behind a worker, as its loop sees them: channels in its poll that bring outcomes."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import inf
from typing import Final

from edgeroot.daemon.channel import Channel, ChannelClosedError
from edgeroot.daemon.control import Message, Order, Peer, Role
from edgeroot.daemon.elsewhere import HelperLinks, IdentityLinks, WriterLink
from edgeroot.daemon.users import User
from edgeroot.keystore.writes import Write
from edgeroot.providers.api import BackEndCall, Link
from edgeroot.service.effects import EffectOutcome
from edgeroot.service.jobs import Job, JobOutcome
from edgeroot.service.questions import TokenAnswer, TokenQuestion
from edgeroot.wire.status import ResponseStatus

Waited = WriterLink | HelperLinks | IdentityLinks | Link
"""Whose answer a request can wait for."""

_NOT_CONNECTED: Final = (-1, 0)
_ABANDONED: Final = JobOutcome(ResponseStatus.CONNECTION_ERROR)
_UNWANTED: Final = TokenAnswer(ResponseStatus.CONNECTION_ERROR, "the client has gone")


class Backstage:
    """Connects writers, helpers and others at the supervisor's word, and hands what they say to ``resume``."""

    def __init__(
        self,
        poll: select.epoll,
        writers: Sequence[WriterLink],
        hosts: Iterable[int],
        resume: Callable[[int, EffectOutcome], None],
    ) -> None:
        self.writers = writers
        self.helpers = HelperLinks()
        self.identity = IdentityLinks()
        self.hosts = {provider: HelperLinks() for provider in hosts}  # by the index of the provider that lives there
        self._links: dict[Link, tuple[int, int]] = {}  # with the descriptor that the poll knows, and which connection's
        self._poll = poll
        self._resume = resume
        self._sources: dict[int, Callable[[], None]] = {}
        self._channels: list[Channel] = []
        self._blocked: set[int] = set()  # channels whose other end takes no more for now
        self._stirred = False  # there may be something to send, or a job to let go
        self.due_s = inf
        """When ``flush`` is to be called although nothing has happened."""

    def send_write(self, store: int, number: int, write: Write) -> None:
        """Queue a write for the writer of this store."""
        self._stirred = True
        self.writers[store].send(number, write)

    def doer_of(self, job: Job) -> HelperLinks:
        """The host of the job's provider if it has one, else the helpers."""
        return self.hosts.get(job.provider, self.helpers)

    def send_job(self, number: int, user: User, job: Job, wanted: Callable[[], bool]) -> None:
        """Queue a job for whoever does it; see :meth:`HelperLinks.send`."""
        self._stirred = True
        self.doer_of(job).send(number, user, job, wanted)

    def send_question(self, number: int, user: User, question: TokenQuestion, wanted: Callable[[], bool]) -> None:
        """Queue a question for the identity process; see :meth:`IdentityLinks.send`."""
        self._stirred = True
        self.identity.send(number, user, question, wanted)

    def send_call(self, number: int, user: User, call: BackEndCall) -> None:
        """Send a call to a back end over its link."""
        self._stirred = True
        self._links.setdefault(call.link, _NOT_CONNECTED)
        failure = call.link.submit(number, user, call)
        if failure is not None:
            self._resume(number, failure)

    def forget(self, waited: Waited, number: int) -> None:
        """Nobody waits any more for what was sent to ``waited`` under this number."""
        self._stirred = True
        waited.forget(number)

    def connect(self, message: Message) -> None:
        """Take up the channel that the supervisor sends; a message without one changes nothing."""
        if message.order is not Order.CONNECT or message.channel is None or message.peer is None:
            return
        self._stirred = True
        channel = Channel(message.channel)
        fd = channel.fileno()
        self._channels.append(channel)
        self._poll.register(fd, select.EPOLLIN)
        index = message.peer.index
        if message.peer.role is Role.WRITER:
            writer = self.writers[index]
            while writer.channel is not None:  # what the last writer still said, to the end of its channel
                self._hear_writer(writer)
            self._sources[fd] = partial(self._hear_writer, writer)
            for number, outcome in writer.connect(channel):
                self._resume(number, outcome)
        else:
            doers = self._doers(message.peer)
            self._sources[fd] = partial(self._hear_helper, doers, channel)
            doers.connect(channel)

    def _doers(self, peer: Peer) -> HelperLinks | IdentityLinks:
        if peer.role is Role.IDENTITY:
            return self.identity
        return self.hosts[peer.index] if peer.role is Role.HOST else self.helpers

    def hear(self, fd: int) -> None:
        """Something has arrived at a descriptor; it may have gone by what another one of this turn said."""
        source = self._sources.get(fd)
        if source is not None:
            self._stirred = True
            source()

    def flush(self, now_s: float) -> None:
        """Send what has been queued, as far as it is taken, and let go the jobs that nobody waits for."""
        if not self._stirred and now_s < self.due_s:
            return
        self._stirred = False
        for doers in (self.helpers, *self.hosts.values()):
            for number in doers.abandoned():
                self._resume(number, _ABANDONED)
        for number in self.identity.abandoned():
            self._resume(number, _UNWANTED)
        for link, known in self._links.items():
            for number, failure in link.flush():
                self._resume(number, failure)
            if known != (link.fileno(), link.connections):
                self._watch_link(link, known[0])
        self.due_s = min((link.due_s for link in self._links), default=inf)
        for channel in self._channels:
            if not channel.has_output:
                continue
            try:
                channel.flush()
            except ChannelClosedError:
                continue  # the poll reports the end of the channel, and there it is dealt with
            self._watch_output(channel)

    def _hear_link(self, link: Link) -> None:
        for number, answer in link.collect():
            self._resume(number, answer)

    def _watch_link(self, link: Link, before: int) -> None:
        """Poll the descriptor that the link has now; the one that it had is closed, and has left the poll by itself."""
        self._sources.pop(before, None)
        fd = link.fileno()
        self._links[link] = fd, link.connections
        if fd >= 0:
            self._sources[fd] = partial(self._hear_link, link)
            self._poll.register(fd, select.EPOLLIN)

    def _hear_writer(self, writer: WriterLink) -> None:
        try:
            outcomes = writer.receive()
        except ChannelClosedError:
            self._lose_writer(writer)
            return
        for number, outcome in outcomes:
            self._resume(number, outcome)

    def _lose_writer(self, writer: WriterLink) -> None:
        if writer.channel is not None:
            self._poll.unregister(writer.channel.fileno())
            self._forget(writer.channel, writer.channel.fileno())
            writer.disconnect()

    def _hear_helper(self, doers: HelperLinks | IdentityLinks, channel: Channel) -> None:
        fd = channel.fileno()
        for number, outcome in doers.receive(channel):
            self._resume(number, outcome)
        if channel.fileno() < 0:  # the helper is gone, and with its channel the place in the poll
            self._forget(channel, fd)

    def _forget(self, channel: Channel, fd: int) -> None:
        del self._sources[fd]
        self._blocked.discard(fd)
        self._channels.remove(channel)

    def _watch_output(self, channel: Channel) -> None:
        fd = channel.fileno()
        if channel.has_output == (fd in self._blocked):
            return
        self._blocked ^= {fd}
        self._poll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if channel.has_output else 0))
