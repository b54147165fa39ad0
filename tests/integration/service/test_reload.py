"""SIGHUP: a new configuration without a lost request; a bad one changes nothing."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edgeroot.client import templates
from edgeroot.client.errors import (
    AdminOperationError,
    BodySizeExceedsLimitError,
    DoesNotExistError,
    EndpointError,
    NotPermittedError,
    ProviderNotRegisteredError,
)
from edgeroot.psa import Hash
from tests.support.clients import DIGEST, ECDSA, each, forked, wait_until
from tests.support.service import READY, Service, running_service

SECOND_ID = 16
LOAD_S = 3.0


def configure(service: Service, change: Callable[[str], str]) -> None:
    service.config_path.write_text(change(service.config_path.read_text()))


def replace(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


def reload(service: Service, change: Callable[[str], str] = lambda text: text, *, expect: str = READY) -> None:
    configure(service, change)
    at = (service.folder / "log").stat().st_size
    service.signal(signal.SIGHUP)
    service.wait_for_log(expect, after=at)


@pytest.mark.parametrize("keep", [False, True], ids=["a connection each", "kept connections"])
def test_no_request_fails_over_reloads(*, keep: bool) -> None:
    with running_service(core="thread_pool_size = 2") as service:

        def use(index: int) -> int:
            count = 0
            end_s = time.monotonic() + LOAD_S
            with service.client(keep_connection=keep) as client:
                while time.monotonic() < end_s:
                    name = f"{index}-{count}"
                    client.generate_key(name, templates.ecdsa_p256())
                    client.sign_hash(name, ECDSA, DIGEST)
                    client.destroy_key(name)
                    count += 1
                return count

        with forked(*[partial(use, index) for index in range(4)]) as running:
            threads = 2
            for _ in range(8):
                time.sleep(0.15)
                reload(service, replace(f"thread_pool_size = {threads}", f"thread_pool_size = {threads % 3 + 1}"))
                threads = threads % 3 + 1
            counts = each(running)  # raises what a client met
        assert all(count > 10 for count in counts)
        wait_until(lambda: len(service.children("worker")) == threads, "the old workers are gone")
        wait_until(lambda: len(service.children("writer")) == 1, "one writer is left")


def test_a_request_that_is_being_worked_on_is_answered_over_a_reload() -> None:
    with running_service() as service:
        with (
            service.client() as client,
            forked(lambda: client.generate_key("slow", templates.rsa_signing(4096))) as (slow,),
        ):
            wait_until(lambda: _is_working(service), "a helper works")
            reload(service)
            slow.result()
        with service.client() as client:
            assert [key.name for key in client.list_keys()] == ["slow"]


def _is_working(service: Service) -> bool:
    states = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in service.children("helper")]
    return any(int(state[11]) > 10 for state in states)  # user time in hundredths of a second


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text + "nonsense", "not TOML"),
        (replace("allow_root = true", 'allow_root = "yes"'), "allow_root"),
        (replace('provider_type = "MbedCrypto"', 'provider_type = "Abacus"'), "Abacus"),
        (replace("/run/parsec.sock", "/nowhere/parsec.sock"), "nowhere"),
        (replace("/run/parsec.sock", "/config.toml"), "not a socket"),
        (replace("/store/kim.sqlite3", "/config.toml/kim.sqlite3"), "config.toml"),
    ],
    ids=["no TOML", "wrong type", "absent provider", "no folder for the socket", "not a socket", "no folder for keys"],
)
def test_a_bad_configuration_is_told_and_the_old_one_stays(
    service: Service, change: Callable[[str], str], reason: str
) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
        good = service.config_path.read_text()
        wait_until(lambda: len(service.children("writer")) == 1, "an earlier reload is over")
        workers = service.children("worker")
        at = len(service.log())
        reload(service, change, expect="the configuration stays as it was")
        assert reason in service.log()[at:]
        client.sign_hash("key", ECDSA, DIGEST)
        assert service.children("worker") == workers

        service.config_path.write_text(good)  # and it can be mended
        reload(service)
        client.sign_hash("key", ECDSA, DIGEST)
        client.destroy_key("key")
    wait_until(lambda: not set(workers) & set(service.children("worker")), "the old workers are gone")


def test_limits_and_admins_change_with_a_reload() -> None:
    with running_service(core="body_len_limit = 4096") as service, service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
        with pytest.raises(BodySizeExceedsLimitError):
            client.hash_compute(Hash.SHA_256, bytes(5000))
        with pytest.raises(AdminOperationError):
            client.list_clients()

        uid = os.geteuid()
        reload(
            service,
            lambda text: text.replace("body_len_limit = 4096", "body_len_limit = 8192").replace(
                'auth_type = "UnixPeerCredentials"',
                f'auth_type = "UnixPeerCredentials"\nadmins = [{{ name = "{uid}" }}]',
            ),
        )
        assert len(client.hash_compute(Hash.SHA_256, bytes(5000))) == 32
        assert client.list_clients() == (str(uid),)

        reload(service, replace(f'admins = [{{ name = "{uid}" }}]', ""))
        with pytest.raises(AdminOperationError):
            client.delete_client(str(uid))
        client.sign_hash("key", ECDSA, DIGEST)


def test_the_socket_moves_and_its_mode_changes() -> None:
    with running_service() as service:
        with service.client() as client:
            client.ping()
        old = service.socket_path
        assert old.stat().st_mode & 0o777 == 0o666
        reload(service, replace("[listener]", '[listener]\nmode = "0600"'))
        assert old.stat().st_mode & 0o777 == 0o600

        service.socket_path = old.with_name("moved.sock")
        reload(service, replace("/parsec.sock", "/moved.sock"))
        with service.client() as client:
            client.ping()
        assert not old.exists()
        with pytest.raises(EndpointError):
            type(service.client())(f"unix:{old}").ping()

        service.socket_path = old  # and back again
        reload(service, replace("/moved.sock", "/parsec.sock"))
        with service.client() as client:
            client.ping()
        wait_until(lambda: not old.with_name("moved.sock").exists(), "the socket that is over is gone")
        assert service.stop() == 0
        assert list(old.parent.iterdir()) == []


def test_the_keys_of_another_store_are_used_after_a_reload() -> None:
    with running_service() as service, service.client() as client:
        client.generate_key("here", templates.ecdsa_p256())
        reload(service, replace("/store/kim.sqlite3", "/store/other.sqlite3"))
        with pytest.raises(DoesNotExistError):
            client.sign_hash("here", ECDSA, DIGEST)
        client.generate_key("there", templates.ecdsa_p256())
        wait_until(lambda: len(service.children("writer")) == 1, "the first store's writer is gone")

        reload(service, replace("/store/other.sqlite3", "/store/kim.sqlite3"))
        client.sign_hash("here", ECDSA, DIGEST)
        with pytest.raises(DoesNotExistError):
            client.sign_hash("there", ECDSA, DIGEST)


def test_a_provider_comes_and_goes_with_a_reload() -> None:
    second = '[[provider]]\nprovider_type = "MbedCrypto"\nkey_info_manager = "kim"\nname = "second"\n'
    with running_service() as service, service.client(provider=1) as client:
        client.generate_key("key", templates.ecdsa_p256())
        reload(service, lambda text: text + second)
        other = client.with_provider(SECOND_ID)
        other.generate_key("key", templates.ecdsa_p256())
        assert other.export_public_key("key") != client.export_public_key("key")
        reload(service, replace(second, ""))
        with pytest.raises(ProviderNotRegisteredError):
            other.sign_hash("key", ECDSA, DIGEST)
        client.sign_hash("key", ECDSA, DIGEST)
        with pytest.raises(NotPermittedError):
            client.export_key("key")
