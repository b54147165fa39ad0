"""The keeper of a node's firmware, killed again and again while it installs a release on a real emulated device."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgeroot.evidence import read_token
from peers.kubernetes import Cluster
from tests.support.cluster_accounts import account_kubeconfig, deploy
from tests.support.edge_nodes import until
from tests.support.killing import killed
from tests.support.updated_world import NEW, Maker, booted, client, counter, device, versions
from tests.support.world import World

LIVES_S: Final = (0.8, 3.0)  # it is there after a second, and hardly ever long enough to install
KILLS: Final = 8
_SLOW: Final = """\
#!/bin/sh
# Over a slow line.
if [ "$2" = install ]; then sleep 1.5; fi
exec {python} -m edgeroot "$@"
"""
_RESTART: Final = """\
#!/bin/sh
# As a service manager does it: whoever asked may be gone meanwhile.
touch {wanted}
while [ -e {wanted} ]; do sleep 0.1; done
"""


class Site:
    """The maker's folder and the relying party's, and the commands in it."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        command = folder / "bin" / "edgeroot"
        command.parent.mkdir()
        command.write_text(_SLOW.format(python=sys.executable))
        command.chmod(0o755)
        path = f"{command.parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "EDGEROOT_SECURE_WORLD": str(world.socket), "PATH": path}

    def run(self, *arguments: str, code: int = 0) -> None:
        command = [sys.executable, "-m", "edgeroot", *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr

    def endorse(self, world: World) -> str:
        """Take down what the device is and runs; the implementation's id."""
        challenge = os.urandom(32)
        with client(world) as psa:
            token = psa.psa_initial_attest_get_token(challenge)
        (self.folder / "setup.cbor").write_bytes(token)
        (self.folder / "device.pem").write_text(self._said("secure-world", "attestation-key"))
        named = ("--challenge", challenge.hex(), "--key", "device.pem", "-o", "device.corim")
        self.run("verifier", "endorse", "setup.cbor", *named)
        return read_token(token).claims.implementation_id.hex()

    def _said(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "edgeroot", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    @contextmanager
    def verifier(self) -> Iterator[str]:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "sign.pem").write_bytes(pem)
        (self.folder / "token").write_text(os.urandom(32).hex())
        command = [sys.executable, "-m", "edgeroot", "verifier", "serve", "--store", "fleet.db", "--port", "0"]
        command += ["--sign", "sign.pem", "--provisioning-token-file", "token"]
        with subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                yield server.stdout.readline().split()[-1]
            finally:
                server.terminate()


@contextmanager
def restarting(world: World, folder: Path) -> Iterator[Path]:
    """The command that restarts the device's secure world."""
    wanted, stop = folder / "restart-wanted", threading.Event()
    script = folder / "restart.sh"
    script.write_text(_RESTART.format(wanted=wanted))

    def serve() -> None:
        while not stop.wait(0.1):
            if wanted.exists():
                world.stop()
                world.start()
                wanted.unlink()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield script
    finally:
        stop.set()
        thread.join()


def _report(cluster: Cluster, node: str) -> dict[str, Any]:
    status: dict[str, Any] = cluster.get("edgenode", node).get("status", {})
    found: dict[str, Any] = status.get("inventory", {}).get("firmware", {})
    return found


@pytest.mark.timeout(400)
def test_the_keeper_is_killed_while_it_installs_boots_and_accepts(cluster: Cluster, tmp_path: Path) -> None:
    deploy(cluster, "crds/edgenode.yaml", "agent-rbac.yaml")
    node = f"gateway-{uuid.uuid4().hex[:8]}"
    kubeconfig = account_kubeconfig(cluster, "edgeroot-agent", tmp_path / "agent.kubeconfig")
    maker = Maker.make(tmp_path)
    (tmp_path / "1.1.0").mkdir()
    for name, image in maker.release(NEW, 2).items():
        (tmp_path / "1.1.0" / f"{name}.img").write_bytes(image)
    with device(maker.provision(tmp_path / "device")) as world:
        world.start()
        site = Site(tmp_path, world)
        implementation = site.endorse(world)
        published = ("--repository", "www", "--keys", "keys", "--images", "1.1.0", "--product", "gateway")
        site.run("update", "publish", *published, "--implementation-id", implementation)
        offered = ("--repository", "www", "--root", "www/metadata/1.root.json", "--product", "gateway")
        site.run("update", "check", *offered, "--state", "update", code=100)
        with site.verifier() as url, restarting(world, tmp_path) as script:
            for corim in ("device.corim", "www/gateway-1.1.0.corim"):
                site.run("verifier", "submit", corim, "--url", url, "--token-file", "token")
            kind = {"apiVersion": "edgeroot.dev/v1alpha1", "kind": "EdgeNode", "metadata": {"name": node}}
            cluster.create({**kind, "spec": {"device": "01", "firmware": {"version": "1.1.0"}}})
            where = ("--node-name", node, "--verifier", url, "--restart", f"sh {script}")
            remembered = ("--memory", str(tmp_path / "memory.json"), "--update-state", "update")
            environment = {**site.environment, "KUBECONFIG": str(kubeconfig)}
            with killed(
                *("edge", "firmware", "keep", *where, *remembered),
                environment=environment,
                folder=tmp_path,
                lives_s=LIVES_S,
            ) as keepers:
                until(lambda: keepers.kills >= KILLS, "it was killed often", timeout_s=120)
                keepers.spare()
                until(lambda: _report(cluster, node).get("phase") in {"Accepted", "Failed"}, "it ends", timeout_s=120)
        assert _report(cluster, node) == {"version": "1.1.0", "phase": "Accepted", "message": ""}
        assert versions(world) == {"1.1.0"}
        assert (booted(world)[1], counter(world)) == (False, 2)
