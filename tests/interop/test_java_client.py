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
# These know one hash for a key; and they keep no certificates, which another provider does for them.
ONE_HASH = {"pkcs11", "tpm"}
SIGNATURES = [
    (provider, key, f"{hash_name}with{kind}")
    for provider in SLOTS
    for key, kind in (("device", "ECDSA"), ("signer", "RSA"))
    for hash_name in (("SHA256",) if provider in ONE_HASH else ("SHA256", "SHA512"))
]
EXAMPLES = Path(__file__).parents[2] / "examples/java"
CONFIGURATION = "name = edgeroot\nlibrary = {}\nslotListIndex = {}\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """An EC key "device" and an RSA key "signer" in each provider, and for each a configuration of Java's."""
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
        for provider, slot in SLOTS.items():
            programs.path(f"{provider}.cfg").write_text(CONFIGURATION.format(module(), slot))
            for name in ("device", "signer"):
                make(programs, provider, name)
        yield programs


def make(programs: Programs, provider: str, name: str) -> None:
    """A key, and its certificate where SunPKCS11 looks for it: an object of the same id."""
    with programs.service.client() as client:
        number = client.list_providers()[SLOTS[provider]].id
        permitted = Hash.SHA_256 if provider in ONE_HASH else Hash.ANY
        attributes = templates.rsa_signing(2048, permitted) if name == "signer" else templates.ecdsa_p256(permitted)
        client.with_provider(number).generate_key(name, attributes)
    pem, der = programs.path(f"{name}-{provider}.crt"), programs.path(f"{name}-{provider}.der")
    subject = ("--cn", name, "--san", "localhost", "--days", "2")
    programs.run("edgeroot", "-p", str(number), "create-certificate", "-k", name, *subject, "-o", pem)
    der.write_bytes(x509.load_pem_x509_certificate(pem.read_bytes()).public_bytes(Encoding.DER))
    found = ("--label", name, "--id", name.encode().hex())
    programs.pkcs11_tool("--slot-index", str(SLOTS[provider]), "--write-object", der, "--type", "cert", *found)


@pytest.mark.parametrize(("provider", "key", "signature"), SIGNATURES)
def test_signatures(keys: Programs, provider: str, key: str, signature: str) -> None:
    assert keys.run("java", EXAMPLES / "Sign.java", f"{provider}.cfg", key, signature) == "verified\n"


@pytest.mark.parametrize("provider", SLOTS)
@pytest.mark.parametrize("version", ["TLSv1.3", "TLSv1.2"])
def test_tls_in_which_both_ends_prove_themselves(keys: Programs, provider: str, version: str) -> None:
    said = keys.run("java", EXAMPLES / "Tls.java", f"{provider}.cfg", "device", version)
    assert said == f"{version}, hello CN=device\n"


def test_a_certificate_that_is_kept_elsewhere_is_in_its_slot_alone(keys: Programs) -> None:
    for number in SLOTS.values():
        listed = keys.pkcs11_tool("--slot-index", str(number), "--list-objects", "--type", "cert")
        assert listed.count("Certificate Object") == 2
    with keys.service.client() as client:
        names = {one.name for one in client.list_keys()}
    assert {"pkcs11:type=cert;object=device", "pkcs11:type=cert;slot-id=3;object=device"} <= names
