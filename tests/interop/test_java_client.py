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
from tests.support.softhsm import softhsm, with_hsm
from tests.support.swtpm import running_swtpm, with_tpm
from tests.support.world import running_world, with_world

SLOTS = {"software": 0, "trusted-services": 1, "pkcs11": 2, "tpm": 3}
# SunPKCS11 shows no key without its certificate, and tokens and TPMs keep no certificates for us.
FOR_JAVA = ["software", "trusted-services"]
EXAMPLES = Path(__file__).parents[2] / "examples/java"
CONFIGURATION = "name = edgeroot\nlibrary = {}\nslotListIndex = {}\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """An EC key "device" and an RSA key "signer" in each provider for Java, and for each a configuration of Java's."""
    if shutil.which("javac") is None:
        unavailable("there is no javac")
    folder = tmp_path_factory.mktemp("java")
    with (
        running_world() as world,
        softhsm() as hsm,
        running_swtpm(folder / "tpm") as swtpm,
        running_service(extra=with_world(world) + with_hsm(hsm) + with_tpm(swtpm)) as service,
    ):
        programs = Programs(service, folder)
        for provider in FOR_JAVA:
            programs.path(f"{provider}.cfg").write_text(CONFIGURATION.format(module(), SLOTS[provider]))
            for name in ("device", "signer"):
                make(programs, provider, name)
        yield programs


def make(programs: Programs, provider: str, name: str) -> None:
    """A key, and its certificate where SunPKCS11 looks for it: an object of the same id."""
    with programs.service.client() as client:
        number = client.list_providers()[SLOTS[provider]].id
        attributes = templates.rsa_signing(2048, Hash.ANY) if name == "signer" else templates.ecdsa_p256(Hash.ANY)
        client.with_provider(number).generate_key(name, attributes)
    pem, der = programs.path(f"{name}-{provider}.crt"), programs.path(f"{name}-{provider}.der")
    subject = ("--cn", name, "--san", "localhost", "--days", "2")
    programs.run("edgeroot", "-p", str(number), "create-certificate", "-k", name, *subject, "-o", pem)
    der.write_bytes(x509.load_pem_x509_certificate(pem.read_bytes()).public_bytes(Encoding.DER))
    programs.pkcs11_tool(*certificate(der, SLOTS[provider], name))


def certificate(der: Path, slot: int, name: str) -> tuple[str | Path, ...]:
    found = ("--label", name, "--id", name.encode().hex())
    return "--slot-index", str(slot), "--write-object", der, "--type", "cert", *found


@pytest.mark.parametrize("provider", FOR_JAVA)
@pytest.mark.parametrize(
    ("key", "signature"), [("device", "SHA512withECDSA"), ("signer", "SHA256withRSA"), ("signer", "SHA512withRSA")]
)
def test_signatures(keys: Programs, provider: str, key: str, signature: str) -> None:
    assert keys.run("java", EXAMPLES / "Sign.java", f"{provider}.cfg", key, signature) == "verified\n"


@pytest.mark.parametrize("provider", FOR_JAVA)
@pytest.mark.parametrize("version", ["TLSv1.3", "TLSv1.2"])
def test_tls_in_which_both_ends_prove_themselves(keys: Programs, provider: str, version: str) -> None:
    said = keys.run("java", EXAMPLES / "Tls.java", f"{provider}.cfg", "device", version)
    assert said == f"{version}, hello CN=device\n"


@pytest.mark.parametrize("provider", sorted(SLOTS.keys() - set(FOR_JAVA)))
def test_other_providers_keep_no_certificates(keys: Programs, provider: str) -> None:
    """As the documentation says; once they do, Java can use their keys."""
    with pytest.raises(AssertionError, match="CKR_TEMPLATE_INCONSISTENT"):
        keys.pkcs11_tool(*certificate(keys.path("device-software.der"), SLOTS[provider], "device"))
