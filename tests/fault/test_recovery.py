"""Processes are killed under load and the service goes on: what nobody answered is resolved without a restart."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.fault.test_kills import RESTART_ROOM_S, churn, complete, kill_one
from tests.fault.test_pkcs11 import check_objects
from tests.fault.test_secure_world_kills import CRYPTO_PARTITION, all_ready, strike_partition
from tests.support.clients import wait_until
from tests.support.ledger import Ledger, check, rows
from tests.support.requirements import require_root
from tests.support.secure_storage import stored_by
from tests.support.service import Service, running_service
from tests.support.softhsm import softhsm, with_hsm
from tests.support.world import running_world, with_world


def resolved(service: Service) -> bool:
    """Whether the store has no record that was reserved or marked."""
    return rows(service)[1] == 0


def strike(
    service: Service,
    rounds: int,
    rng: random.Random,
    strikes: list[Callable[[], None]],
    *,
    is_whole: Callable[[], bool],
) -> Ledger:
    """Rounds of churn with one strike each, after which everything is there again."""
    ledger = Ledger()
    workers = len(service.children("worker"))
    for number in range(max(4, rounds // 4)):
        ledger.merge([churn(service, number, rng, rng.choice(strikes))])
        time.sleep(RESTART_ROOM_S)
        complete(service, "worker", workers)
        wait_until(is_whole, "everything runs again")
    return ledger


@pytest.mark.timeout(600)
def test_killed_workers_and_partitions_leave_nothing_behind(rounds: int, rng: random.Random) -> None:
    require_root("read what the partitions have stored")
    with running_world() as world, running_service(provider=with_world(world)) as service:
        strikes: list[Callable[[], None]] = [
            lambda: kill_one(service, "worker", rng),
            lambda: strike_partition(world, "crypto", rng),
        ]
        ledger = strike(service, rounds, rng, strikes, is_whole=lambda: all_ready(world))
        wait_until(lambda: resolved(service), "what nobody answered is resolved", timeout_s=60)
        check(service, ledger, ledger, unused_name="unused")
        with service.client() as client:
            listed = len(client.list_keys())
        service.end()
        world.stop()
        assert stored_by(world, CRYPTO_PARTITION) == listed


@pytest.mark.timeout(600)
def test_killed_workers_and_hosts_leave_nothing_in_a_token(rounds: int, rng: random.Random) -> None:
    with softhsm() as hsm, running_service(provider=with_hsm(hsm)) as service:
        strikes: list[Callable[[], None]] = [
            lambda: kill_one(service, "worker", rng),
            lambda: kill_one(service, "host", rng),
        ]
        ledger = strike(service, rounds, rng, strikes, is_whole=lambda: len(service.children("host")) == 1)
        wait_until(lambda: resolved(service), "what nobody answered is resolved", timeout_s=60)
        check(service, ledger, ledger, unused_name="unused")
        check_objects(hsm, service)
