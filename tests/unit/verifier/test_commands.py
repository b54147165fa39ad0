"""`edgeroot verifier` over files: shared keys, and results in either form."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from pathlib import Path

import cbor2
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgeroot.cli.frame import Root
from edgeroot.evidence import (
    Profile,
    attestation_public_key,
    read_cose,
    verify_sign1,
    write_mac_token,
    write_tpm_evidence,
)
from edgeroot.verifier.corim import read_corim, write_corim
from tests.unit.evidence.test_tpm_evidence import MEASURED, NAME, PCR_4, QUALIFYING, QUOTE, ZEROS
from tests.unit.verifier.test_appraisal import CLAIMS, IAK, KNOWN, NONCE, token
from tests.unit.verifier.test_boot_log import EVENTS, event, log
from tests.unit.verifier.test_components import KERNEL
from tests.unit.verifier.test_mac_tokens import KEY
from tests.unit.verifier.test_quote import pcr

WHOSE = {"kid": CLAIMS.instance_id.hex(), "psa_implementation_id": CLAIMS.implementation_id.hex()}
JWK = {"kty": "oct", "alg": "HS256", "k": urlsafe_b64encode(KEY.secret).rstrip(b"=").decode()}
SIGNER = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    files = {
        "token": token(),
        "mac": write_mac_token(CLAIMS, Profile.RFC9783, KEY),
        "kernel": token(replace(CLAIMS, software_components=(*CLAIMS.software_components, KERNEL))),
        "fleet.corim": write_corim("fleet", KNOWN),
        "key.jwk": json.dumps(JWK | WHOSE).encode(),
        "nobodys.jwk": json.dumps(JWK).encode(),
        "mac.toml": b"mac_tokens = true",
        "sign.pem": SIGNER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "iak.pem": IAK.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    root = Root({"verifier": "edgeroot.verifier.commands:verifier"})
    done = CliRunner().invoke(root, ["verifier", *arguments], prog_name="edgeroot")
    assert done.exit_code == code, done.output
    return done.output


def appraise(evidence: str, *options: str, corim: str = "fleet.corim", code: int = 0) -> str:
    return run("appraise", evidence, "--challenge", NONCE.hex(), "--corim", corim, *options, code=code)


def test_a_shared_key(folder: Path) -> None:
    given = ("--symmetric-key", "key.jwk", "--policy", "mac.toml")
    assert "verdict: affirming" in appraise("mac", *given)
    assert "FAIL algorithm: the token has an authentication code" in appraise("mac", *given[:2], code=1)
    assert "FAIL instance: there is no shared key" in appraise("mac", *given[2:], code=1)
    assert "verdict: affirming" in appraise("token", *given)
    assert "does not say whose it is" in appraise("mac", "--symmetric-key", "nobodys.jwk", code=1)
    assert "a second key for device" in appraise("mac", *given, *given[:2], code=1)
    assert "iak.pem: a shared key is a JWK" in appraise("mac", "--symmetric-key", "iak.pem", code=1)


def test_what_a_device_with_a_shared_key_runs_is_endorsed_without_the_key(folder: Path) -> None:
    endorse = ("endorse", "mac", "--challenge", NONCE.hex())
    said = json.loads(run(*endorse, "--symmetric-key", "nobodys.jwk", "-o", "mac.corim", "--json"))
    assert (said["instance_id_hex"], said["implementation_id_hex"]) == tuple(WHOSE.values())
    corim = (folder / "mac.corim").read_bytes()
    assert bytes(KEY.secret) not in corim
    assert read_corim(corim).keys == {}
    given = ("--symmetric-key", "key.jwk", "--policy", "mac.toml")
    assert "verdict: affirming" in appraise("mac", *given, corim="mac.corim")
    for options in ((), ("--symmetric-key", "key.jwk", "--key", "iak.pem")):
        assert "give either --key or --symmetric-key" in run(*endorse, *options, code=1)
    assert "no public key can check" in run(*endorse, "--key", "iak.pem", code=1)


def test_results_in_either_form(folder: Path) -> None:
    appraise("token", "--sign", "sign.pem", "-o", "result.jwt")
    assert (folder / "result.jwt").read_text().count(".") == 2
    appraise("token", "--sign", "sign.pem", "--result-format", "cwt", "-o", "result.cwt")
    message = read_cose((folder / "result.cwt").read_bytes())
    verify_sign1(message, SIGNER.public_key())
    assert cbor2.loads(message.payload)[266]["PSA_IOT"][1000] == 2
    assert "a CWT is signed" in appraise("token", "--result-format", "cwt", code=1)


def test_a_quote_is_endorsed_and_judged(folder: Path) -> None:
    (folder / "quote").write_bytes(write_tpm_evidence(QUOTE))
    (folder / "log").write_bytes(log())
    challenge = ("--challenge", QUALIFYING.hex())
    endorse = ("endorse-quote", "quote", *challenge, "--kind", "gateway")
    values = ("--pcr", "0", "--pcr", "7", "--pcr", "4")
    said = json.loads(run(*endorse, *values, "-o", "values.corim", "--json"))
    assert said["attestation_key_hex"] == NAME.hex()
    assert read_corim((folder / "values.corim").read_bytes()).references == {
        b"gateway": {pcr(0, ZEROS), pcr(7, ZEROS), pcr(4, PCR_4)}
    }
    assert "verdict: affirming" in run("appraise", "quote", *challenge, "--quote", "--corim", "values.corim")
    run(*endorse, "--pcr", "4", "--event-log", "log", "-o", "events.corim")
    known = read_corim((folder / "events.corim").read_bytes())
    assert known.references == {b"gateway": {event(4, digest) for digest in MEASURED}}
    assert known.keys[NAME].key == attestation_public_key(QUOTE)
    judge = ("appraise", "quote", *challenge, "--quote", "--corim", "events.corim")
    assert "event 2 of PCR 4 is known" in run(*judge, "--event-log", "log", code=1)  # nobody says a thing of PCR 7
    assert "no event log came along" in run(*judge, code=1)
    assert "FAIL nonce" in run(*judge[:2], "--challenge", NONCE.hex()[::-1], *judge[4:], code=1)


def test_what_is_not_endorsed_of_quotes(folder: Path) -> None:
    (folder / "quote").write_bytes(write_tpm_evidence(QUOTE))
    (folder / "log").write_bytes(log(EVENTS[:1]))
    endorse = ("endorse-quote", "quote", "--challenge", QUALIFYING.hex(), "--kind", "gateway")
    assert "PCR 1 was not quoted" in run(*endorse, code=1)
    assert "does not give PCR 4 its value" in run(*endorse, "--pcr", "4", "--event-log", "log", code=1)
    (folder / "bound.toml").write_text('tpm_application = "1000"')
    assert "another challenge" in run(*endorse, "--pcr", "4", "--policy", "bound.toml", code=1)
    assert "token: the evidence is not a map" in run("endorse-quote", "token", *endorse[2:], code=1)
    assert "give --quote too" in appraise("token", "--event-log", "log", code=1)


def test_a_warning_is_told_as_one(folder: Path) -> None:
    said = appraise("kernel", code=1)
    assert "warn component: kernel is measured but not signed" in said
    assert "verdict: warning" in said


def test_a_policy_is_told(folder: Path) -> None:
    (folder / "all.toml").write_text('unsigned_components = "match"\nleast_versions = { "PRoT" = "1.2" }')
    said = json.loads(run("check-policy", "all.toml", "--json"))
    assert (said["mac_tokens"], said["unsigned_components"]) == (False, "match")
    assert said["least_versions"] == {"PRoT": "1.2.0"}
