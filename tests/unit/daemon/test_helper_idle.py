"""What a process that serves jobs does in the seconds without any."""

from __future__ import annotations

from itertools import pairwise
from threading import Thread
from time import monotonic, sleep

import pytest

from edgeroot.daemon import helper_process
from edgeroot.daemon.channel import Channel
from edgeroot.daemon.control import ControlLine, Message, Order, Peer, Role, connect
from edgeroot.daemon.helper_process import serve_jobs
from edgeroot.service.jobs import Executor, Job, JobOutcome

IDLE_S = 0.05


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper_process, "IDLE_S", IDLE_S)


class Working(Executor):
    """Takes its time with each job."""

    def __init__(self) -> None:
        super().__init__({})
        self.done = 0

    def execute(self, job: Job) -> JobOutcome:
        sleep(IDLE_S / 5)
        self.done += 1
        return JobOutcome(0)


def test_it_is_called_once_in_each_such_second_until_the_end() -> None:
    ours, theirs = ControlLine.pair()
    calls: list[float] = []
    serving = Thread(
        target=serve_jobs, args=(Executor({}), theirs), kwargs={"when_idle": lambda: calls.append(monotonic())}
    )
    began_s = monotonic()
    serving.start()
    while len(calls) < 4:
        sleep(0.01)
    assert ours.send(Message(Order.DRAIN))
    serving.join(10)
    assert not serving.is_alive()
    times = [began_s, *calls]
    assert all(later - earlier >= IDLE_S for earlier, later in pairwise(times))
    ours.close()
    theirs.close()


def test_jobs_come_first() -> None:
    ours, theirs = ControlLine.pair()
    executor = Working()
    idle_at: list[int] = []
    serving = Thread(
        target=serve_jobs, args=(executor, theirs), kwargs={"when_idle": lambda: idle_at.append(executor.done)}
    )
    worker_end, line = ControlLine.pair()
    connect(line, Peer(Role.WORKER, 0), ours, Peer(Role.HELPER, 0))
    [message] = worker_end.receive()
    assert message.channel is not None
    channel = Channel(message.channel)
    for number in range(50):
        channel.put(number, Job(0, 1, b"", deadline_s=monotonic() + 60).encode())
    channel.flush()
    serving.start()
    while not idle_at:
        sleep(0.01)
    assert idle_at[0] == executor.done == 50
    channel.close()
    ours.send(Message(Order.DRAIN))
    serving.join(10)
    assert not serving.is_alive()
    for one in (ours, theirs, worker_end, line):
        one.close()
