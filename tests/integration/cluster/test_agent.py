"""The node's agent in a genuine cluster, with the rights of its account: it tells of its own node and of no other."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import pytest

from edgeroot._version import __version__
from edgeroot.edge.agent.inventory import Inventory
from edgeroot.edge.agent.report import ReportError, apply_status
from peers.kubernetes import Cluster, KubectlError
from tests.support.cluster_accounts import DEPLOY, SYSTEM, account_kubeconfig, deploy, running_edge
from tests.support.service import Service, running_service

POLICIES: Final = "policies.yaml"
MINE: Final = "edgeroot.dev/agent-test"
WAIT_S: Final = 30.0


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service() as one:
        yield one


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Iterator[Cluster]:
    deploy(cluster, "crds/edgenode.yaml", "agent-rbac.yaml", POLICIES)
    yield cluster
    cluster.kubectl("delete", "-f", str(DEPLOY / POLICIES))
    cluster.kubectl("delete", "pods", "-n", SYSTEM, "-l", MINE, "--force", "--grace-period=0")
    cluster.kubectl("delete", "nodes,edgenodes", "-l", MINE)


def new_node(cluster: Cluster) -> str:
    """A Node and its EdgeNode."""
    name = f"node-{uuid.uuid4().hex[:8]}"
    metadata = {"name": name, "labels": {MINE: ""}}
    cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
    edge = {"apiVersion": "edgeroot.dev/v1alpha1", "kind": "EdgeNode", "metadata": metadata}
    cluster.create({**edge, "spec": {"device": uuid.uuid4().hex}})
    return name


def on_node(cluster: Cluster, node: str, folder: Path) -> Path:
    """The kubeconfig of an agent's pod there: its token is bound to the pod, and so to the node."""
    spec = {
        "serviceAccountName": "edgeroot-agent",
        "nodeName": node,
        "containers": [{"name": "agent", "image": "none"}],
    }
    metadata = {"name": f"agent-{node}", "namespace": SYSTEM, "labels": {MINE: ""}}
    uid = cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})["metadata"]["uid"]
    bound = ("--bound-object-kind=Pod", f"--bound-object-name=agent-{node}", f"--bound-object-uid={uid}")
    return account_kubeconfig(cluster, "edgeroot-agent", folder / "kubeconfig", *bound)


def running_agent(kubeconfig: Path, folder: Path, service: Service, node: str) -> AbstractContextManager[None]:
    where = ("--endpoint", service.endpoint, "--verifier", "http://127.0.0.1:9", "--node-name", node)
    return running_edge(kubeconfig, folder, "agent", *where)


def inventory(cluster: Cluster, node: str) -> dict[str, Any]:
    status: dict[str, Any] = cluster.get("edgenode", node).get("status", {})
    found: dict[str, Any] = status.get("inventory", {})
    return found


def wait_for_log(folder: Path, words: str) -> str:
    deadline_s = time.monotonic() + WAIT_S
    while words not in (log := (folder / "log").read_text()):
        assert time.monotonic() < deadline_s, log
        time.sleep(0.1)
    return log


def test_it_tells_of_its_own_node(prepared: Cluster, service: Service, tmp_path: Path) -> None:
    node = new_node(prepared)
    with running_agent(on_node(prepared, node, tmp_path), tmp_path, service, node):
        wait_for_log(tmp_path, "reported: ")
    found = inventory(prepared, node)
    assert found.pop("reportedAt").endswith("Z")
    assert found == {"providers": ["mbed-crypto-provider"], "agentVersion": __version__}
    columns = prepared.kubectl("get", "edgenode", node, "-o", "wide")
    assert "mbed-crypto-provider" in columns


def inventory_of(node: str) -> dict[str, Any]:
    return Inventory(providers=("none",), agent_version="0").applied(node, 0)


def test_it_cannot_tell_of_another_node_nor_how_its_own_stands(
    prepared: Cluster, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = new_node(prepared), new_node(prepared)
    kubeconfig = on_node(prepared, mine, tmp_path)
    with running_agent(kubeconfig, tmp_path, service, other):
        log = wait_for_log(tmp_path, "the inventory is not reported")
    assert "an agent tells of its own node, and nobody else does" in log
    assert inventory(prepared, other) == {}
    affirmed = {**inventory_of(mine), "status": {"state": "Affirmed"}}
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    with pytest.raises(ReportError, match="controller alone"):
        asyncio.run(apply_status(affirmed))
    asyncio.run(apply_status(inventory_of(mine)))
    assert inventory(prepared, mine)["agentVersion"] == "0"
    with pytest.raises(KubectlError, match="forbidden"):
        prepared.kubectl("patch", "edgenode", mine, "--type=merge", "-p", "{}", as_whom=kubeconfig)


def test_a_node_without_an_edge_node_is_told_of_later(prepared: Cluster, service: Service, tmp_path: Path) -> None:
    node = new_node(prepared)
    kubeconfig = on_node(prepared, node, tmp_path)
    prepared.kubectl("delete", "edgenode", node)
    with running_agent(kubeconfig, tmp_path, service, node):
        wait_for_log(tmp_path, f"there is no EdgeNode {node} yet")
