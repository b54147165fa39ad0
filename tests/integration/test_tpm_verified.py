"""From a genuine TPM to a verdict: enrolment, quotes with the boot's log, and the verifier as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin
from urllib.request import Request, urlopen

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeroot.client import Client, templates
from edgeroot.evidence import (
    DigestAlgorithm,
    Event,
    read_tpm_evidence,
    verify_certified_key,
    write_event_log,
    write_tpm_evidence,
)
from edgeroot.evidence.tpm_structures import Public
from edgeroot.psa import bound_challenge
from edgeroot.verifier.corim import read_corim
from tests.integration.service.test_tpm_evidence import extend
from tests.support.service import Service, running_service
from tests.support.swtpm import Swtpm, credential_for, running_swtpm, with_tpm

QUOTE: Final = "application/vnd.edgeroot.tpm-evidence+cbor"
KIND: Final = b"gateway, revision 2"
FIRMWARE, LOADER, KERNEL, SWITCH = (sha256(name).digest() for name in (b"firmware", b"loader", b"kernel", b"switch"))
BOOT: Final = ((0, FIRMWARE), (7, SWITCH), (4, LOADER), (4, KERNEL))
UNIX_PEER: Final = 3


def log_of(boot: Sequence[tuple[int, bytes]] = BOOT) -> bytes:
    events = [Event(index, 0x80000008, ((DigestAlgorithm.SHA256, digest),), b"measured") for index, digest in boot]
    return write_event_log(events, algorithms=(DigestAlgorithm.SHA256,))


def enrolled(client: Client) -> bytes:
    """The attestation key's name, as an operator takes it down who knows the endorsement key as a genuine TPM's.

    The credential shows that the key is in the TPM of the endorsement key; the statement that it is in that of the
    attestation key. So both are in one.
    """
    client.generate_key("enrolment", templates.ecdsa_p256())
    prepared = client.prepare_key_attestation("enrolment")
    blob, secret = credential_for(prepared.attesting_key_pub, prepared.name, b"only this TPM reads it")
    assert client.attest_key("enrolment", blob, secret) == b"only this TPM reads it"
    challenge = os.urandom(32)
    evidence = read_tpm_evidence(client.key_statement("enrolment", challenge))
    public = Public.from_bytes(evidence.attestation_key)
    mine = bound_challenge(challenge, authenticator=UNIX_PEER, application=str(os.getuid()))
    assert verify_certified_key(evidence, trusted_name=public.name, qualifying_data=mine).name == prepared.name
    client.destroy_key("enrolment")
    return public.name


class Verifier:
    """Its folder and, once it serves, its address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.enrolled = b""
        self.key = ec.generate_private_key(ec.SECP256R1())
        (folder / "sign.pem").write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (folder / "token").write_text(os.urandom(32).hex())
        (folder / "policy.toml").write_text(f'tpm_application = "{os.getuid()}"\n')

    @contextmanager
    def serving(self) -> Iterator[None]:
        command = [sys.executable, "-m", "edgeroot", "verifier", "serve", "--store", "fleet.db", "--port", "0"]
        options = ["--sign", "sign.pem", "--policy", "policy.toml", "--provisioning-token-file", "token"]
        with subprocess.Popen([*command, *options], cwd=self.folder, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                self.url = server.stdout.readline().split()[-1]
                yield
            finally:
                server.terminate()

    def run(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "edgeroot", "verifier", *arguments]
        done = subprocess.run(command, cwd=self.folder, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def endorse(self, client: Client) -> None:
        """What the device has booted now: PCR 0 by its value, PCRs 4 and 7 by what extended them."""
        challenge = os.urandom(32)
        (self.folder / "quote.cbor").write_bytes(client.attestation_token(challenge))
        (self.folder / "log").write_bytes(log_of())
        asked = ("quote.cbor", "--challenge", challenge.hex(), "--policy", "policy.toml")
        said = ("--kind", KIND.decode())
        self.run("endorse-quote", *asked, *said, "--pcr", "0", "-o", "values.corim")
        self.run("endorse-quote", *asked, *said, "--pcr", "4", "--pcr", "7", "--event-log", "log", "-o", "events.corim")
        known = ("--corim", "values.corim", "--corim", "events.corim")
        self.run("appraise", *asked, "--quote", "--event-log", "log", *known)
        for corim in ("values.corim", "events.corim"):
            self.run("submit", corim, "--url", self.url, "--token-file", "token")
        endorsed = read_corim((self.folder / "values.corim").read_bytes())
        assert list(endorsed.keys) == [self.enrolled]

    def ask(self, path: str, body: bytes = b"", **headers: str) -> tuple[str, Any]:
        """Where what was made is, and the JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with urlopen(Request(urljoin(self.url, path), body, named, method="POST"), timeout=30) as answer:
            return urljoin(path, answer.headers.get("location", "")), json.loads(answer.read())

    def begin(self) -> tuple[str, bytes]:
        path, session = self.ask("/challenge-response/v1/newSession?nonceSize=32")
        return path, urlsafe_b64decode(session["nonce"] + "=")

    def judge(self, path: str, evidence: bytes) -> tuple[str, list[str]]:
        """The status, and in words what failed; the result's signature is verified."""
        done = self.ask(path, evidence, content_type=QUOTE)[1]
        found = jwt.decode(done["result"], self.key.public_key(), algorithms=["ES256"])["submods"]["TPM"]
        checks = found["ear.veraison.policy-claims"]["checks"]
        return found["ear.status"], [one["words"] for one in checks if not one["passed"]]


@pytest.fixture
def swtpm(tmp_path: Path) -> Iterator[Swtpm]:
    """As the firmware leaves it: everything of the boot is measured."""
    with running_swtpm(tmp_path / "tpm") as swtpm:
        for index, digest in BOOT:
            extend(swtpm, index, digest)
        yield swtpm


@pytest.fixture
def service(swtpm: Swtpm) -> Iterator[Service]:
    with running_service(provider=with_tpm(swtpm)) as service:
        yield service


@pytest.fixture
def verifier(tmp_path: Path, service: Service) -> Iterator[Verifier]:
    """It knows the device and what it may boot."""
    folder = tmp_path / "verifier"
    folder.mkdir()
    one = Verifier(folder)
    with one.serving():
        with service.client() as client:
            one.enrolled = enrolled(client)
            one.endorse(client)
        yield one


def with_log(evidence: bytes, log: bytes) -> bytes:
    """As whoever carries it adds the log."""
    return write_tpm_evidence(replace(read_tpm_evidence(evidence), event_log=log))


def test_a_boot_that_is_known_is_affirmed_and_another_is_not(
    verifier: Verifier, service: Service, swtpm: Swtpm
) -> None:
    def judged(log: bytes) -> tuple[str, list[str]]:
        path, nonce = verifier.begin()
        with service.client() as client:
            return verifier.judge(path, with_log(client.attestation_token(nonce), log))

    assert judged(log_of()) == ("affirming", [])
    changed = "the event log does not give PCR 4 its value: it was changed or cut off, or is another boot's"
    other = sha256(b"another kernel").digest()
    assert judged(log_of([*BOOT[:3], (4, other)])) == ("contraindicated", [changed])
    assert judged(log_of(BOOT[:3])) == ("contraindicated", [changed])
    status, words = judged(log_of()[:-1])
    assert (status, {one[:50] for one in words}) == (
        "contraindicated",
        {"the event log cannot be read: the event log is cut"},
    )
    none = [f"PCR {index} has known events, but no event log came along" for index in (4, 7)]
    assert judged(b"") == ("contraindicated", none)

    service.end()
    extend(swtpm, 4, other)
    service.start()
    assert judged(log_of()) == ("contraindicated", [changed])
    assert judged(log_of([*BOOT, (4, other)])) == (
        "contraindicated",
        [f"event 3 of PCR 4 is not known: {other.hex()}"],
    )


def test_a_changed_pcr_without_a_log_of_it(verifier: Verifier, service: Service, swtpm: Swtpm) -> None:
    service.end()
    extend(swtpm, 0, KERNEL)
    service.start()
    path, nonce = verifier.begin()
    with service.client() as client:
        status, words = verifier.judge(path, with_log(client.attestation_token(nonce), log_of(BOOT[1:])))
    value = sha256(sha256(bytes(32) + FIRMWARE).digest() + KERNEL).hexdigest()
    assert (status, words) == ("contraindicated", [f"PCR 0 has another value than any that is known: {value}"])


def test_a_quote_answers_one_challenge_only(verifier: Verifier, service: Service) -> None:
    path, nonce = verifier.begin()
    with service.client() as client:
        evidence = with_log(client.attestation_token(nonce), log_of())
    elsewhere, _nonce = verifier.begin()
    refused = ("contraindicated", ["the evidence was made for another challenge, or for somebody else"])
    assert verifier.judge(elsewhere, evidence) == refused
    assert verifier.judge(path, evidence) == ("affirming", [])


def test_another_tpm_is_another_device(verifier: Verifier, tmp_path: Path) -> None:
    with running_swtpm(tmp_path / "another") as another:
        for index, digest in BOOT:
            extend(another, index, digest)
        path, nonce = verifier.begin()
        with running_service(provider=with_tpm(another)) as service, service.client() as client:
            status, (words,) = verifier.judge(path, with_log(client.attestation_token(nonce), log_of()))
    assert (status, words[:41]) == ("contraindicated", "no endorsement knows the attestation key ")
