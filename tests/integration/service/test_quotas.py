"""Quotas at a real service: races of many clients do not pass them, and somebody can see who tried."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from edgeroot.client import Client, errors, templates
from edgeroot.wire.status import ResponseStatus as Status
from tests.support.clients import wait_until
from tests.support.token_service import TokenService, running_token_service

QUOTAS = """
[metrics]
listen = "unix:{folder}/run/metrics.sock"
[[quota]]
authenticator = "JwtSvid"
applications = ["spiffe://cluster.local/ns/shop/*"]
max_keys = 3
algorithms = ["ECDSA(SHA_256)"]
usages = ["SIGN_HASH", "VERIFY_HASH"]
[[quota]]
authenticator = "JwtSvid"
applications = ["*"]
requests_per_second = 20
burst = 30
"""
SIGNING = templates.ecdsa_p256()


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenService]:
    with running_token_service(core='log_format = "json"', start=False) as service:
        with service.service.config_path.open("a") as config:
            config.write(QUOTAS.format(folder=service.service.folder))
        service.service.start()
        yield service


def till(tokens: TokenService) -> Client:
    return tokens.client(tokens.till_token(), 0, name="till")


def audited(tokens: TokenService, quota: str) -> list[dict[str, object]]:
    """What the audit log says of requests that went beyond it."""
    lines = (json.loads(line) for line in tokens.service.log().splitlines() if line.startswith("{"))
    return [line for line in lines if line.get("quota") == quota]


def metrics(tokens: TokenService) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(f"{tokens.service.folder}/run/metrics.sock")
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n")
        received = b""
        while data := connection.recv(65536):
            received += data
    return received.decode()


def test_many_clients_at_once_make_no_more_keys_than_the_quota_says(tokens: TokenService) -> None:
    outcomes: list[str] = []

    def make(number: int) -> None:
        with tokens.client(token, 0, name=f"till-{number}") as client:
            for attempt in range(3):
                try:
                    client.generate_key(f"{number}-{attempt}", SIGNING)
                except errors.ServiceError as error:
                    outcomes.append(error.status.name)
                else:
                    outcomes.append("made")

    token = tokens.till_token()
    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(outcomes)) == ["PSA_ERROR_INSUFFICIENT_STORAGE", "made"]
    assert outcomes.count("made") == 3
    with till(tokens) as client:
        names = [key.name for key in client.list_keys()]
        assert len(names) == 3
        client.destroy_key(names[0])
        client.generate_key("again", SIGNING)
        for name in [*names[1:], "again"]:
            client.destroy_key(name)
    wait_until(lambda: len(audited(tokens, "max_keys")) == 21, "the audit log's lines")
    assert {line["status"] for line in audited(tokens, "max_keys")} == {"PsaErrorInsufficientStorage"}
    assert 'edgeroot_requests_beyond_quota_total{limit="max_keys"} 21.0' in metrics(tokens)
    assert tokens.service.log().count("an application goes beyond its quota (max_keys)") in (1, 2)  # by worker


def test_algorithms_and_usages_that_are_not_granted(tokens: TokenService) -> None:
    with till(tokens) as client:
        for attributes in (templates.aes_gcm(), templates.ecdsa_p384(), templates.ecdsa_p256(exportable=True)):
            with pytest.raises(errors.NotPermittedError):
                client.generate_key("other", attributes)
    wait_until(lambda: len(audited(tokens, "usages")) == 2, "the lines about usages")
    wait_until(lambda: len(audited(tokens, "algorithms")) == 1, "the line about algorithms")


def test_requests_are_counted_over_all_workers(tokens: TokenService) -> None:
    token = tokens.camera_token()
    statuses: list[Status] = []
    end_s = time.monotonic() + 1.0

    def ask(number: int) -> None:
        with tokens.client(token, 1, name=f"camera-{number}") as client:
            while time.monotonic() < end_s:
                try:
                    client.list_keys()
                except errors.ServiceError as error:
                    statuses.append(error.status)
                else:
                    statuses.append(Status.SUCCESS)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    begun_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    most = 30 + 20 * (time.monotonic() - begun_s) + 1
    assert set(statuses) == {Status.SUCCESS, Status.PSA_ERROR_INSUFFICIENT_MEMORY}
    assert 30 <= statuses.count(Status.SUCCESS) <= most
    with till(tokens) as client:  # has no bound of this kind
        for _ in range(60):
            client.list_keys()
    with tokens.service.client() as user:  # is in no quota
        for _ in range(60):
            user.list_keys()


def test_a_reload_changes_quotas(tokens: TokenService) -> None:
    tokens.configure("max_keys = 3", "max_keys = 1")
    with till(tokens) as client:
        client.generate_key("first", SIGNING)
        tokens.service.signal(signal.SIGHUP)

        def is_refused() -> bool:
            try:
                client.generate_key("second", SIGNING)
            except errors.ServiceError as error:
                return error.status is Status.PSA_ERROR_INSUFFICIENT_STORAGE
            client.destroy_key("second")
            return False

        wait_until(is_refused, "the new quota")
        client.destroy_key("first")
