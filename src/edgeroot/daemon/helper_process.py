"""A process that carries out provider calls which would hold up a worker, one at a time and at the lowest priority."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic
from typing import Final

from edgeroot.daemon.channel_server import ChannelServer
from edgeroot.daemon.control import ControlLine, SupervisorGoneError
from edgeroot.service.jobs import Executor, Job, JobOutcome
from edgeroot.wire.status import ResponseStatus

NICE: Final = 19
IDLE_S: Final = 1.0


def run_helper(executor: Executor, control: ControlLine) -> None:
    """Do slow work of any provider, so that only processor time is used that nobody else wants."""
    os.nice(NICE)
    serve_jobs(executor, control)


def serve_jobs(executor: Executor, control: ControlLine, *, when_idle: Callable[[], None] | None = None) -> None:
    """Serve until the supervisor says DRAIN and everybody has gone, or until the supervisor itself is gone.

    ``when_idle`` is called in each second without a job.

    A client sends its next job when it has the outcome of the last, so that is a turn for each client. What a client
    has sent is read when its turn comes: should this process not survive a job, the others that wait here see that
    theirs was not begun.
    """
    server = ChannelServer(control)
    server.ready()
    idle_at_s = monotonic() + IDLE_S
    try:
        while not server.finished:
            patience_s = None if when_idle is None else max(0.0, idle_at_s - monotonic())
            for channel in server.stirred(longest_s=patience_s):
                for number, message in server.receive(channel):
                    job = Job.decode(message)
                    overdue = monotonic() > job.deadline_s
                    outcome = JobOutcome(ResponseStatus.CONNECTION_ERROR) if overdue else executor.execute(job)
                    channel.put(number, outcome.encode())
                    server.flush(channel)
                    idle_at_s = monotonic() + IDLE_S
            if when_idle is not None and monotonic() >= idle_at_s and not server.finished:
                when_idle()
                idle_at_s = monotonic() + IDLE_S
    except SupervisorGoneError:
        pass
