"""The process that writes one store: takes whatever has queued, commits it at once, answers after the fsync."""

from __future__ import annotations

from edgeroot.daemon.channel import Channel
from edgeroot.daemon.channel_server import ChannelServer
from edgeroot.daemon.control import ControlLine, SupervisorGoneError
from edgeroot.keystore.writer import Writer
from edgeroot.keystore.writes import decode_write, encode_outcome


def run_writer(writer: Writer, control: ControlLine) -> None:
    """Serve until the supervisor says DRAIN and everybody has gone, or until the supervisor itself is gone."""
    server = ChannelServer(control)
    writer.start()
    server.ready()
    try:
        while not server.finished:
            asked = server.receive(wait=True)
            if asked:
                _commit(writer, server, asked)
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
