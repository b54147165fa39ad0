"""The service ends kept connections when it likes, and no request is lost by it."""

from __future__ import annotations

import random
import time
from functools import partial

import pytest

from edgeroot.client import templates
from edgeroot.client.errors import EndpointError
from tests.support.clients import DIGEST, ECDSA, each, forked
from tests.support.service import Service, running_service

CLIENTS = 4
LOAD_S = 1.5


def use(service: Service, index: int, pause_s: float) -> int:
    """Requests that a client never repeats by itself; how many. Raises if one of them goes unanswered."""
    rng = random.Random(index)
    count = 0
    end_s = time.monotonic() + LOAD_S
    with service.client() as client:
        while time.monotonic() < end_s:
            client.ping()  # over a used connection, so that the client knows that the service keeps them
            client.generate_key(f"{index}-{count}", templates.ecdsa_p256())
            time.sleep(rng.uniform(0.9, 1.1) * pause_s)
            client.destroy_key(f"{index}-{count}")
            count += 1
    return count


@pytest.mark.parametrize(
    ("listener", "pause_s"),
    [("max_requests_per_connection = 3", 0.0), ("kept_connection_idle_timeout = 20", 0.02)],
    ids=["after three requests", "when idle"],
)
def test_no_request_crosses_the_end_of_a_connection(listener: str, pause_s: float) -> None:
    with running_service(listener=listener) as service:
        with forked(*[partial(use, service, index, pause_s) for index in range(CLIENTS)]) as running:
            assert min(each(running)) > 10
        with service.client() as client:
            assert client.list_keys() == ()


@pytest.mark.parametrize("keep", [False, True], ids=["a connection each", "kept connections"])
def test_at_an_orderly_end_every_request_is_answered_or_finds_nobody(*, keep: bool) -> None:
    with running_service() as service:

        def use_until_nobody_is_there(index: int) -> int:
            with service.client(keep_connection=keep) as client:
                for count in range(1_000_000):
                    try:
                        client.generate_key(f"{index}-{count}", templates.ecdsa_p256())
                        client.sign_hash(f"{index}-{count}", ECDSA, DIGEST)
                    except EndpointError:
                        return count
            raise AssertionError("the service did not end")

        for round_ in range(4):
            works = [partial(use_until_nobody_is_there, round_ * CLIENTS + index) for index in range(CLIENTS)]
            with forked(*works) as running:
                time.sleep(0.2)
                assert service.stop() == 0
                assert all(count > 1 for count in each(running))
            service.start()
