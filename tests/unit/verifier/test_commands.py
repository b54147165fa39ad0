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
from edgeroot.evidence import Profile, read_cose, verify_sign1, write_mac_token
from edgeroot.verifier.corim import read_corim, write_corim
from tests.unit.verifier.test_appraisal import CLAIMS, IAK, KNOWN, NONCE, token
from tests.unit.verifier.test_components import KERNEL
from tests.unit.verifier.test_mac_tokens import KEY

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


def test_a_warning_is_told_as_one(folder: Path) -> None:
    said = appraise("kernel", code=1)
    assert "warn component: kernel is measured but not signed" in said
    assert "verdict: warning" in said


def test_a_policy_is_told(folder: Path) -> None:
    (folder / "all.toml").write_text('unsigned_components = "match"\nleast_versions = { "PRoT" = "1.2" }')
    said = json.loads(run("check-policy", "all.toml", "--json"))
    assert (said["mac_tokens"], said["unsigned_components"]) == (False, "match")
    assert said["least_versions"] == {"PRoT": "1.2.0"}
