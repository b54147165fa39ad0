"""Upstream's own Rust client does all it can with our service, over every provider, as it does with upstream's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from peers import PeersRoot, PeersUnavailableError, UpstreamService
from peers.rust import rust_program
from tests.support.requirements import unavailable
from tests.support.service import Service, running_service
from tests.support.softhsm import softhsm, with_hsm
from tests.support.swtpm import running_swtpm, with_tpm
from tests.support.world import running_world, with_world

PROVIDERS = {"software": 1, "pkcs11": 2, "tpm": 3, "trusted-services": 4}
ALWAYS = """
Ping ListAuthenticators PsaGenerateKey ListKeys PsaExportPublicKey PsaSignHash PsaImportKey PsaGenerateRandom
CanDoCrypto ListClients PsaDestroyKey
""".split()
# Of the other steps, what each provider does; the rest is PsaErrorNotSupported. (SoftHSM 2.6.1 has OAEP with SHA-1.)
_MOST = "PsaSignMessage PsaExportKey PsaHashCompute PsaAeadEncrypt PsaCipherEncrypt PsaRawKeyAgreement"
OTHERS = {
    1: f"{_MOST} PsaAsymmetricEncrypt",
    2: _MOST,
    3: "PsaSignMessage PsaAsymmetricEncrypt PsaHashCompute PsaCipherEncrypt PsaRawKeyAgreement PrepareKeyAttestation",
    4: f"{_MOST} PsaAsymmetricEncrypt",
}


@pytest.fixture(scope="module")
def client() -> Path:
    try:
        return rust_program("rust-client")
    except PeersUnavailableError as error:
        unavailable(str(error))


@pytest.fixture(scope="module")
def all_providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with (
        running_world() as world,
        softhsm() as hsm,
        running_swtpm(tmp_path_factory.mktemp("swtpm") / "tpm") as swtpm,
        running_service(extra=with_hsm(hsm) + with_tpm(swtpm) + with_world(world)) as service,
    ):
        yield service


def outcomes(client: Path, socket: Path, provider: int) -> Mapping[str, str]:
    """Of each operation ``ok``, or the client's error; and what the provider offers, under ``offered``."""
    environment = {**os.environ, "PARSEC_SERVICE_ENDPOINT": f"unix:{socket}"}
    done = subprocess.run(
        [str(client), str(provider)], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split("\t") for line in done.stdout.splitlines())


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=list(PROVIDERS))
def test_every_operation(client: Path, all_providers: Service, provider: int) -> None:
    found = dict(outcomes(client, all_providers.socket_path, provider))
    for told in ("offered", "provider"):
        found.pop(told)
    done = {*ALWAYS, *OTHERS[provider].split()}
    expected = {name: "ok" if name in done else "PsaErrorNotSupported" for name in found}
    if provider != PROVIDERS["tpm"]:
        expected["PrepareKeyAttestation"] = "of a TPM only"
    assert found == expected
    assert len(found) == 19


def test_upstream_answers_the_same(client: Path, all_providers: Service, peers_root: PeersRoot) -> None:
    """As far as upstream can do it."""
    del peers_root
    ours = outcomes(client, all_providers.socket_path, 1)
    with UpstreamService() as service:
        theirs = outcomes(client, service.socket_path, 1)
    offered = {*theirs["offered"].split(), *ALWAYS}
    assert set(theirs["offered"].split()) <= set(ours["offered"].split())
    assert {name: theirs[name] for name in theirs if name in offered} == {
        name: ours[name] for name in ours if name in offered
    }
    assert theirs["provider"] == ours["provider"]
