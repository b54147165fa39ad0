"""Go's own TLS, with keys of every provider: server and client prove themselves through the PKCS#11 module."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeroot.client import templates
from peers.toolchains import tool
from tests.support.pkcs11_module import Programs, module
from tests.support.requirements import unavailable
from tests.support.service import running_service
from tests.support.softhsm import softhsm, with_hsm
from tests.support.swtpm import running_swtpm, with_tpm
from tests.support.tls_material import self_signed
from tests.support.world import running_world, with_world

EXAMPLE = Path(__file__).parents[2] / "examples/go"
PROVIDERS = {"software": 1, "pkcs11": 2, "tpm": 3, "trusted-services": 4}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """The example is ``example`` in the folder, and its service has every provider."""
    module()
    folder = tmp_path_factory.mktemp("go")
    # Where Go's own archive is unpacked; not everybody puts it on the PATH.
    go = tool("go")
    if go is None:
        unavailable("there is no go")
    source = shutil.copytree(EXAMPLE, folder / "source")
    build = [go, "build", "-o", str(folder / "example"), "."]
    done = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (
        running_world() as world,
        softhsm() as hsm,
        running_swtpm(folder / "tpm") as swtpm,
        running_service(extra=with_hsm(hsm) + with_tpm(swtpm) + with_world(world)) as service,
    ):
        yield Programs(service, folder)


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=list(PROVIDERS))
def test_tls_in_which_both_ends_prove_themselves(programs: Programs, provider: int) -> None:
    name = f"gateway-{provider}"
    certificate = programs.path(f"{name}.crt")
    with programs.service.client() as client:
        one = client.with_provider(provider)
        one.generate_key(name, templates.ecdsa_p256())
        certificate.write_bytes(self_signed(one, name, name))
    assert programs.run(programs.path("example"), module(), name, certificate) == f"hello {name}\n"


def test_a_key_of_nobody_is_named(programs: Programs) -> None:
    with programs.service.client() as client:
        client.generate_key("somebody", templates.ecdsa_p256())
        programs.path("somebody.crt").write_bytes(self_signed(client, "somebody", "somebody"))
    command = [programs.path("example"), module(), "nobody", programs.path("somebody.crt")]
    done = subprocess.run(
        [str(one) for one in command], env=programs.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith('there is no private key "nobody"\n')
