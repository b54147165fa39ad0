"""The chart on a genuine node: genuine helm installs it, its DaemonSet gives out slots, and a restricted pod signs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peers import PeersUnavailableError
from peers.helm import Helm
from peers.kubernetes import NODE, Cluster
from scripts.build_image import build_image
from tests.support.cluster import (
    AUDIENCE,
    output_of_pod,
    restricted_namespace,
    restricted_pod,
    running_cluster,
    sign_command,
    signer_of,
)
from tests.support.requirements import require_root, unavailable

# The image is built first, from packages that may have to be fetched.
pytestmark = pytest.mark.timeout(400)

CHART = Path(__file__).parents[3] / "deploy/helm/edgeroot"
REPOSITORY = "edgeroot.dev/edgeroot"
TAG = "chart"
NAMESPACE = "edgeroot-system"
RESOURCE = "edgeroot.dev/parsec"
SLOTS = 4
# The node's part alone, with the secure world; the verifier is nobody, for nothing here is to be affirmed.
VALUES = {
    "image": {"repository": REPOSITORY, "tag": TAG},
    "attestation": {"verifierUrl": "https://verifier.invalid:8443"},
    # The one node is an edge node, where the controller may not run; what cleans up has to run somewhere.
    "controller": {"enabled": False, "affinity": {"nodeAffinity": None}},
    "node": {"slots": SLOTS, "agent": {"enabled": False}},
}
_WAIT_S = 120.0


class Installed:
    """A cluster of one's own with the chart in it."""

    def __init__(self, cluster: Cluster, helm: Helm) -> None:
        self.cluster = cluster
        self._helm = helm

    def helm(self, *arguments: str) -> None:
        environment = {"KUBECONFIG": str(self.cluster.kubeconfig)}
        done = self._helm.run(*arguments, "-n", NAMESPACE, env=environment, timeout_s=2 * _WAIT_S)
        assert done.returncode == 0, done.stderr

    def until_allocatable(self, slots: int) -> None:
        deadline_s = time.monotonic() + _WAIT_S
        while (found := self._allocatable()) != slots:
            assert time.monotonic() < deadline_s, f"{found} slots, not {slots}:\n{self.state()}"
            time.sleep(0.5)

    def state(self) -> str:
        """What can be told of the DaemonSet's pods, for who has to find out why they do not run."""
        logs = self.cluster.kubectl("logs", "daemonset/edgeroot-node", "-n", NAMESPACE, "--all-containers", "--tail=8")
        return self.cluster.kubectl("get", "pods", "-n", NAMESPACE) + logs

    def _allocatable(self) -> int:
        return int(self.cluster.get("node", NODE)["status"]["allocatable"].get(RESOURCE, "0"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    require_root("run containers")
    try:
        helm = Helm.ready()
    except PeersUnavailableError as error:
        unavailable(str(error))
    folder = tmp_path_factory.mktemp("chart")
    values = folder / "values.json"
    values.write_text(json.dumps(VALUES))
    archive = build_image(folder / "edgeroot.tar", reference=f"{REPOSITORY}:{TAG}")
    with running_cluster(node=True) as cluster:
        assert cluster.node is not None
        cluster.node.add_image(archive)
        cluster.kubectl("label", "node", NODE, "edgeroot.dev/edge=true")
        installed = Installed(cluster, helm)
        installed.helm("install", "edgeroot", str(CHART), "--create-namespace", "-f", str(values))
        installed.until_allocatable(SLOTS)
        yield installed


def _pod(namespace: str, name: str, command: str) -> dict[str, Any]:
    return restricted_pod(
        name,
        namespace,
        ["sh", "-c", command],
        image=f"{REPOSITORY}:{TAG}",
        limits={RESOURCE: "1"},
        token_audience=AUDIENCE,
    )


def test_restricted_pod_signs_with_a_key_of_the_secure_world(installed: Installed) -> None:
    namespace = restricted_namespace(installed.cluster)

    providers = output_of_pod(installed.cluster, _pod(namespace, "asks", "edgeroot list-providers"))
    signed = output_of_pod(installed.cluster, _pod(namespace, "signs", sign_command("a receipt")))

    assert "Trusted Service" in providers
    signer_of(signed, "a receipt")


def test_metrics_of_service_and_plugin_are_seen_from_another_pod(installed: Installed) -> None:
    selector = "app.kubernetes.io/component=node"
    (node_part,) = installed.cluster.get("pods", "-n", NAMESPACE, "-l", selector)["items"]
    address = node_part["status"]["podIP"]
    ask = "import sys, urllib.request as u; print(*(u.urlopen(one, timeout=5).read().decode() for one in sys.argv[1:]))"
    pages = " ".join(f"http://{address}:{port}/metrics" for port in (9110, 9112))

    told = output_of_pod(
        installed.cluster, _pod(restricted_namespace(installed.cluster), "scrapes", f"python3 -c '{ask}' {pages}")
    )

    assert f"edgeroot_slots_healthy {SLOTS}.0" in told
    assert 'edgeroot_requests_total{operation="Ping",status="Success"}' in told


def test_keys_outlive_the_nodes_pod(installed: Installed) -> None:
    namespace = restricted_namespace(installed.cluster)
    output_of_pod(installed.cluster, _pod(namespace, "before", "edgeroot create-ecc-key -k kept"))

    installed.cluster.kubectl("rollout", "restart", "daemonset/edgeroot-node", "-n", NAMESPACE)
    installed.cluster.kubectl("rollout", "status", "daemonset/edgeroot-node", "-n", NAMESPACE, f"--timeout={_WAIT_S}s")
    installed.until_allocatable(SLOTS)

    assert "kept" in output_of_pod(installed.cluster, _pod(namespace, "after", "edgeroot list-keys"))


def test_who_uninstalls_keeps_the_keys_and_nothing_that_runs(installed: Installed) -> None:
    state = installed.cluster.folder / "lib/edgeroot"

    installed.helm("uninstall", "edgeroot", "--wait")

    # The kubelet remembers the plugin for a while; without it there is nothing to give.
    installed.until_allocatable(0)
    assert installed.cluster.get("pods", "-n", NAMESPACE)["items"] == []
    assert list(state.glob("service/*.sqlite3*"))
