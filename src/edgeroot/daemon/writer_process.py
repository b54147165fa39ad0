"""The process that writes one store: takes whatever has queued, commits it at once, answers after the fsync."""

from __future__ import annotations

from collections.abc import Sequence
from socket import AF_UNIX, MSG_PEEK, SOCK_STREAM, socketpair
from typing import Final

from edgeroot.daemon.channel import Channel, ChannelClosedError
from edgeroot.daemon.channel_server import ChannelServer
from edgeroot.daemon.control import ControlLine, Message, Order, SupervisorGoneError
from edgeroot.keystore.records import KeyStoreError
from edgeroot.keystore.write_codec import decode_outcome, decode_write, encode_outcome, encode_write
from edgeroot.keystore.writer import Writer
from edgeroot.keystore.writes import Outcome, Write

_WRITE_THROUGH_S: Final = 5.0
SETTLED: Final = b""
"""A client's first message: it has looked up in the store what became of the writes that it has no answer to."""


def run_writer(writer: Writer, control: ControlLine, *, clients: int) -> None:
    """Serve until the supervisor says DRAIN and everybody has gone, or until the supervisor itself is gone.

    The first ``clients`` of the last writer still have to find out what that one did; nothing is written before.
    """
    server = ChannelServer(control)
    writer.start()
    server.ready()
    asked: list[tuple[Channel, int, bytes]] = []
    settled: set[Channel] = set()
    begun = False
    try:
        while not server.finished:
            for channel in server.stirred(longest_s=None):
                for number, message in server.receive(channel):
                    if message == SETTLED:
                        settled.add(channel)
                    else:
                        asked.append((channel, number, message))
            begun = begun or (server.met >= clients and settled.issuperset(server.channels))
            if asked and begun:
                _commit(writer, server, asked)
                asked = []
                settled.clear()
    except SupervisorGoneError:
        pass
    finally:
        writer.close()


def _commit(writer: Writer, server: ChannelServer, asked: list[tuple[Channel, int, bytes]]) -> None:
    outcomes = writer.apply([decode_write(message) for _, _, message in asked])
    answered: dict[int, Channel] = {}
    for (channel, number, _), outcome in zip(asked, outcomes, strict=True):
        channel.put(number, encode_outcome(outcome))
        answered[id(channel)] = channel
    for channel in answered.values():
        server.flush(channel)


def write_through(control: ControlLine, batch: Sequence[Write]) -> list[Outcome]:
    """For the supervisor, which waits: have a writer that runs carry out these writes. KeyStoreError if it does not."""
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    channel = Channel(ours)
    outcomes: dict[int, Outcome] = {}
    try:
        with theirs:
            control.send(Message(Order.CONNECT, None, theirs))
        ours.settimeout(_WRITE_THROUGH_S)
        channel.put(0, SETTLED)
        for number, write in enumerate(batch, 1):
            channel.put(number, encode_write(write))
        channel.flush()
        while len(outcomes) < len(batch):
            ours.recv(1, MSG_PEEK)  # waits, as reading the channel does not
            outcomes |= {number: decode_outcome(message) for number, message in channel.get()}
    except (OSError, ChannelClosedError) as error:
        raise KeyStoreError("the writer of the key store does not answer: try again") from error
    finally:
        channel.close()
    return [outcomes[number] for number in range(1, len(batch) + 1)]
