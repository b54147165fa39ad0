"""The process that writes one store: takes whatever has queued, commits it at once, answers after the fsync."""

from __future__ import annotations

from typing import Final

from edgeroot.daemon.channel import Channel
from edgeroot.daemon.channel_server import ChannelServer
from edgeroot.daemon.control import ControlLine, SupervisorGoneError
from edgeroot.keystore.writer import Writer
from edgeroot.keystore.writes import decode_write, encode_outcome

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
            for channel, number, message in server.receive(wait=True):
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
