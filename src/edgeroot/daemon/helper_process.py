"""A process that carries out provider calls which would hold up a worker, one at a time and at the lowest priority."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from edgeroot.daemon.channel import Channel
from edgeroot.daemon.channel_server import ChannelServer
from edgeroot.daemon.control import ControlLine, SupervisorGoneError
from edgeroot.service.jobs import Executor, Job, JobOutcome
from edgeroot.wire.status import ResponseStatus

NICE: Final = 19
IDLE_S: Final = 1.0
BEGUN: Final = b""
"""Sent when a job's turn has come: should this process not survive it, the others that wait here are not to blame."""


def run_helper(executor: Executor, control: ControlLine) -> None:
    """Do slow work of any provider, so that only processor time is used that nobody else wants."""
    os.nice(NICE)
    serve_jobs(executor, control)


def serve_jobs(executor: Executor, control: ControlLine, *, when_idle: Callable[[], None] | None = None) -> None:
    """Serve until the supervisor says DRAIN and everybody has gone, or until the supervisor itself is gone.

    ``when_idle`` is called in each second without a job.

    Jobs are taken in the order of their arrival. A client sends its next one when it has the outcome of the last, so
    that is a turn for each client.
    """
    server = ChannelServer(control)
    server.ready()
    jobs: deque[tuple[Channel, int, bytes]] = deque()
    idle_at_s = monotonic() + IDLE_S
    try:
        while not (server.finished and not jobs):
            patience_s = None if when_idle is None else max(0.0, idle_at_s - monotonic())
            jobs += server.receive(longest_s=0 if jobs else patience_s)
            if not jobs:
                if when_idle is not None and monotonic() >= idle_at_s and not server.finished:
                    when_idle()
                    idle_at_s = monotonic() + IDLE_S
                continue
            idle_at_s = monotonic() + IDLE_S
            channel, number, message = jobs.popleft()
            if channel.fileno() < 0:  # the client has gone, and nobody waits for the outcome
                continue
            job = Job.decode(message)
            overdue = monotonic() > job.deadline_s
            channel.put(number, BEGUN)
            server.flush(channel)
            outcome = JobOutcome(ResponseStatus.CONNECTION_ERROR) if overdue else executor.execute(job)
            channel.put(number, outcome.encode())
            server.flush(channel)
    except SupervisorGoneError:
        pass
