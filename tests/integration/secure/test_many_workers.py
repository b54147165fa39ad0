"""A service with far more workers than the machine has cores, before and after a reload: each reaches its keys."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

from edgeroot.client import templates
from tests.support.service import Service, running_service
from tests.support.world import running_world, with_world

WORKERS_PER_CORE = 5
ROUNDS = 8


def use_from_many(service: Service, count: int) -> None:
    """Connections at the same time, so that they are spread over the workers."""

    def use(_number: int) -> None:
        for _ in range(ROUNDS):
            with service.client() as client:
                client.sign_hash("key", templates.ecdsa_p256().algorithm, bytes(32))

    with ThreadPoolExecutor(count) as threads:
        list(threads.map(use, range(count)))


def test_every_worker_finds_room_in_the_partition() -> None:
    workers = WORKERS_PER_CORE * len(os.sched_getaffinity(0))
    core = f"thread_pool_size = {workers}"
    with running_world() as world, running_service(provider=with_world(world), core=core) as service:
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
        use_from_many(service, 2 * workers)
        begun = len(service.log())
        service.signal(signal.SIGHUP)
        service.wait_for_log("Parsec is ready.", after=begun)
        use_from_many(service, 2 * workers)
