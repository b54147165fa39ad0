"""``kill -9`` in the secure world and of the service at random moments under load: what was acknowledged stays true."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edgeroot.abi.services import ATTESTATION
from edgeroot.client import templates
from tests.fault.test_kills import churn
from tests.support.clients import DIGEST, ECDSA, wait_until
from tests.support.ledger import Ledger, check
from tests.support.requirements import require_root
from tests.support.secure_storage import stored_by
from tests.support.service import Service, running_service
from tests.support.world import World, descendants, running_world, with_world

CRYPTO_PARTITION = 0x8002


def strike_partition(world: World, name: str, rng: random.Random) -> None:
    """Kill one process of a partition: all of them, and its sandbox, end with it. The manager has noticed then."""
    pid = world.partition(name)["pid"]
    os.kill(rng.choice(descendants(pid)[1:]), signal.SIGKILL)
    wait_until(partial(is_another_process, world, name, pid), "a new process")


def all_ready(world: World) -> bool:
    return all(one["state"] == "ready" for one in world.status()["partitions"])


def is_another_process(world: World, name: str, pid: int) -> bool:
    return bool(world.partition(name)["pid"] != pid)


def hold_nothing(pids: list[int]) -> bool:
    """Whether each has let go of its descriptors: it is gone, or only waits to be reaped."""
    for pid in pids:
        try:
            if " Z " not in Path(f"/proc/{pid}/stat").read_text():
                return False
        except OSError:
            pass
    return True


def restart(service: Service) -> None:
    """What a crash of the secure world left half done is finished when the service starts."""
    service.end()
    service.start()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["crypto", "storage", "manager", "service"])
def test_nothing_acknowledged_is_lost_and_nothing_else_remains(victim: str, rounds: int, rng: random.Random) -> None:
    require_root("read what the partitions have stored")
    ledger = Ledger()
    with running_world() as world, running_service(provider=with_world(world)) as service:
        strikes: dict[str, Callable[[], None]] = {
            "crypto": lambda: strike_partition(world, "crypto", rng),
            "storage": lambda: strike_partition(world, "storage", rng),
            "manager": world.kill,
            "service": service.kill,
        }
        for number in range(max(3, rounds // 4)):
            fresh = churn(service, number, rng, strikes[victim])
            ledger.merge([fresh])
            if victim == "manager":
                world.stop()
                world.start()
            wait_until(lambda: all_ready(world), "all partitions run")
            if victim == "service":
                service.start()
            else:
                restart(service)
            check(service, ledger, fresh, unused_name=f"unused-{number}")
        with service.client() as client:
            listed = len(client.list_keys())
        assert len(ledger.names) > 10
        service.end()
        world.stop()
        assert stored_by(world, CRYPTO_PARTITION) == listed


@pytest.mark.timeout(120)
def test_a_killed_partition_comes_back_and_serves(rng: random.Random) -> None:
    require_root("kill processes of other users")
    with running_world() as world:
        for name in ("storage", "crypto", "attestation", "firmware-update"):
            before = world.partition(name)
            strike_partition(world, name, rng)
            wait_until(lambda: all_ready(world), "all partitions run")
            assert world.partition(name)["restarts"] == before["restarts"] + 1
        with world.transport() as transport, transport.open_session(ATTESTATION) as session:
            status, token = session.call(0x0101, b"\0\1\0\x20" + bytes(32))  # which needs crypto, which needs storage
            assert status == 0
            assert len(token) > 200


@pytest.mark.timeout(120)
def test_requests_wait_for_a_partition_that_starts_again(rng: random.Random) -> None:
    require_root("kill processes of other users")
    with running_world() as world, running_service(provider=with_world(world)) as service:
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
        for _ in range(3):
            before = descendants(world.partition("crypto")["pid"])
            strike_partition(world, "crypto", rng)
            wait_until(partial(hold_nothing, before), "the last of them has let go of its channels")
            for _ in range(10):  # on as many connections, so that every worker is asked
                with service.client() as client:
                    client.sign_hash("key", ECDSA, DIGEST)
            assert all_ready(world)
