"""The examples in other languages, each built and run as their heads say."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from edgeroot.client import templates
from edgeroot.psa import Hash
from peers import PeersUnavailableError
from peers.rust import rust_program
from peers.toolchains import tool
from tests.support.pkcs11_module import Programs, module
from tests.support.requirements import unavailable
from tests.support.service import running_service
from tests.support.tls_material import self_signed

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Programs]:
    """A service with a key "device", whose certificate is in ``device.crt``."""
    module()
    with running_service() as service:
        with service.client() as client:
            client.generate_key("device", templates.ecdsa_p256(Hash.ANY))
            (tmp_path / "device.crt").write_bytes(self_signed(client, "device", "device"))
        yield Programs(service, tmp_path)


def needed(program: str) -> str:
    return tool(program) or unavailable(f"there is no {program}")


def test_rust(device: Programs) -> None:
    try:
        program = rust_program("sign")
    except PeersUnavailableError as error:
        unavailable(str(error))
    assert device.run(program) == "verified a signature of 64 bytes\n"


def test_c(device: Programs) -> None:
    flags = device.run("pkg-config", "--cflags", "p11-kit-1").split()
    program = device.path("sign")
    device.run(needed("cc"), "-Wall", "-Wextra", "-Werror", EXAMPLES / "c/sign.c", "-o", program, *flags)
    raw = bytes.fromhex(device.run(program, module(), "device", "message"))
    certificate = x509.load_pem_x509_certificate(device.path("device.crt").read_bytes())
    public_key = certificate.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    signature = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    public_key.verify(signature, b"message", ec.ECDSA(hashes.SHA256()))
    refused = subprocess.run(
        [str(program), str(module()), "nobody", "m"], env=device.environment, capture_output=True, check=False
    )
    assert (refused.returncode, refused.stderr) == (1, b'there is no private key "nobody"\n')


def test_go(device: Programs) -> None:
    """A server and a client in one program, which both prove themselves."""
    folder = shutil.copytree(EXAMPLES / "go", device.path("go"))
    build = subprocess.run(
        [needed("go"), "build", "-o", "example", "."], cwd=folder, capture_output=True, text=True, check=False
    )
    assert build.returncode == 0, build.stderr
    assert device.run(folder / "example", module(), "device", device.path("device.crt")) == "hello device\n"


def test_java(device: Programs) -> None:
    certificate = x509.load_pem_x509_certificate(device.path("device.crt").read_bytes())
    device.path("device.der").write_bytes(certificate.public_bytes(Encoding.DER))
    device.pkcs11_tool(
        "--write-object", device.path("device.der"), "--type", "cert", "--label", "device", "--id", b"device".hex()
    )
    configuration = device.path("pkcs11.cfg")
    configuration.write_text(f"name = edgeroot\nlibrary = {module()}\nslotListIndex = 0\n")
    needed("javac")
    assert device.run("java", EXAMPLES / "java/Sign.java", configuration, "device") == "verified\n"


def test_each_language_has_an_example() -> None:
    languages = {one.parent.name for one in EXAMPLES.glob("*/*") if one.suffix in {".rs", ".c", ".go", ".java"}}
    assert languages == {"rust", "c", "go", "java"}
    assert os.environ.get("CI") != "true" or all(map(tool, ("cargo", "cc", "go", "javac")))
