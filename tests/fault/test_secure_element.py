"""A host or a whole service that is killed while keys come into an emulated element and go: no slot is lost."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import pytest

from edgeroot.client import Client, templates
from edgeroot.client.errors import DoesNotExistError, EndpointError, ServiceError, TransportError
from edgeroot.wire.status import ResponseStatus
from tests.fault.test_kills import kill_one
from tests.support.clients import DIGEST, ECDSA, wait_until
from tests.support.element_service import ElementService, running_element_service
from tests.support.ledger import UNCERTAIN, Told
from tests.support.service import Service

CLIENTS = 3
KEYS = 3  # of each client, which leaves slots free
LONGEST_S = 0.6


class Work(threading.Thread):
    """Makes and destroys keys of its own until the service does not answer, and notes what it was told."""

    def __init__(self, service: Service, number: int) -> None:
        super().__init__()
        self._service = service
        self._names = [f"client{number}-key{key}" for key in range(KEYS)]
        self._rng = random.Random(number)
        self.told = dict.fromkeys(self._names, Told.GONE)
        self.acknowledged = 0
        self.refused: list[ResponseStatus] = []

    def run(self) -> None:
        with self._service.client() as client:
            while self._one(client, self._rng.choice(self._names)):
                pass

    def _one(self, client: Client, name: str) -> bool:
        """Whether an answer came that is certain."""
        before, self.told[name] = self.told[name], Told.UNKNOWN
        try:
            if before is Told.LIVE:
                client.destroy_key(name)
            else:
                client.generate_key(name, templates.ecdsa_p256())
        except ServiceError as error:
            if error.status not in UNCERTAIN:
                self.refused.append(ResponseStatus(error.status))
            return False
        except (TransportError, EndpointError):
            return False
        self.told[name] = Told.GONE if before is Told.LIVE else Told.LIVE
        self.acknowledged += 1
        return True


def check(running: ElementService, told: dict[str, Told]) -> None:
    """What was acknowledged holds, and each key has a slot of its own that nothing else has taken."""
    with running.service.client() as client:
        for name, state in told.items():
            try:
                client.sign_hash(name, ECDSA, DIGEST)
                assert state is not Told.GONE, f"{name} was destroyed and is there"
            except DoesNotExistError:
                assert state is not Told.LIVE, f"{name} was made and is not there"
        points = {client.export_public_key(key.name) for key in client.list_keys()}
        assert len(points) == len(client.list_keys()), "two keys share a slot"
    (path,) = running.service.store_path.parent.glob("*-slots")
    assert len(json.loads(path.read_text())["slots"]) == len(points), "a slot is taken and has no key, or the reverse"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("whole", [False, True], ids=["host", "service"])
def test_killed_under_load_it_loses_no_slot(tmp_path: Path, rounds: int, rng: random.Random, *, whole: bool) -> None:
    acknowledged = 0
    with running_element_service(tmp_path) as running:
        service = running.service
        for _ in range(max(3, rounds // 2)):
            works = [Work(service, number) for number in range(CLIENTS)]
            for work in works:
                work.start()
            threading.Event().wait(rng.uniform(0.05, LONGEST_S))
            if whole:
                service.kill()
            else:
                kill_one(service, "host", rng)
                wait_until(lambda: len(service.children("host")) == 1, "another host runs")
                service.kill()
            for work in works:
                work.join()
            running.start()
            told = {name: state for work in works for name, state in work.told.items()}
            check(running, told)
            assert [status for work in works for status in work.refused] == []
            acknowledged += sum(work.acknowledged for work in works)
            with service.client() as client:
                for key in client.list_keys():
                    client.destroy_key(key.name)
    assert acknowledged > 3 * CLIENTS
