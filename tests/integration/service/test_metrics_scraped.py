"""Metrics of a running service, scraped as Prometheus would."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgeroot.client import templates
from edgeroot.client.auth import DirectAuth
from edgeroot.client.errors import AuthenticatorNotRegisteredError, BodySizeExceedsLimitError, DoesNotExistError
from edgeroot.psa import Hash
from tests.support.clients import DIGEST, ECDSA, wait_until
from tests.support.service import READY, Service, running_service


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("service")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def get(where: Path | tuple[str, int], path: str = "/metrics") -> tuple[int, str]:
    connection = UnixConnection(where) if isinstance(where, Path) else http.client.HTTPConnection(*where)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def scrape(where: Path | tuple[str, int]) -> Mapping[tuple[str, ...], float]:
    """Samples by name and label values; a missing one is 0."""
    status, text = get(where)
    assert status == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def free_port(family: socket.AddressFamily, host: str) -> int:
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


def test_off_unless_asked_for() -> None:
    loaded = "import sys, edgeroot.daemon.run; print('prometheus_client' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True).stdout == "False\n"
    )
    with running_service() as service:
        assert [path.name for path in (service.folder / "run").iterdir()] == ["parsec.sock"]


@pytest.mark.parametrize("listen", ["unix", "127.0.0.1", "::1"])
def test_what_is_done_is_counted(listen: str, tmp_path: Path) -> None:
    where: Path | tuple[str, int]
    if listen == "unix":
        where = tmp_path / "metrics.sock"
        text = f"unix:{where}"
    else:
        where = (listen, free_port(socket.AF_INET6 if ":" in listen else socket.AF_INET, listen))
        text = f"[::1]:{where[1]}" if ":" in listen else f"{listen}:{where[1]}"
    core = "thread_pool_size = 2\nbody_len_limit = 65536"
    with running_service(extra=f'[metrics]\nlisten = "{text}"', core=core) as service:
        assert get(where, "/healthz") == (200, "OK\n")
        before = scrape(where)
        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
            for _ in range(5):
                client.sign_hash("key", ECDSA, DIGEST)
            with pytest.raises(DoesNotExistError):
                client.sign_hash("none", ECDSA, DIGEST)
            client.generate_key("rsa", templates.rsa_signing(2048))
            wait_until(lambda: scrape(where)["edgeroot_connections_parked",] == 1, "one connection waits")
            with pytest.raises(BodySizeExceedsLimitError):
                client.hash_compute(Hash.SHA_256, bytes(70000))
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(str(service.socket_path))
            stranger.send(b"GET / HTTP/1.1\r\n\r\n" * 10)
            stranger.recv(100)
        wait_until(lambda: scrape(where)["edgeroot_connections_parked",] == 0, "nobody is connected")
        after = scrape(where)

        assert not any(key[0] == "edgeroot_requests_total" for key in before)
        requests = {key[1:]: value for key, value in after.items() if key[0] == "edgeroot_requests_total"}
        assert requests["PsaSignHash", "Success"] == 5
        assert requests["PsaSignHash", "PsaErrorDoesNotExist"] == 1
        assert requests["PsaGenerateKey", "Success"] == 2
        assert requests["unknown", "BodySizeExceedsLimit"] == 1
        assert requests["unknown", "InvalidHeader"] == 1
        assert after["edgeroot_request_duration_seconds_count", "PsaSignHash"] == 6
        assert 0 < after["edgeroot_request_duration_seconds_sum", "PsaSignHash"] < 6
        assert after["edgeroot_store_writes_total",] == 2
        assert after["edgeroot_helper_jobs_total",] == 1
        assert 2 <= after["edgeroot_connections_accepted_total",] <= 5
        assert after["edgeroot_workers",] == 2
        assert after["edgeroot_audit_lines_lost_total",] == 0
        labels = {label for key in after for label in key[1:]} - {"max_keys"}  # which is a quota's
        assert not any("key" in label or str(os.geteuid()) == label for label in labels)
        assert service.stop() == 0
    assert not isinstance(where, Path) or not where.exists()


def parked_is(where: Path, count: int) -> bool:
    return scrape(where)["edgeroot_connections_parked",] == count


def test_refused_connections_and_identities_are_counted(tmp_path: Path) -> None:
    where = tmp_path / "metrics.sock"
    with running_service(
        extra=f'[metrics]\nlisten = "unix:{where}"', listener="max_connections_per_user = 2"
    ) as service:
        with service.client(auth=DirectAuth("me")) as client, pytest.raises(AuthenticatorNotRegisteredError):
            client.list_keys()
        wait_until(lambda: scrape(where)["edgeroot_connections_parked",] == 0, "the client is gone")
        held = []
        for count in (1, 2):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(service.socket_path))
            held.append(sock)
            wait_until(partial(parked_is, where, count), "it is parked")
        with socket.socket(socket.AF_UNIX) as third:
            third.connect(str(service.socket_path))
            assert third.recv(1) == b""
        after = scrape(where)
        for sock in held:
            sock.close()

        assert after["edgeroot_connections_refused_total",] == 1
        assert after["edgeroot_authentication_failures_total", "Direct"] == 1
        assert after["edgeroot_requests_total", "ListKeys", "AuthenticatorNotRegistered"] == 1


def signed(where: Path) -> float:
    return scrape(where).get(("edgeroot_requests_total", "PsaSignHash", "Success"), 0)


def test_counters_go_on_over_reloads_and_the_death_of_a_worker(tmp_path: Path) -> None:
    where = tmp_path / "metrics.sock"
    with running_service(extra=f'[metrics]\nlisten = "unix:{where}"', core="thread_pool_size = 2") as service:

        def sign(times: int) -> None:
            with service.client() as client:
                for _ in range(times):
                    client.sign_hash("key", ECDSA, DIGEST)

        with service.client() as client:
            client.generate_key("key", templates.ecdsa_p256())
        sign(3)
        reload(service, "thread_pool_size = 2", "thread_pool_size = 3")
        sign(4)
        assert signed(where) == 7
        wait_until(lambda: scrape(where)["edgeroot_workers",] == 3, "the workers before are gone")
        assert signed(where) == 7

        workers = service.children("worker")
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(service.children("worker")) - set(workers)) == 3, "there are new workers")
        wait_until(lambda: get(where, "/healthz")[0] == 200, "they are ready")
        sign(5)
        assert signed(where) == 12
        assert scrape(where)["edgeroot_process_restarts_total", "worker"] == 3

        moved = where.with_name("moved.sock")
        reload(service, str(where), str(moved))
        assert not where.exists()
        assert signed(moved) == 12
        reload(service, f'[metrics]\nlisten = "unix:{moved}"', "")
        assert not moved.exists()
        with service.client() as client:
            client.ping()


def test_a_place_that_is_taken_leaves_the_configuration_as_it_was(tmp_path: Path) -> None:
    where, taken = tmp_path / "metrics.sock", tmp_path / "taken"
    taken.touch()
    with running_service(extra=f'[metrics]\nlisten = "unix:{where}"') as service:
        reload(service, str(where), str(taken), expect="the configuration stays as it was")
        assert f"{taken} exists and is not a socket" in service.log()
        assert get(where, "/healthz")[0] == 200


def test_a_scraper_that_does_not_read_delays_nobody(tmp_path: Path) -> None:
    where = tmp_path / "metrics.sock"
    with running_service(extra=f'[metrics]\nlisten = "unix:{where}"') as service:
        strangers = []
        for data in (b"", b"GET /metrics", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") * 2:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(where))
            sock.send(data)
            strangers.append(sock)
        assert get(where, "/healthz")[0] == 200
        reload(service, "allow_root = true", "allow_root = true ")
        with service.client() as client:
            client.ping()
        for sock in strangers:
            sock.close()


def reload(service: Service, old: str, new: str, *, expect: str = READY) -> None:
    text = service.config_path.read_text()
    assert old in text
    service.config_path.write_text(text.replace(old, new))
    at = (service.folder / "log").stat().st_size
    service.signal(signal.SIGHUP)
    service.wait_for_log(expect, after=at)
