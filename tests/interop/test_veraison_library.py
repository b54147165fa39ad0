"""Veraison's own library of attestation results reads ours, in both encodings, and refuses what was changed."""

from __future__ import annotations

import json
import subprocess
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from edgeroot.verifier.ear import ear_claims, sign_ear, sign_ear_cwt
from edgeroot.verifier.verdict import Appraisal
from peers import PeersUnavailableError
from peers.rust import rust_program
from tests.support.requirements import unavailable
from tests.unit.evidence.test_key_statement import KEY as STATED
from tests.unit.verifier.test_appraisal import NONCE, judged, statement, token

SIGNER = ec.generate_private_key(ec.SECP256R1())
RESULTS = {
    "affirming": judged(token()),
    "with a key": judged(statement(STATED)),
    "contraindicated": judged(b"no token"),
}


def claims_of(appraisal: Appraisal) -> dict[str, Any]:
    return ear_claims(appraisal, issued_at_s=1_800_000_000, nonce=NONCE, policy_id="strictest")


def encoded(claims: dict[str, Any], kind: str) -> bytes:
    return sign_ear(claims, SIGNER).encode() if kind == "jwt" else sign_ear_cwt(claims, SIGNER)


def read(folder: Path, result: bytes, kind: str) -> subprocess.CompletedProcess[str]:
    try:
        program = rust_program("ear-reader")
    except PeersUnavailableError as error:
        unavailable(str(error))
    numbers = SIGNER.public_key().public_numbers()
    x, y = (urlsafe_b64encode(one.to_bytes(32)).rstrip(b"=").decode() for one in (numbers.x, numbers.y))
    (folder / "key.jwk").write_text(json.dumps({"kty": "EC", "crv": "P-256", "x": x, "y": y}))
    (folder / "result").write_bytes(result)
    (folder / "nonce").write_bytes(NONCE)
    command: list[str | Path] = [program, kind, *(folder / name for name in ("result", "key.jwk", "nonce"))]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("kind", ["jwt", "cwt"])
@pytest.mark.parametrize("result", RESULTS)
def test_it_reads_our_results(tmp_path: Path, result: str, kind: str) -> None:
    claims = claims_of(RESULTS[result])
    done = read(tmp_path, encoded(claims, kind), kind)
    assert done.returncode == 0, done.stderr
    if kind == "cwt":
        del claims["eat_nonce"]  # which the program compares itself
    assert json.loads(done.stdout) == claims


@pytest.mark.parametrize("kind", ["jwt", "cwt"])
def test_it_refuses_a_changed_result(tmp_path: Path, kind: str) -> None:
    result = bytearray(encoded(claims_of(RESULTS["affirming"]), kind))
    result[-10] ^= 1
    done = read(tmp_path, bytes(result), kind)
    assert done.returncode == 101, "its library panics, or the program does"
    assert not done.stdout
