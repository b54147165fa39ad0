"""The steps of upstream's shell test of its command line (parsec-tool, tests/parsec-cli-tests.sh), with OpenSSL at the
other end.
"""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edgeroot.client import templates
from peers import PeersRoot, run_parsec_tool
from tests.support.service import Service, running_service

SERIAL = "EZ4U2CIXL"
CSR = ("--cn", "parallaxsecond.com", "--l", "Cambridge", "--c", "GB", "--serialNumber", SERIAL)


@pytest.fixture(scope="module")
def script_service(peers_root: PeersRoot) -> Iterator[Service]:
    del peers_root
    with running_service() as service:
        yield service


class Steps:
    """The tool, told the provider's number as the script does, and OpenSSL in a folder of its own."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        self.folder = folder

    def tool(self, *arguments: str) -> str:
        result = run_parsec_tool(self.service.socket_path, "-p", "1", *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

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


@pytest.fixture
def steps(script_service: Service, tmp_path: Path) -> Steps:
    return Steps(script_service, tmp_path)


def test_service_and_providers(steps: Steps) -> None:
    assert steps.tool("ping").strip() == "1.0"
    listed = re.findall("^ID: 0x0([0-9])", steps.tool("list-providers"), re.MULTILINE)
    assert listed == ["1", "0"]


def test_random(steps: Steps) -> None:
    assert "PsaGenerateRandom" in steps.tool("list-opcodes")
    assert len(steps.tool("generate-random", "-n", "10").split()) == 10


@pytest.mark.parametrize("oaep", [False, True], ids=["PKCS#1 v1.5", "OAEP"])
def test_encryption(steps: Steps, oaep: bool) -> None:
    key, plaintext = "anta-key-rsa-crypt", "What does the fox say?"
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


def _pss_request(steps: Steps, key: str) -> bytes:
    """What the tool's last release cannot do yet, so our own client does it."""
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    subject = [(NameOID.COMMON_NAME, "parallaxsecond.com"), (NameOID.SERIAL_NUMBER, SERIAL)]
    builder = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(*one) for one in subject]))
    with steps.service.client() as client:
        client.generate_key(key, templates.rsa_pss())
        private_key = client.private_key(key)
        assert isinstance(private_key, rsa.RSAPrivateKey)
        return builder.sign(private_key, hashes.SHA256(), rsa_padding=pss).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("create", "signature"),
    [
        (("create-rsa-key", "--for-signing"), "sha256WithRSAEncryption"),
        (("create-ecc-key",), "ecdsa-with-SHA256"),
        ((), "rsassaPss"),
    ],
    ids=["RSA PKCS#1 v1.5", "ECC", "RSA PSS"],
)
def test_certificate_request(steps: Steps, create: tuple[str, ...], signature: str) -> None:
    key = "anta-key-csr"
    if create:
        steps.tool(*create, "-k", key)
        steps.write("request.pem", steps.tool("create-csr", "-k", key, *CSR).encode())
    else:
        steps.write("request.pem", _pss_request(steps, key))
    said = steps.openssl("req", "-text", "-noout", "-verify", "-in", "request.pem").decode()
    assert re.search("verify OK", said)
    assert re.search(f"Signature Algorithm: {signature}", said)
    assert re.search(f"serialNumber ?= ?{SERIAL}", said)
    steps.delete(key)


@pytest.mark.parametrize("key_bits", [2048, 1024])
def test_rsa_key_size(steps: Steps, key_bits: int) -> None:
    key = "anta-key-rsa-bits"
    steps.tool("create-rsa-key", "-k", key, *([] if key_bits == 2048 else ["-b", str(key_bits)]))
    steps.write("rsa.pem", steps.tool("export-public-key", "-k", key).encode())
    said = steps.openssl("rsa", "-pubin", "-text", "-noout", "-in", "rsa.pem").decode()
    assert f"Public-Key: ({key_bits} bit)" in said
    steps.delete(key)
