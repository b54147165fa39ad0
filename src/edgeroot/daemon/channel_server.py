"""What the writer and the helpers have in common: a poll over the channels of their clients and the control line."""

from __future__ import annotations

import select
from collections.abc import Collection

from edgeroot.daemon.channel import Channel, ChannelClosedError
from edgeroot.daemon.control import ControlLine, Message, Order


class ChannelServer:
    """Collects messages from clients that come and go at the supervisor's word."""

    def __init__(self, control: ControlLine) -> None:
        self._control = control
        self._poll = select.epoll()
        self._poll.register(control.fileno(), select.EPOLLIN)
        self._channels: dict[int, Channel] = {}
        self._blocked: set[int] = set()  # clients that take no more for now
        self._watched: set[int] = set()
        self._draining = False
        self.met = 0
        """How many clients have ever been connected."""

    @property
    def channels(self) -> Collection[Channel]:
        """The clients that are still there."""
        return self._channels.values()

    def ready(self) -> None:
        """Tell the supervisor that requests may come."""
        self._control.send(Message(Order.READY))

    def watch(self, fd: int) -> None:
        """Have :meth:`stirred` return also when this descriptor becomes readable."""
        self._watched.add(fd)
        self._poll.register(fd, select.EPOLLIN)

    @property
    def finished(self) -> bool:
        """Whether the supervisor has said DRAIN and every client has gone."""
        return self._draining and not self._channels

    def stirred(self, *, longest_s: float | None) -> list[Channel]:
        """The clients that have sent something, or have gone.

        It is waited for so long at most, for ever if that is None.

        SupervisorGoneError when the control line ends.
        """
        stirred = []
        for fd, event in self._poll.poll(longest_s):
            channel = self._channels.get(fd)
            if fd in self._watched:
                continue
            if channel is None:
                self._obey()
            elif event & ~select.EPOLLOUT:
                stirred.append(channel)
            else:
                self.flush(channel)
        return stirred

    def receive(self, channel: Channel) -> list[tuple[int, bytes]]:
        """What has arrived from a client: its number for it, and the message. Nothing if it has gone."""
        fd = channel.fileno()
        if fd < 0:
            return []
        try:
            return channel.get()
        except ChannelClosedError:
            self._drop(fd)
            return []

    def flush(self, channel: Channel) -> None:
        """Send what is queued for a client; what it does not take yet follows later."""
        fd = channel.fileno()
        if fd < 0:  # the client has gone, and nobody waits for the answer
            return
        try:
            channel.flush()
        except ChannelClosedError:
            self._drop(fd)
            return
        if channel.has_output != (fd in self._blocked):
            self._blocked ^= {fd}
            self._poll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if channel.has_output else 0))

    def _obey(self) -> None:
        for message in self._control.receive():
            if message.order is Order.CONNECT and message.channel is not None:
                channel = Channel(message.channel)
                self.met += 1
                self._channels[channel.fileno()] = channel
                self._poll.register(channel.fileno(), select.EPOLLIN)
            elif message.order is Order.DRAIN:
                self._draining = True

    def _drop(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._blocked.discard(fd)
        self._channels.pop(fd).close()
