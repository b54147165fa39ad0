"""The controller between a genuine API server and a genuine verifier, whose devices are played with real keys."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from peers.kubernetes import Cluster
from tests.support.cluster_accounts import account_kubeconfig
from tests.support.edge_nodes import Nodes, controller, deploy_edge, until
from tests.support.fleet import GATEWAY, FleetDevice, component, firmware, made_fleet, references

OUT = {"unattested:NoSchedule", "contraindicated:NoExecute"}


@dataclass(slots=True)
class Verifier:
    folder: Path
    url: str
    token: str

    def run(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "edgeroot", "verifier", *arguments]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)


@contextmanager
def serving(folder: Path, token: str) -> Iterator[Verifier]:
    """``edgeroot verifier serve`` over the store ``fleet.db`` in the folder."""
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "sign.pem").write_bytes(pem)
    (folder / "look").write_text(token)
    command = [sys.executable, "-m", "edgeroot", "verifier", "serve", "--store", "fleet.db", "--port", "0"]
    command += ["--sign", "sign.pem", "--viewer-token-file", "look"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield Verifier(folder, server.stdout.readline().split()[-1], token)
        finally:
            server.terminate()


def test_nodes_stand_as_the_verifier_says(cluster: Cluster, tmp_path: Path) -> None:
    deploy_edge(cluster)
    kubeconfig = account_kubeconfig(cluster, "edgeroot-controller", tmp_path / "kubeconfig")
    good, bad = FleetDevice(), FleetDevice()
    parts = firmware("1.0")
    tampered = [*parts[:-1], replace(parts[-1], measurement=component("evil").measurement)]
    name_of = {device.instance_id: f"real-{device.instance_id.hex()[:12]}" for device in (good, bad)}
    with (
        made_fleet(tmp_path / "fleet.db", int(time.time())) as fleet,
        serving(tmp_path, os.urandom(32).hex()) as verifier,
        Nodes.of(cluster) as nodes,
        controller(kubeconfig, tmp_path / "controller", verifier),
    ):
        fleet.endorse(good, bad, known={GATEWAY: references(parts)})
        for device, name in name_of.items():
            nodes.node(name, tainted=True)
            nodes.edge(name, device.hex())
            nodes.until_state(name, "Unattested")

        fleet.attest(good, parts, at_s=int(time.time()))
        fleet.attest(bad, parts, at_s=int(time.time()))
        for name in name_of.values():
            nodes.until_state(name, "Affirmed")
            assert nodes.label(name) == "true"
            assert nodes.taints(name) == set()
        status = nodes.status(name_of[good.instance_id])
        assert status["appraisal"]["lifecycle"] == "secured"
        assert {"component": "manager", "version": "1.0"} in status["appraisal"]["firmware"]

        fleet.attest(bad, tampered, at_s=int(time.time()))
        until(lambda: nodes.taints(name_of[bad.instance_id]) == OUT, "it is tainted", timeout_s=5)
        nodes.until_state(name_of[bad.instance_id], "Contraindicated")
        assert "firmware-update" in nodes.message(name_of[bad.instance_id])

        verifier.run("revoke", "--store", "fleet.db", "device", good.instance_id.hex(), "--reason", "it was stolen")
        until(lambda: nodes.taints(name_of[good.instance_id]) == OUT, "it is tainted", timeout_s=5)
        nodes.until_state(name_of[good.instance_id], "Contraindicated")
        assert "stolen" in nodes.message(name_of[good.instance_id])
