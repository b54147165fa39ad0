"""The steps of upstream's shell test of its command line (parsec-tool, tests/parsec-cli-tests.sh), with OpenSSL at the
other end: once with upstream's tool and once with our own command line in its place.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peers import PeersRoot, run_parsec_tool
from tests.support.service import Service, running_service
from tests.support.softhsm import softhsm, with_hsm
from tests.support.swtpm import running_swtpm, with_tpm
from tests.support.world import running_world, with_world

SERIAL = "EZ4U2CIXL"
CSR = ("--cn", "parallaxsecond.com", "--l", "Cambridge", "--c", "GB", "--serialNumber", SERIAL)


SOFTWARE, PKCS11, TPM, TRUSTED_SERVICES = "1", "2", "3", "4"


@pytest.fixture(scope="module")
def script_service(peers_root: PeersRoot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With the software provider, a token, a TPM, and Trusted Services over an emulated secure world."""
    del peers_root
    with (
        running_world() as world,
        softhsm() as hsm,
        running_swtpm(tmp_path_factory.mktemp("swtpm") / "tpm") as swtpm,
        running_service(extra=with_hsm(hsm) + with_tpm(swtpm) + with_world(world)) as service,
    ):
        yield service


class Steps:
    """The tool, told the provider's number as the script does, and OpenSSL in a folder of its own."""

    def __init__(self, service: Service, folder: Path, *, genuine: bool, provider: str) -> None:
        self.service = service
        self.provider = provider
        self.folder = folder
        self.genuine = genuine

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        if self.genuine:
            return run_parsec_tool(self.service.socket_path, "-p", self.provider, *arguments)
        command = [sys.executable, "-m", "edgeroot", "-p", self.provider, *arguments]
        environment = {**os.environ, "PARSEC_SERVICE_ENDPOINT": self.service.endpoint}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def tool(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def refusal(self, *arguments: str) -> str:
        """What the tool says of a command that is to fail."""
        result = self.run(*arguments)
        assert result.returncode != 0, result.stdout
        return result.stdout + result.stderr

    def openssl(self, *arguments: str, stdin: bytes = b"") -> bytes:
        result = subprocess.run(
            ["openssl", *arguments], input=stdin, cwd=self.folder, capture_output=True, check=False, timeout=60
        )
        assert result.returncode == 0, result.stderr.decode()
        return result.stdout + result.stderr

    def write(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return name

    def delete(self, key_name: str) -> None:
        self.tool("delete-key", "-k", key_name)
        assert key_name not in self.tool("list-keys")


@pytest.fixture(params=[SOFTWARE, PKCS11, TPM, TRUSTED_SERVICES], ids=["software", "pkcs11", "tpm", "trusted-services"])
def provider(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture(params=[True, False], ids=["parsec-tool", "edgeroot"])
def steps(script_service: Service, tmp_path: Path, provider: str, request: pytest.FixtureRequest) -> Steps:
    return Steps(script_service, tmp_path, genuine=request.param, provider=provider)


def test_service_and_providers(steps: Steps) -> None:
    assert steps.tool("ping").strip() == "1.0"
    listed = re.findall("^ID: 0x0([0-9])", steps.tool("list-providers"), re.MULTILINE)
    assert listed == ["1", "2", "3", "4", "0"]


def test_random(steps: Steps) -> None:
    assert "PsaGenerateRandom" in steps.tool("list-opcodes")
    assert len(steps.tool("generate-random", "-n", "10").split()) == 10


@pytest.mark.parametrize("oaep", [False, True], ids=["PKCS#1 v1.5", "OAEP"])
def test_encryption(steps: Steps, oaep: bool) -> None:
    key, plaintext = "anta-key-rsa-crypt", "What does the fox say?"
    if oaep and steps.provider == PKCS11:  # SoftHSM 2.6.1 has OAEP with SHA-1 only, and the tool asks for SHA-256
        assert "NotSupported" in steps.refusal("create-rsa-key", "-k", key, "--oaep")
        return
    steps.tool("create-rsa-key", "-k", key, *(["--oaep"] if oaep else []))
    assert key in steps.tool("list-keys")
    steps.write("rsa.pem", steps.tool("export-public-key", "-k", key).encode())

    ciphertext = steps.tool("encrypt", "-k", key, plaintext).strip()
    assert steps.tool("decrypt", "-k", key, ciphertext).strip() == plaintext

    options = ("-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256") if oaep else ()
    foreign = steps.openssl("pkeyutl", "-encrypt", "-pubin", "-inkey", "rsa.pem", *options, stdin=plaintext.encode())
    assert steps.tool("decrypt", "-k", key, base64.b64encode(foreign).decode()).strip() == plaintext
    steps.delete(key)


def test_ecc_signature(steps: Steps) -> None:
    key, text = "anta-key-sign", "$(date) Bonjour!"
    steps.tool("create-ecc-key", "-k", key)
    steps.write("ecc.pem", steps.tool("export-public-key", "-k", key).encode())
    steps.write("signature.bin", base64.b64decode(steps.tool("sign", "-k", key, text)))
    said = steps.openssl("dgst", "-sha256", "-verify", "ecc.pem", "-signature", "signature.bin", stdin=text.encode())
    assert said == b"Verified OK\n"
    steps.delete(key)


def _certificate_request(steps: Steps, signature: str, *create: str) -> None:
    key = "anta-key-csr"
    steps.tool(*create, "-k", key)
    steps.write("request.pem", steps.tool("create-csr", "-k", key, *CSR).encode())
    said = steps.openssl("req", "-text", "-noout", "-verify", "-in", "request.pem").decode()
    assert re.search("verify OK", said)
    assert re.search(f"Signature Algorithm: {signature}", said)
    assert re.search(f"serialNumber ?= ?{SERIAL}", said)
    steps.delete(key)


def test_certificate_requests(steps: Steps) -> None:
    _certificate_request(steps, "sha256WithRSAEncryption", "create-rsa-key", "--for-signing")
    _certificate_request(steps, "ecdsa-with-SHA256", "create-ecc-key")


@pytest.mark.parametrize("steps", [False], ids=["edgeroot"], indirect=True)
def test_certificate_request_with_pss(steps: Steps) -> None:
    """The script's newest version has this step; the tool's last release does not know the option yet."""
    _certificate_request(steps, "rsassaPss", "create-rsa-key", "--for-signing-pss")


@pytest.mark.parametrize("key_bits", [2048, 1024])
def test_rsa_key_size(steps: Steps, key_bits: int) -> None:
    key = "anta-key-rsa-bits"
    steps.tool("create-rsa-key", "-k", key, *([] if key_bits == 2048 else ["-b", str(key_bits)]))
    steps.write("rsa.pem", steps.tool("export-public-key", "-k", key).encode())
    said = steps.openssl("rsa", "-pubin", "-text", "-noout", "-in", "rsa.pem").decode()
    assert f"Public-Key: ({key_bits} bit)" in said
    steps.delete(key)
