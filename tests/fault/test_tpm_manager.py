"""Keys in a TPM behind the resource manager tpm2-abrmd, which others use meanwhile, and which may die."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from edgeroot.client import templates
from edgeroot.client.errors import ServiceError
from tests.support.clients import DIGEST, ECDSA
from tests.support.requirements import unavailable
from tests.support.service import Service, running_service
from tests.support.swtpm import Swtpm, running_swtpm

TCTI = "tabrmd:bus_type=session"
CONFIG = f'[[provider]]\nprovider_type = "Tpm"\nkey_info_manager = "kim"\ntcti = "{TCTI}"\n'
START_S = 20.0


class Manager:
    """tpm2-abrmd on a message bus of its own."""

    def __init__(self, swtpm: Swtpm) -> None:
        for program in ("dbus-daemon", "tpm2-abrmd", "tpm2_getrandom"):
            if shutil.which(program) is None:
                unavailable(f"{program} is not installed (Debian: dbus-daemon, tpm2-abrmd, tpm2-tools)")
        self._swtpm = swtpm
        self._bus = subprocess.Popen(
            ["dbus-daemon", "--session", "--nofork", "--print-address"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._bus.stdout is not None
        self.environment = {"DBUS_SESSION_BUS_ADDRESS": self._bus.stdout.readline().strip()}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["tpm2-abrmd", "--allow-root", "--session", "--tcti", self._swtpm.tcti],
            env=os.environ | self.environment,
            stderr=subprocess.DEVNULL,
        )
        until = monotonic() + START_S
        while not self.serves():
            assert self._process.poll() is None, "tpm2-abrmd ended"
            assert monotonic() < until, "tpm2-abrmd did not start"
            sleep(0.1)

    def serves(self) -> bool:
        """Whether another program gets something from the TPM."""
        command = ["tpm2_getrandom", "-T", TCTI, "--hex", "8"]
        return (
            subprocess.run(command, env=os.environ | self.environment, capture_output=True, check=False).returncode == 0
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.kill()
        self._bus.kill()
        self._bus.wait()
        assert self._bus.stdout is not None
        self._bus.stdout.close()


@contextmanager
def running_manager(swtpm: Swtpm) -> Iterator[Manager]:
    manager = Manager(swtpm)
    try:
        manager.start()
        yield manager
    finally:
        manager.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with running_swtpm(tmp_path / "tpm") as swtpm, running_manager(swtpm) as manager:
        yield manager


@pytest.fixture
def service(manager: Manager) -> Iterator[Service]:
    with running_service(provider=CONFIG, start=False) as service:
        service.start(environment=manager.environment)
        yield service


def sign_with(service: Service, *names: str) -> None:
    with service.client() as client:
        for name in names:
            client.verify_hash(name, ECDSA, DIGEST, client.sign_hash(name, ECDSA, DIGEST))


def test_others_use_the_tpm_meanwhile(manager: Manager, service: Service) -> None:
    names = [f"key {number}" for number in range(6)]
    with service.client() as client:
        for name in names:
            client.generate_key(name, templates.ecdsa_p256())
    for _ in range(3):
        sign_with(service, *names)
        assert manager.serves()


def test_the_manager_starts_anew(manager: Manager, service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
    for _ in range(2):
        sign_with(service, "key")
        manager.kill()
        manager.start()
    sign_with(service, "key")
    manager.kill()
    with service.client() as client, pytest.raises(ServiceError, match="CommunicationFailure"):
        client.sign_hash("key", ECDSA, DIGEST)
    manager.start()
    sign_with(service, "key")


def test_the_service_starts_anew_and_its_host(manager: Manager, service: Service) -> None:
    with service.client() as client:
        client.generate_key("key", templates.ecdsa_p256())
    sign_with(service, "key")
    service.kill()
    service.start(environment=manager.environment)
    sign_with(service, "key")
