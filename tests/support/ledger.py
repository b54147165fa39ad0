"""What clients were told while they created and destroyed keys, and whether a service bears it out."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from enum import Enum, auto

import pytest

from edgeroot.client import Client, templates
from edgeroot.client.errors import (
    AlreadyExistsError,
    DoesNotExistError,
    EndpointError,
    OutcomeUnknownError,
    ServiceError,
    TransportError,
)
from edgeroot.wire.status import ResponseStatus
from tests.support.clients import DIGEST, ECDSA, clients_of_every_worker
from tests.support.service import Service

_CONTENDED = 3
# After these nobody knows whether the back end has acted.
UNCERTAIN = (ResponseStatus.PSA_ERROR_COMMUNICATION_FAILURE, ResponseStatus.CONNECTION_ERROR)
_AFTER_NO_SERVICE_S = 0.005


class Told(Enum):
    """What a client knows of a name that only it uses."""

    LIVE = auto()  # the creation was acknowledged
    GONE = auto()  # the destruction was, or the creation certainly did not happen
    UNKNOWN = auto()  # an answer is missing


@dataclass
class Contention:
    """Answers about a name that all clients use."""

    created: int = 0
    destroyed: int = 0
    perhaps_created: int = 0
    perhaps_destroyed: int = 0

    def add(self, other: Contention) -> None:
        self.created += other.created
        self.destroyed += other.destroyed
        self.perhaps_created += other.perhaps_created
        self.perhaps_destroyed += other.perhaps_destroyed

    def allows(self, *, exists: bool) -> bool:
        """Each creation needs that there is no key, each destruction that there is one: so they take turns."""
        balance = self.created - self.destroyed
        return balance - self.perhaps_destroyed <= int(exists) <= balance + self.perhaps_created


@dataclass
class Ledger:
    names: dict[str, Told] = field(default_factory=dict)
    contended: dict[str, Contention] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    broken: int = 0

    def live(self) -> list[str]:
        return [name for name, told in self.names.items() if told is Told.LIVE]

    def merge(self, others: Iterable[Ledger]) -> None:
        for other in others:
            self.names |= other.names
            for name, contention in other.contended.items():
                self.contended.setdefault(name, Contention()).add(contention)
            self.refused += other.refused
            self.broken += other.broken


class Churn:
    """A client that creates, uses and destroys keys for a while and notes what it is told.

    The keys whose names begin with ``prefix`` are its own. On those that everybody shares, ``destroys_shared`` says
    whether it is the one who destroys: of several destructions of one key that a crash leaves unanswered, all may be
    acknowledged.
    """

    def __init__(self, service: Service, *, prefix: str, seed: int, duration_s: float, destroys_shared: bool) -> None:
        self._service = service
        self._prefix = prefix
        self._rng = random.Random(seed)
        self._duration_s = duration_s
        self._destroys_shared = destroys_shared
        self._ledger = Ledger()

    def __call__(self) -> Ledger:
        end_s = time.monotonic() + self._duration_s
        with self._service.client(keep_connection=self._rng.random() < 0.5, timeout_s=20.0) as client:
            number = 0
            while time.monotonic() < end_s:
                number += 1
                try:
                    self._step(client, f"{self._prefix}-{number}")
                except EndpointError:
                    self._ledger.broken += 1
                    time.sleep(_AFTER_NO_SERVICE_S)
                except TransportError:
                    self._ledger.broken += 1
                except ServiceError as error:
                    self._ledger.refused[str(error)] += 1
        return self._ledger

    def _step(self, client: Client, name: str) -> None:
        live = self._ledger.live()[-50:]
        choice = self._rng.random()
        if choice < 0.3:
            self._share(client, f"shared-{self._rng.randrange(_CONTENDED)}")
        elif choice < 0.6 or not live:
            self._create(client, name)
        elif choice < 0.85:
            self._destroy(client, self._rng.choice(live))
        else:
            client.sign_hash(self._rng.choice(live), ECDSA, DIGEST)

    def _create(self, client: Client, name: str) -> None:
        try:
            client.generate_key(name, templates.ecdsa_p256())
        except OutcomeUnknownError:
            self._ledger.names[name] = Told.UNKNOWN
            raise
        except TransportError:
            self._ledger.names[name] = Told.GONE
            raise
        except ServiceError as error:
            if error.status in UNCERTAIN:
                self._ledger.names[name] = Told.UNKNOWN
            raise
        self._ledger.names[name] = Told.LIVE

    def _destroy(self, client: Client, name: str) -> None:
        try:
            client.destroy_key(name)
        except OutcomeUnknownError:
            self._ledger.names[name] = Told.UNKNOWN
            raise
        except ServiceError as error:
            if error.status in UNCERTAIN:
                self._ledger.names[name] = Told.UNKNOWN
            raise
        self._ledger.names[name] = Told.GONE

    def _share(self, client: Client, name: str) -> None:
        contention = self._ledger.contended.setdefault(name, Contention())
        if self._destroys_shared:
            try:
                client.destroy_key(name)
                contention.destroyed += 1
            except DoesNotExistError:
                pass
            except OutcomeUnknownError:
                contention.perhaps_destroyed += 1
                raise
            except ServiceError as error:
                contention.perhaps_destroyed += error.status in UNCERTAIN
                raise
            return
        try:
            client.generate_key(name, templates.ecdsa_p256())
            contention.created += 1
        except AlreadyExistsError:
            pass
        except OutcomeUnknownError:
            contention.perhaps_created += 1
            raise
        except ServiceError as error:
            contention.perhaps_created += error.status in UNCERTAIN
            raise


def check(service: Service, ledger: Ledger, fresh: Ledger, *, unused_name: str) -> None:
    """Hold the service to what its clients were told: ``fresh`` in every detail, the rest of ``ledger`` by its list."""
    with clients_of_every_worker(service, 12) as clients:
        client = clients[0]
        listed = {key.name for key in client.list_keys()}
        lost = [name for name, told in ledger.names.items() if told is Told.LIVE and name not in listed]
        assert lost == [], "acknowledged keys are gone"
        risen = [name for name, told in ledger.names.items() if told is Told.GONE and name in listed]
        assert risen == [], "destroyed keys are there"
        for name, contention in ledger.contended.items():
            assert contention.allows(exists=name in listed), f"{name}: {contention}, exists: {name in listed}"
            _check_name(client, name, exists=name in listed)
        for name, told in fresh.names.items():
            if told is Told.GONE:
                with pytest.raises(DoesNotExistError):
                    clients[hash(name) % len(clients)].sign_hash(name, ECDSA, DIGEST)
            else:
                _check_name(clients[hash(name) % len(clients)], name, exists=name in listed)
        for name, told in fresh.names.items():
            if told is Told.UNKNOWN:  # it can be made and unmade: no ghost has the name
                if name not in listed:
                    client.generate_key(name, templates.ecdsa_p256())
                client.destroy_key(name)
                ledger.names[name] = Told.GONE
        client.generate_key(unused_name, templates.ecdsa_p256())
        client.sign_hash(unused_name, ECDSA, DIGEST)
        client.destroy_key(unused_name)
        remaining = len(client.list_keys())
    assert rows(service) == (remaining, 0), "the store holds what nobody can see"


def _check_name(client: Client, name: str, *, exists: bool) -> None:
    if exists:
        client.verify_hash(name, ECDSA, DIGEST, client.sign_hash(name, ECDSA, DIGEST))
    else:
        with pytest.raises(DoesNotExistError):
            client.sign_hash(name, ECDSA, DIGEST)


def rows(service: Service) -> tuple[int, int]:
    """All keys in the store, and those that are half created or half destroyed."""
    with closing(sqlite3.connect(f"file:{service.store_path}?mode=ro", uri=True)) as connection:
        everything, unfinished = connection.execute("SELECT count(*), count(nullif(state, 0)) FROM key").fetchone()
    return everything, unfinished
