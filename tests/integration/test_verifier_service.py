"""The verifier as a process, by TLS, with a device of the emulated secure world; killed and started anew."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeroot.client import Client
from edgeroot.evidence import read_token
from tests.support.service import SOFTWARE_PROVIDER, Service, running_service
from tests.support.world import World, running_world, with_world

PSA: Final = "application/psa-attestation-token"
NEW: Final = "/challenge-response/v1/newSession?nonceSize=32"


class Fleet:
    """A relying party's folder, the command in it, and what runs from it."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self.environment = {**os.environ, "EDGEROOT_SECURE_WORLD": str(world.socket)}
        self.key = ec.generate_private_key(ec.SECP256R1())
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "sign.pem").write_bytes(pem)
        (folder / "tls.pem").write_bytes(pem)
        (folder / "certificate.pem").write_bytes(self._certificate())
        (folder / "token").write_text(os.urandom(32).hex() + "\n")
        (folder / "look").write_text(os.urandom(32).hex() + "\n")
        (folder / "lab.toml").write_text('lifecycles = ["unknown"]\n')

    def _certificate(self) -> bytes:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "verifier")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(name, name, self.key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
        return builder.add_extension(address, False).sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "edgeroot", *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr + done.stdout
        return done.stdout + done.stderr

    @contextmanager
    def serving(self, *more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        """Address and process."""
        command = [sys.executable, "-m", "edgeroot", "verifier", "serve", "--store", "fleet.db", "--port", "0"]
        options = ["--sign", "sign.pem", "--policy", "lab.toml", "--provisioning-token-file", "token"]
        options += ["--viewer-token-file", "look", "--result-lifetime", "7"]
        tls = ["--tls-certificate", "certificate.pem", "--tls-key", "tls.pem"]
        command += [*options, *tls, *more]
        with subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                yield server.stdout.readline().split()[-1], server
            finally:
                server.terminate()

    def ask(self, url: str, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str, Any]:
        """Status, address of what was made, and the JSON."""
        context = ssl.create_default_context(cafile=self.folder / "certificate.pem")
        connection = HTTPSConnection("127.0.0.1", urlsplit(url).port or 0, timeout=30, context=context)
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        return answer.status, urljoin(path, answer.headers.get("location", "")), json.loads(said) if said else None

    def judged(self, url: str, client: Client) -> dict[str, Any]:
        """The device's verdict, its signature verified with the key that discovery hands out."""
        _status, path, session = self.ask(url, "POST", NEW)
        token = client.attestation_token(urlsafe_b64decode(session["nonce"] + "="))
        status, _path, done = self.ask(url, "POST", path, token, content_type=PSA)
        assert status == 200, done
        discovered = self.ask(url, "GET", "/.well-known/veraison/verification")[2]["ear-verification-key"]
        claims = jwt.decode(done["result"], jwt.PyJWK(discovered).key, algorithms=["ES256"])
        found: dict[str, Any] = claims["submods"]["PSA_IOT"]
        return found


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as running:
        yield running


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[Service]:
    with running_service(provider=SOFTWARE_PROVIDER + with_world(world)) as one:
        yield one


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Client]:
    with service.client(provider=4) as client:
        yield client


@pytest.fixture
def fleet(tmp_path: Path, world: World, client: Client) -> Fleet:
    """With a CoRIM of what the device runs."""
    one = Fleet(tmp_path, world)
    challenge = os.urandom(32)
    (tmp_path / "device.pem").write_text(one.run("secure-world", "attestation-key"))
    (tmp_path / "setup.cbor").write_bytes(client.attestation_token(challenge))
    endorse = ("verifier", "endorse", "setup.cbor", "--challenge", challenge.hex(), "--key", "device.pem")
    one.run(*endorse, "-o", "device.corim")
    return one


def submit(fleet: Fleet, url: str, token: str = "token", code: int = 0) -> str:
    command = ("verifier", "submit", "device.corim", "--url", url, "--ca-file", "certificate.pem")
    return fleet.run(*command, "--token-file", token, code=code)


def test_a_device_is_endorsed_judged_and_revoked(fleet: Fleet, client: Client) -> None:
    with fleet.serving() as (url, server):
        assert url.startswith("https://127.0.0.1:")
        assert fleet.judged(url, client)["ear.status"] == "contraindicated"
        (fleet.folder / "wrong").write_text("w" * 64)
        assert "provisioning token" in submit(fleet, url, "wrong", code=1)
        submit(fleet, url)
        assert fleet.judged(url, client)["ear.status"] == "affirming"
        device = read_token((fleet.folder / "setup.cbor").read_bytes()).claims.instance_id.hex()
        fleet.run("verifier", "revoke", "--store", "fleet.db", "device", device, "--reason", "it was stolen")
        verdict = fleet.judged(url, client)
        assert verdict["ear.status"] == "contraindicated"
        checks = verdict["ear.veraison.policy-claims"]["checks"]
        assert [one["words"] for one in checks if not one["passed"]] == ["the device was revoked: it was stolen"]
        server.terminate()
        assert server.wait(30) == 0
    assert "5 lines, whole" in fleet.run("verifier", "check-audit", "--store", "fleet.db")


def test_a_device_asks_for_its_verdict(fleet: Fleet, service: Service) -> None:
    fleet.environment["PARSEC_SERVICE_ENDPOINT"] = service.endpoint
    with fleet.serving() as (url, _server):
        attest = ("-p", "4", "attestation-token", "--verifier", url, "--ca-file", "certificate.pem", "-o")
        assert "PSA_IOT contraindicated" in fleet.run(*attest, "unknown.jwt", code=1)
        submit(fleet, url)
        assert "PSA_IOT affirming" in fleet.run(*attest, "result.jwt")
        result = (fleet.folder / "result.jwt").read_text().strip()
        claims = jwt.decode(result, fleet.key.public_key(), algorithms=["ES256"])
        assert claims["submods"]["PSA_IOT"]["ear.status"] == "affirming"
        strangers = ("-p", "4", "attestation-token", "--verifier", url, "-o", "none.jwt")
        assert "does not answer as a verifier should" in fleet.run(*strangers, code=1)
    assert "give either" in fleet.run("attestation-token", code=2)


def test_nothing_acknowledged_is_lost_when_it_is_killed(fleet: Fleet, client: Client) -> None:
    with fleet.serving() as (url, server):
        submit(fleet, url)
        status, path, session = fleet.ask(url, "POST", NEW)
        assert status == 201
        server.send_signal(signal.SIGKILL)
        server.wait(30)
    with fleet.serving() as (url, server):
        token = client.attestation_token(urlsafe_b64decode(session["nonce"] + "="))
        _status, _path, done = fleet.ask(url, "POST", path, token, content_type=PSA)
        server.send_signal(signal.SIGKILL)
        server.wait(30)
    noted = json.loads(fleet.run("--json", "verifier", "check-audit", "--store", "fleet.db"))
    assert noted["lines"] == 2
    with fleet.serving() as (url, _server):
        assert fleet.ask(url, "GET", path)[2] == done
        assert fleet.ask(url, "POST", path, token, content_type=PSA)[0] == 409
        assert fleet.judged(url, client)["ear.status"] == "affirming"
    fleet.run("verifier", "check-audit", "--store", "fleet.db", "--noted", noted["link"])


def test_the_feed_goes_on_over_a_restart_and_keeps_nobody_waiting(fleet: Fleet, client: Client) -> None:
    bearer = "Bearer " + (fleet.folder / "look").read_text().strip()

    def changes(url: str, query: str = "") -> dict[str, Any]:
        status, _path, said = fleet.ask(url, "GET", f"/fleet/v1/changes?{query}", authorization=bearer)
        assert status == 200, said
        found: dict[str, Any] = said
        return found

    with fleet.serving() as (url, server), ThreadPoolExecutor() as threads:
        submit(fleet, url)
        first = changes(url)
        reader = threads.submit(changes, url, f"after={first['cursor']}&wait=30")
        assert fleet.judged(url, client)["ear.status"] == "affirming"
        (change,) = reader.result(15)["devices"]
        lasts = datetime.fromisoformat(change["expires_at"]) - datetime.fromisoformat(change["evaluated_at"])
        assert (change["status"], lasts) == ("affirming", timedelta(minutes=7))
        cursor = reader.result()["cursor"]
        reader = threads.submit(changes, url, f"after={cursor}&wait=30")
        time.sleep(0.5)
        server.terminate()
        assert reader.result(15)["devices"] == []
        assert server.wait(5) == 0, "it waits for its readers"
    fleet.run("verifier", "revoke", "--store", "fleet.db", "device", change["device"], "--reason", "it was stolen")
    with fleet.serving() as (url, _server):
        (revoked,) = changes(url, f"after={cursor}")["devices"]
        assert (revoked["device"], revoked["status"]) == (change["device"], "contraindicated")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "0.0.0.0"), "without TLS"),
        (("--host", "verifier.example"), "no IP address"),
        (("--tls-key", "tls.pem"), "both a certificate"),
        (("--provisioning-token-file", "lab.toml"), "openssl rand"),
        (("--store", "token"), "fails"),
    ],
)
def test_what_it_does_not_start_with(fleet: Fleet, options: tuple[str, ...], words: str) -> None:
    serve = ("verifier", "serve", "--store", "fleet.db", "--sign", "sign.pem", "--port", "0")
    assert words in fleet.run(*serve, *options, code=1)


def test_a_token_goes_to_nobody_who_can_be_overheard(fleet: Fleet) -> None:
    assert "https only" in submit(fleet, "http://192.0.2.1:8443", code=1)
    assert "begins with https" in submit(fleet, "file:///etc", code=1)
