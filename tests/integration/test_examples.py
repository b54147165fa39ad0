"""The programs in examples/ do what they say, with a real service."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cbor2
import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.support.requirements import unavailable
from tests.support.service import Service, running_service

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(service: Service, folder: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / program), *arguments],
        cwd=folder,
        env={**os.environ, "PARSEC_SERVICE_ENDPOINT": service.endpoint},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def openssl(folder: Path, *arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_every_example_is_tried() -> None:
    here = {"demo.py", "back_ends.py", "root_of_trust.py", "certificate_authority.py", "sign_many.py", "keys.py"}
    here |= {"cms_signature.py", "jwt_token.py", "cose_message.py", "ssh_certificate.py"}
    here |= {"acme_renewal.py"}  # tests/integration/test_acme.py
    on_a_cluster = {"edge_fleet.py", "edge_parts.py"}  # tests/integration/cluster/test_demo_edge.py
    assert {path.name for path in EXAMPLES.glob("*.py")} == here | on_a_cluster


def test_one_workload_over_every_back_end() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "back_ends.py")], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if "verified" in line and "refused" in line]
    if len(rows) < 4:
        unavailable(f"a back end of the example is missing: {done.stdout}")
    assert [row[0] for row in rows] == ["Software", "Trusted", "TPM", "PKCS#11"]


def test_the_root_of_trust_from_provisioning_to_a_refused_replay() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "root_of_trust.py")], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "is left out" in done.stdout:
        unavailable(done.stdout)
    verdicts = [line.rpartition(" ")[2] for line in done.stdout.splitlines() if "The verifier says" in line]
    assert verdicts == ["affirming", "contraindicated", "affirming"]
    assert "its security counter is below the device's" in done.stdout


def test_certificate_authority(tmp_path: Path) -> None:
    request = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "device.key"]
    openssl(tmp_path, *request, "-subj", "/CN=device", "-out", "device.csr")
    with running_service() as service:
        for _ in range(2):  # the second time the authority has its key already
            issued = run(service, tmp_path, "certificate_authority.py", "device.csr")
            assert issued.returncode == 0, issued.stderr
            (tmp_path / "device.pem").write_text(issued.stdout)
            assert openssl(tmp_path, "verify", "-CAfile", "ca.pem", "device.pem") == "device.pem: OK\n"


@pytest.mark.parametrize("count", ["1", "300"])
def test_sign_many(tmp_path: Path, count: str) -> None:
    with running_service() as service:
        for _ in range(2):  # it leaves no key behind
            result = run(service, tmp_path, "sign_many.py", count)
            assert (result.returncode, result.stdout) == (0, f"{count} signatures, all good\n"), result.stderr


@pytest.fixture(scope="module")
def any_service() -> Iterator[Service]:
    with running_service() as service:
        yield service


def printed(service: Service, folder: Path, program: str, *arguments: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", f"examples.{program}", *arguments],
        cwd=folder,
        env={**os.environ, "PARSEC_SERVICE_ENDPOINT": service.endpoint, "PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_cms(any_service: Service, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"reading\n" * 1000)
    (tmp_path / "file.p7s").write_bytes(printed(any_service, tmp_path, "cms_signature", "file"))
    verify = ("cms", "-verify", "-binary", "-inform", "PEM", "-in", "file.p7s", "-content", "file", "-out", "content")
    openssl(tmp_path, *verify, "-CAfile", "signer.pem", "-purpose", "any")
    (tmp_path / "file").write_bytes(b"another")
    with pytest.raises(subprocess.CalledProcessError):
        openssl(tmp_path, *verify, "-CAfile", "signer.pem", "-purpose", "any")


def test_jwt(any_service: Service, tmp_path: Path) -> None:
    token = printed(any_service, tmp_path, "jwt_token", "gateway-17").decode().strip()
    key = load_pem_public_key((tmp_path / "issuer.pem").read_bytes())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert jwt.decode(token, key, algorithms=["ES256"])["sub"] == "gateway-17"


def test_cose(any_service: Service, tmp_path: Path) -> None:
    """Read by the bytes of the specification: tag 18, and the signature over Sig_structure (clause 4.4)."""
    message = cbor2.loads(printed(any_service, tmp_path, "cose_message", "hello"))
    assert message.tag == 18
    protected, _, payload, raw = message.value
    assert (payload, cbor2.loads(protected)) == (b"hello", {1: -7})
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    signature = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    key = load_pem_public_key((tmp_path / "signer.pem").read_bytes())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))


def test_ssh_certificates(any_service: Service, tmp_path: Path) -> None:
    """As OpenSSH sees one."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "user"], check=True)
    certificate = printed(any_service, tmp_path, "ssh_certificate", "user.pub", "operator")
    (tmp_path / "user-cert.pub").write_bytes(certificate)
    said = subprocess.run(
        ["ssh-keygen", "-L", "-f", tmp_path / "user-cert.pub"], capture_output=True, text=True, check=True
    ).stdout
    own = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "ssh-ca.pub"], capture_output=True, text=True, check=True
    )
    assert f"Signing CA: ECDSA {own.stdout.split()[1]}" in said
    assert "operator" in said
