"""What is done to a cluster in tests of faults has the effect that it is done for, and nothing of it is left after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peers.kubernetes import Cluster, KubectlError
from tests.support.cluster import restricted_namespace, restricted_pod, running_cluster
from tests.support.requirements import require_root


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


def _note(cluster: Cluster, name: str) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}})


def _noted(cluster: Cluster) -> set[str]:
    items = cluster.get("configmaps", "-n", "default")["items"]
    return {item["metadata"]["name"] for item in items} - {"kube-root-ca.crt"}


def test_killed_api_server_does_not_answer_and_forgets_nothing(own_cluster: Cluster) -> None:
    _note(own_cluster, "kept")

    own_cluster.api_server.kill()
    with pytest.raises(KubectlError, match="refused"):
        _noted(own_cluster)
    own_cluster.api_server.start()

    assert "kept" in _noted(own_cluster)


def test_api_server_that_hangs_answers_when_it_goes_on(own_cluster: Cluster) -> None:
    own_cluster.api_server.signal(signal.SIGSTOP)
    with pytest.raises(KubectlError):
        own_cluster.kubectl("get", "--raw", "/readyz", "--request-timeout=1s")
    own_cluster.api_server.signal(signal.SIGCONT)

    assert own_cluster.kubectl("get", "--raw", "/readyz") == "ok"


def test_restored_cluster_knows_what_was_saved_and_no_more(own_cluster: Cluster, tmp_path: Path) -> None:
    _note(own_cluster, "before")
    own_cluster.save(tmp_path / "snapshot")
    _note(own_cluster, "after")

    own_cluster.restore(tmp_path / "snapshot")

    assert "before" in _noted(own_cluster)
    assert "after" not in _noted(own_cluster)


def test_cluster_with_a_node_leaves_nothing_behind() -> None:
    require_root("run containers")
    before = _traces()

    with running_cluster(node=True) as running:
        namespace = restricted_namespace(running)
        running.create(restricted_pod("runs-on", namespace, ["sleep", "infinity"]))
        running.wait_for("pod/runs-on", "condition=Ready", "-n", namespace)
        made = _traces() - before
        folder = running.folder
        pids = [component.pid for component in running.components()]

    assert any(trace.startswith("device edgeroot") for trace in made)
    assert any(trace.startswith("control group ") for trace in made)
    assert made & _traces() == set()
    assert not folder.exists()
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_machine_ends_with_who_made_it(tmp_path: Path) -> None:
    require_root("make name spaces")
    script = (
        "import sys, time; from pathlib import Path; from peers.kubernetes.machine import NamespacedMachine;"
        "m = NamespacedMachine(Path(sys.argv[1]), Path(sys.argv[1]));"
        "print(m.command(['true'])[2], flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        first = Path("/proc", maker.stdout.readline().strip())
        assert first.exists()
        maker.kill()

    deadline_s = time.monotonic() + 10
    while first.exists():
        assert time.monotonic() < deadline_s, "the first process of the machine goes on"
        time.sleep(0.05)


def _traces() -> set[str]:
    """What a node makes on a machine: network devices, mounts, control groups, and the folders of its programs."""
    places = [Path(place) for place in ("/var/lib/kubelet", "/var/lib/cni", "/run/containerd", "/var/log/pods")]
    return {
        *(f"device {name}" for name in os.listdir("/sys/class/net")),
        *(f"route {line}" for line in Path("/proc/net/route").read_text().splitlines()),
        *(f"mount {line}" for line in Path("/proc/self/mounts").read_text().splitlines()),
        *(f"control group {path}" for path in Path("/sys/fs/cgroup").rglob("k8s.io/*") if path.is_dir()),
        *(f"folder {place}" for place in places if place.exists()),
    }
