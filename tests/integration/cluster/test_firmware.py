"""Rollouts by the real command over a real API server; nodes, and what the verifier says of them, are simulated."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from lightkube import Client, KubeConfig
from lightkube.types import PatchType

from edgeroot.edge.kinds import EdgeNode
from peers.kubernetes import Cluster, KubectlError
from tests.support.cluster_accounts import account_kubeconfig, deploy, killed_edge, running_edge

TIMEOUT_S: Final = 60.0


class Fleet:
    """Nodes that take what they are told, and are found with it; by ``bad_version`` they are contraindicated."""

    def __init__(self, cluster: Cluster, folder: Path, count: int) -> None:
        self.cluster = cluster
        self.site = f"site-{uuid.uuid4().hex[:8]}"
        self.bad_version = ""
        self.running = {f"{self.site}-{number}": "1.0.0" for number in range(count)}
        self._folder = folder
        self._stop = threading.Event()
        controller = account_kubeconfig(cluster, "edgeroot-controller", folder / "controller.kubeconfig")
        self._client = Client(KubeConfig.from_file(controller).get())
        for name in self.running:
            kind = {"apiVersion": "edgeroot.dev/v1alpha1", "kind": "EdgeNode"}
            metadata = {"name": name, "labels": {"site": self.site}}
            cluster.create({**kind, "metadata": metadata, "spec": {"device": name}})
            self._find(name, "Affirmed")

    def _find(self, name: str, state: str) -> None:
        """What the controller says of a node."""
        firmware = [{"component": "manager", "version": self.running[name]}]
        appraisal = {"evaluatedAt": datetime.now(UTC).isoformat(), "firmware": firmware}
        patch = {"status": {"state": state, "appraisal": appraisal}}
        self._client.patch(EdgeNode.Status, name, patch, patch_type=PatchType.MERGE)

    def _live(self) -> None:
        while not self._stop.wait(0.2):
            for found in self._client.list(EdgeNode, labels={"site": self.site}):
                name = found["metadata"]["name"]
                wanted = found["spec"].get("firmware", {}).get("version")
                if wanted and wanted != self.running[name]:
                    is_bad = wanted == self.bad_version
                    time.sleep(1.0 if is_bad else 0.0)  # so that the appraisal is of a later second
                    self.running[name] = wanted
                    self._find(name, "Contraindicated" if is_bad else "Affirmed")

    @contextmanager
    def living(self) -> Iterator[None]:
        thread = threading.Thread(target=self._live)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self._client.close()

    def wish(self, version: str, **spec: object) -> None:
        spec = {"waves": ["1", "100%"], "healthySeconds": 1, **spec}
        self.cluster.apply(
            {
                "apiVersion": "edgeroot.dev/v1alpha1",
                "kind": "EdgeFirmware",
                "metadata": {"name": self.site},
                "spec": {"version": version, "nodeSelector": {"site": self.site}, **spec},
            }
        )

    def until(self, phase: str, version: str) -> dict[str, Any]:
        """The status, as soon as the rollout of this version has come to this phase."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            status: dict[str, Any] = self.cluster.get("edgefirmware", self.site).get("status", {})
            if (status.get("phase"), status.get("version")) == (phase, version):
                return status
            assert time.monotonic() < deadline_s, f"{status}\n{(self._folder / 'log').read_text()}"
            time.sleep(0.2)

    def phases(self) -> list[str]:
        """The reasons of its events, in order."""
        found = self.cluster.get("events", "-n", "default")["items"]
        ours = [one for one in found if one["involvedObject"]["name"] == self.site]
        return [one["reason"] for one in sorted(ours, key=lambda one: one["firstTimestamp"])]


@pytest.fixture
def fleet(cluster: Cluster, tmp_path: Path) -> Iterator[Fleet]:
    deploy(cluster, "crds/edgenode.yaml", "crds/edgefirmware.yaml", "controller-rbac.yaml", "firmware-rbac.yaml")
    made = Fleet(cluster, tmp_path, 6)
    kubeconfig = account_kubeconfig(cluster, "edgeroot-firmware", tmp_path / "firmware.kubeconfig")
    with made.living(), running_edge(kubeconfig, tmp_path, "firmware", "roll-out"):
        yield made


def test_a_release_goes_out_in_waves_and_a_bad_one_comes_back(fleet: Fleet) -> None:
    fleet.wish("1.1.0")
    status = fleet.until("Completed", "1.1.0")
    assert status["nodes"] == {"total": 6, "updated": 6, "updating": 0, "failed": 0}
    assert set(fleet.running.values()) == {"1.1.0"}
    assert "Completed" in fleet.phases()
    fleet.bad_version = "1.2.0"
    fleet.wish("1.2.0")
    status = fleet.until("RolledBack", "1.2.0")
    assert status["message"].endswith("nodes go back to what they ran before")
    # The first wave is one node: no other one has ever had it.
    assert set(fleet.running.values()) == {"1.1.0"}
    assert "RolledBack" in fleet.phases()


def test_a_controller_that_is_killed_again_and_again_rolls_out_all_the_same(cluster: Cluster, tmp_path: Path) -> None:
    deploy(cluster, "crds/edgenode.yaml", "crds/edgefirmware.yaml", "controller-rbac.yaml", "firmware-rbac.yaml")
    fleet = Fleet(cluster, tmp_path, 6)
    kubeconfig = account_kubeconfig(cluster, "edgeroot-firmware", tmp_path / "firmware.kubeconfig")
    lives_s = (1.5, 5.0)  # the program is there after a second
    with fleet.living(), killed_edge(kubeconfig, tmp_path, "firmware", "roll-out", lives_s=lives_s) as controllers:
        fleet.wish("1.1.0")
        status = fleet.until("Completed", "1.1.0")
    assert status["nodes"] == {"total": 6, "updated": 6, "updating": 0, "failed": 0}
    assert set(fleet.running.values()) == {"1.1.0"}
    assert controllers.kills > 2


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"version": "latest"}, "spec.version"),
        ({"version": "1.1.0", "waves": ["0%"]}, "spec.waves"),
        ({"version": "1.1.0", "nodeTimeoutSeconds": 1}, "spec.nodeTimeoutSeconds"),
    ],
)
def test_the_schema_refuses_what_could_never_be(cluster: Cluster, spec: dict[str, Any], words: str) -> None:
    deploy(cluster, "crds/edgefirmware.yaml")
    made = {
        "apiVersion": "edgeroot.dev/v1alpha1",
        "kind": "EdgeFirmware",
        "metadata": {"name": "bad"},
        "spec": spec,
    }
    with pytest.raises(KubectlError, match=words):
        cluster.create(made)
