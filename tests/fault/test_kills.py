"""``kill -9`` at random moments while several clients create and destroy: what was acknowledged is true afterwards."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial

from tests.support.clients import all_gone, each, forked, wait_until
from tests.support.ledger import Churn, Ledger, check
from tests.support.service import Service, running_service

CLIENTS = 4
CHURN_S = 0.35
RESTART_ROOM_S = 0.25  # the supervisor gives up when twenty processes end within ten seconds


def churn(service: Service, number: int, rng: random.Random, strike: Callable[[], None]) -> Ledger:
    """A round: clients at work, and ``strike`` at some moment meanwhile."""
    works = [
        Churn(
            service,
            prefix=f"r{number}c{index}",
            seed=rng.randrange(1 << 32),
            duration_s=CHURN_S,
            destroys_shared=index == 0,
        )
        for index in range(CLIENTS)
    ]
    fresh = Ledger()
    with forked(*works) as running:
        time.sleep(rng.uniform(0.03, CHURN_S))
        strike()
        fresh.merge(each(running))
    return fresh


def kill_one(service: Service, name: str, rng: random.Random) -> None:
    os.kill(rng.choice(service.children(name)), signal.SIGKILL)


def complete(service: Service, name: str, count: int) -> None:
    wait_until(lambda: len(service.children(name)) == count, f"{count} {name}s run")


def test_the_whole_service_is_killed(rounds: int, rng: random.Random) -> None:
    ledger = Ledger()
    with running_service() as service:
        for number in range(rounds):
            fresh = churn(service, number, rng, service.kill)
            ledger.merge([fresh])
            service.start()
            check(service, ledger, fresh, unused_name=f"unused-{number}")
        assert ledger.refused == {}
        assert len(ledger.names) > rounds


def test_the_supervisor_alone_is_killed_and_takes_all_with_it(rng: random.Random) -> None:
    ledger = Ledger()
    with running_service() as service:
        for number in range(3):
            children = service.children()

            def strike() -> None:
                service.signal(signal.SIGKILL)
                assert service.process is not None
                service.process.wait()

            fresh = churn(service, number, rng, strike)
            ledger.merge([fresh])
            wait_until(partial(all_gone, children), "all children are gone")
            service.start()
            check(service, ledger, fresh, unused_name=f"unused-{number}")
        assert ledger.refused == {}


def test_workers_are_killed(rounds: int, rng: random.Random) -> None:
    ledger = Ledger()
    with running_service(core="thread_pool_size = 3") as service:
        for number in range(rounds):
            names = ["worker", "writer"] if number % 4 == 3 else ["worker"]  # the writer now and then with it

            def strike(names: list[str] = names) -> None:
                for name in names:
                    kill_one(service, name, rng)

            fresh = churn(service, number, rng, strike)
            ledger.merge([fresh])
            complete(service, "worker", 3)
            complete(service, "writer", 1)
            check(service, ledger, fresh, unused_name=f"unused-{number}")
            time.sleep(RESTART_ROOM_S)
        assert ledger.refused == {}
        assert service.log().count("was killed by SIGKILL; starting it anew") == rounds + rounds // 4


def test_the_writer_is_killed_and_its_clients_do_not_notice(rounds: int, rng: random.Random) -> None:
    ledger = Ledger()
    with running_service(core="thread_pool_size = 3") as service:
        for number in range(rounds):
            fresh = churn(service, number, rng, lambda: kill_one(service, "writer", rng))
            ledger.merge([fresh])
            complete(service, "writer", 1)
            check(service, ledger, fresh, unused_name=f"unused-{number}")
            time.sleep(RESTART_ROOM_S)
        # No answer is missing and none is an error: whatever waited was answered by the next writer.
        assert ledger.refused == {}
        assert ledger.broken == 0
        assert service.log().count("was killed by SIGKILL; starting it anew") == rounds
