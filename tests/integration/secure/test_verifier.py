"""A device is set up, endorsed and judged, by both sides' command line, over a real emulated secure world."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgeroot.client import Client, templates
from tests.support.service import SOFTWARE_PROVIDER, Service, running_service
from tests.support.world import World, running_world, with_world

SETUP, NOW = os.urandom(32).hex(), os.urandom(32).hex()


class Verifier:
    """A relying party's folder, and the command in it."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self.environment = {**os.environ, "EDGEROOT_SECURE_WORLD": str(world.socket)}

    def run(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "edgeroot", *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr + done.stdout
        return done.stdout + done.stderr

    def write(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return name


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as running:
        yield running


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[Service]:
    with running_service(provider=SOFTWARE_PROVIDER + with_world(world)) as one:
        yield one


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with service.client(provider=4) as client:
        yield client


@pytest.fixture
def verifier(tmp_path: Path, world: World, client: Client) -> Verifier:
    """With what was noted when the device was set up, and a policy for a device that has no life cycle."""
    one = Verifier(tmp_path, world)
    one.write("device.pem", one.run("secure-world", "attestation-key").encode())
    one.write("setup.cbor", client.attestation_token(bytes.fromhex(SETUP)))
    one.run("verifier", "endorse", "setup.cbor", "--challenge", SETUP, "--key", "device.pem", "-o", "device.corim")
    one.write("lab.toml", b'lifecycles = ["unknown"]\n')
    return one


def appraise(verifier: Verifier, *options: str, challenge: str = NOW, code: int = 0) -> str:
    return verifier.run(
        "verifier", "appraise", "now.cbor", "--challenge", challenge, "--corim", "device.corim", *options, code=code
    )


def test_an_emulated_device_is_not_trusted_unless_a_policy_says_so(verifier: Verifier, client: Client) -> None:
    verifier.write("now.cbor", client.attestation_token(bytes.fromhex(NOW)))
    said = appraise(verifier, code=1)
    assert "FAIL lifecycle: the device is in the state unknown: no trust" in said
    assert "verdict: contraindicated" in said
    assert "verdict: affirming" in appraise(verifier, "--policy", "lab.toml")


def test_a_key_statement_is_judged_too(verifier: Verifier, client: Client) -> None:
    client.generate_key("device", templates.ecdsa_p256())
    verifier.write("now.cbor", client.key_statement("device", bytes.fromhex(NOW)))
    client.destroy_key("device")
    assert "verdict: affirming" in appraise(verifier, "--policy", "lab.toml")


def test_a_replayed_token_is_refused(verifier: Verifier, client: Client) -> None:
    verifier.write("now.cbor", client.attestation_token(bytes.fromhex(SETUP)))
    assert "FAIL nonce: it answers another challenge" in appraise(verifier, "--policy", "lab.toml", code=1)


def test_the_result_is_signed(verifier: Verifier, client: Client) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    verifier.write("key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    verifier.write("now.cbor", client.attestation_token(bytes.fromhex(NOW)))
    appraise(verifier, "--policy", "lab.toml", "--sign", "key.pem", "-o", "result.jwt")
    token = (verifier.folder / "result.jwt").read_text().strip()
    claims = jwt.decode(token, key.public_key(), algorithms=["ES256"])
    assert claims["submods"]["PSA_IOT"]["ear.status"] == "affirming"
    assert claims["submods"]["PSA_IOT"]["ear.appraisal-policy-id"].startswith("sha-256:")
    shown = json.loads(verifier.run("--json", "verifier", "check-policy", "lab.toml"))
    assert shown["policy_id"] == claims["submods"]["PSA_IOT"]["ear.appraisal-policy-id"]


@pytest.mark.parametrize(
    ("files", "options", "words"),
    [
        ({"device.corim": b"no corim"}, (), "device.corim: "),
        ({"bad.toml": b"livecycles = []"}, ("--policy", "bad.toml"), "'lifecycles'"),
        ({"key.pem": b"no key"}, ("--sign", "key.pem"), "key.pem is no private key"),
    ],
)
def test_what_the_verifier_is_given_wrongly(
    verifier: Verifier, client: Client, files: dict[str, bytes], options: tuple[str, ...], words: str
) -> None:
    verifier.write("now.cbor", client.attestation_token(bytes.fromhex(NOW)))
    for name, data in files.items():
        verifier.write(name, data)
    assert words in appraise(verifier, *options, code=1)


def test_nothing_is_endorsed_that_the_key_did_not_sign(verifier: Verifier) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    pem = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    verifier.write("other.pem", pem)
    endorse = ("verifier", "endorse", "setup.cbor", "--key")
    assert "not this key's" in verifier.run(*endorse, "other.pem", "--challenge", SETUP, code=1)
    assert "another challenge" in verifier.run(*endorse, "device.pem", "--challenge", NOW, code=1)
