"""``kill -9`` while clients store, replace and remove objects: what they were told stays true, and nothing is left."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from edgeroot.client import Client
from edgeroot.client.errors import DoesNotExistError, EndpointError, ServiceError, TransportError
from tests.fault.test_secure_world_kills import all_ready, restart, strike_partition
from tests.support.clients import each, forked, wait_until
from tests.support.ledger import rows
from tests.support.requirements import require_root
from tests.support.secure_storage import stored_by
from tests.support.service import Service, running_service
from tests.support.world import running_world, with_world

_FIRST_USER = 1  # the FF-A id of the first user who is listed
_CLIENTS = 3
_ROUND_S = 0.5
_NAMES = 5
_AFTER_NO_SERVICE_S = 0.005


@dataclass
class Told:
    """By name, what an object may hold after all that a client was told; None stands for no object."""

    possible: dict[str, set[bytes | None]] = field(default_factory=dict)
    acknowledged: int = 0


class Storing:
    """A client at work on names of its own."""

    def __init__(self, service: Service, prefix: str, told: Told, seed: int) -> None:
        self._service = service
        self._prefix = prefix
        self._told = told
        self._rng = random.Random(seed)

    def __call__(self) -> Told:
        end_s = time.monotonic() + _ROUND_S
        with self._service.client(timeout_s=20.0) as client:
            while time.monotonic() < end_s:
                try:
                    self._step(client)
                except EndpointError:
                    time.sleep(_AFTER_NO_SERVICE_S)
                except (TransportError, ServiceError):
                    pass  # noted
        return self._told

    def _step(self, client: Client) -> None:
        name = f"{self._prefix}-{self._rng.randrange(_NAMES)}"
        possible = self._told.possible.setdefault(name, {None})
        content = None if self._rng.random() < 0.3 else self._rng.randbytes(self._rng.randrange(200))
        possible.add(content)  # what is begun may be done, whatever becomes of the answer
        try:
            if content is None:
                client.storage_remove(name)
            else:
                client.storage_set(name, content)
        except DoesNotExistError:
            pass
        else:
            possible.intersection_update({content})
            self._told.acknowledged += 1


def check(service: Service, told: list[Told]) -> None:
    """Every object holds something that its client allows, and is listed; the store holds nothing half done."""
    with service.client() as client:
        listed = {one.name for one in client.storage_list()}
        for name, possible in ((n, p) for one in told for n, p in one.possible.items()):
            try:
                content: bytes | None = bytes(client.storage_get(name))
            except DoesNotExistError:
                content = None
            assert content in possible, f"{name} holds {content!r}, not one of {possible!r}"
            assert (content is not None) == (name in listed), name
            possible.intersection_update({content})
    assert rows(service) == (len(listed), 0), "the store holds what nobody can see"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["storage", "manager", "service"])
def test_objects_survive(victim: str, rounds: int, rng: random.Random) -> None:
    require_root("read what the partition has stored")
    told = [Told() for _ in range(_CLIENTS)]
    with running_world() as world, running_service(provider=with_world(world)) as service:
        strikes: dict[str, Callable[[], None]] = {
            "storage": lambda: strike_partition(world, "storage", rng),
            "manager": world.kill,
            "service": service.kill,
        }
        for _ in range(max(3, rounds // 4)):
            works = [Storing(service, f"c{n}", one, rng.randrange(1 << 32)) for n, one in enumerate(told)]
            with forked(*works) as running:
                time.sleep(rng.uniform(0.05, _ROUND_S))
                strikes[victim]()
                told = each(running)
            if victim == "manager":
                world.stop()
                world.start()
            wait_until(lambda: all_ready(world), "all partitions run")
            if victim == "service":
                service.start()
            else:
                restart(service)
            check(service, told)
        with service.client() as client:
            listed = len(client.storage_list())
        service.end()
        world.stop()
        assert sum(one.acknowledged for one in told) > 20
        assert stored_by(world, _FIRST_USER) == listed
