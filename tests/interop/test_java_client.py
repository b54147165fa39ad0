"""What upstream's provider for Java's cryptography does (signatures, random numbers, TLS), with Java's own SunPKCS11.

Upstream's client itself is published for those who log in at its host only, not in Maven Central.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgeroot.client import templates
from edgeroot.psa import Hash
from tests.support.pkcs11_module import Programs, module
from tests.support.requirements import unavailable
from tests.support.service import running_service

EXAMPLES = Path(__file__).parents[2] / "examples/java"
CONFIGURATION = "name = edgeroot\nlibrary = {}\nslotListIndex = 0\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """A service with an EC key "device" and an RSA key "signer", each with its certificate beside it."""
    if shutil.which("javac") is None:
        unavailable("there is no javac")
    with running_service() as service:
        programs = Programs(service, tmp_path_factory.mktemp("java"))
        with service.client() as client:
            client.generate_key("device", templates.ecdsa_p256(Hash.ANY))
            client.generate_key("signer", templates.rsa_signing(2048, Hash.ANY))
        for name in ("device", "signer"):
            certificate(programs, name)
        programs.path("pkcs11.cfg").write_text(CONFIGURATION.format(module()))
        yield programs


def certificate(programs: Programs, name: str) -> None:
    """Where SunPKCS11 looks for it: an object of the same id as the key."""
    pem, der = programs.path(f"{name}.crt"), programs.path(f"{name}.der")
    programs.run(
        "edgeroot", "create-certificate", "-k", name, "--cn", name, "--san", "localhost", "--days", "2", "-o", pem
    )
    der.write_bytes(x509.load_pem_x509_certificate(pem.read_bytes()).public_bytes(Encoding.DER))
    programs.pkcs11_tool("--write-object", der, "--type", "cert", "--label", name, "--id", name.encode().hex())


@pytest.mark.parametrize(
    ("key", "signature"), [("device", "SHA512withECDSA"), ("signer", "SHA256withRSA"), ("signer", "SHA512withRSA")]
)
def test_signatures(keys: Programs, key: str, signature: str) -> None:
    assert keys.run("java", EXAMPLES / "Sign.java", "pkcs11.cfg", key, signature) == "verified\n"


@pytest.mark.parametrize(("key", "version"), [("device", "TLSv1.3"), ("device", "TLSv1.2")])
def test_tls_in_which_both_ends_prove_themselves(keys: Programs, key: str, version: str) -> None:
    said = keys.run("java", EXAMPLES / "Tls.java", "pkcs11.cfg", key, version)
    assert said == f"{version}, hello CN={key}\n"
