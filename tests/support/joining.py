"""A device that joins, and who it deals with: a real verifier, a real enrolment service, and the device's command."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgeroot.client import Client
from edgeroot.evidence import read_token
from tests.support.killing import Killed, killed
from tests.support.service import Service
from tests.support.world import World

LAB: Final = 'lifecycles = ["unknown"]\n'
"""A policy that trusts an emulated device which nobody has provisioned."""


@dataclass
class JoiningSite:
    """A relying party's folder, from which verifier and enrolment service run, and a device. ``device`` is its id.

    ``kubeconfig`` is the enrolment service's, ``authority.pem`` the cluster's.
    """

    folder: Path
    kubeconfig: Path
    api_server: str
    service: Service
    world: World
    device: str = ""
    verifier: str = ""

    def __post_init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "sign.pem").write_bytes(private)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.folder / "verify.pem").write_bytes(public)
        (self.folder / "token").write_text(os.urandom(32).hex() + "\n")

    def run(self, *arguments: str, code: int = 0) -> str:
        environment = {
            **os.environ,
            "EDGEROOT_SECURE_WORLD": str(self.world.socket),
            "PARSEC_SERVICE_ENDPOINT": self.service.endpoint,
        }
        done = subprocess.run(
            [sys.executable, "-m", "edgeroot", *arguments],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr + done.stdout
        return done.stdout + done.stderr

    def endorse(self, client: Client) -> None:
        """Take down what the device is and runs, as when it is set up."""
        challenge = os.urandom(32)
        setup = client.attestation_token(challenge)
        self.device = read_token(setup).claims.instance_id.hex()
        (self.folder / "setup.cbor").write_bytes(setup)
        (self.folder / "device.pem").write_text(self.run("secure-world", "attestation-key"))
        named = ("--challenge", challenge.hex(), "--key", "device.pem", "-o", f"{self.device}.corim")
        self.run("verifier", "endorse", "setup.cbor", *named)

    def submit(self) -> None:
        """The endorsement, to the verifier that runs."""
        self.run("verifier", "submit", f"{self.device}.corim", "--url", self.verifier, "--token-file", "token")

    def enrol(self, url: str, *options: str, code: int = 0) -> str:
        return self.run("-p", "4", "edge", "enrol", url, "--retry-for", "0", "--directory", "node", *options, code=code)

    @contextmanager
    def serving(self, *arguments: str, environment: Mapping[str, str] = os.environ) -> Iterator[str]:
        command = [sys.executable, "-m", "edgeroot", *arguments, "--port", "0"]
        with (
            (self.folder / "log").open("ab") as log,
            subprocess.Popen(
                command, cwd=self.folder, env=dict(environment), stdout=subprocess.PIPE, stderr=log, text=True
            ) as server,
        ):
            assert server.stdout is not None
            try:
                yield server.stdout.readline().split()[-1]
            finally:
                server.terminate()

    @contextmanager
    def enrolment(self, *options: str, policy: str = LAB) -> Iterator[str]:
        """Verifier and enrolment service; the latter's address."""
        (self.folder / "policy.toml").write_text(policy)
        with self._judging(), self.serving(*self._enrolling(*options), environment=self._environment()) as url:
            yield url

    @contextmanager
    def killed_enrolment(self, *options: str, lives_s: tuple[float, float]) -> Iterator[tuple[str, Killed]]:
        """The same, but the enrolment service is killed again and again."""
        (self.folder / "policy.toml").write_text(LAB)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        with self._judging():
            arguments = self._enrolling(*options, "--port", str(port))
            environment = self._environment()
            with killed(*arguments, environment=environment, folder=self.folder, lives_s=lives_s) as services:
                yield f"http://127.0.0.1:{port}", services

    @contextmanager
    def _judging(self) -> Iterator[None]:
        judging = ("--store", "fleet.db", "--sign", "sign.pem", "--policy", "policy.toml")
        with self.serving("verifier", "serve", *judging, "--provisioning-token-file", "token") as self.verifier:
            self.submit()
            yield

    def _enrolling(self, *options: str) -> tuple[str, ...]:
        given = ("--verifier", self.verifier, "--verifier-key", "verify.pem", "--api-server", self.api_server)
        return ("edge", "enrolment", "serve", *given, "--api-server-ca", "authority.pem", *options)

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
