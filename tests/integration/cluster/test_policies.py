"""Who may say what about a node, on a genuine API server: nobody but the controller says that it is attested."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from lightkube import ApiError
from lightkube.resources.core_v1 import Node
from lightkube.types import PatchType

from edgeroot.edge.controller.names import ATTESTED_LABEL, CONTRAINDICATED_TAINT, UNATTESTED_TAINT
from edgeroot.edge.kinds import EdgeNode
from peers.kubernetes import Cluster
from tests.support.cluster_accounts import account_kubeconfig
from tests.support.edge_nodes import Nodes, deploy_edge

STATUS: Final[dict[str, Any]] = {
    "state": "Affirmed",
    "appraisal": {"device": "01ab", "status": "affirming"},
    "conditions": [
        {
            "type": "Attested",
            "status": "True",
            "reason": "Affirmed",
            "message": "",
            "lastTransitionTime": "2026-11-27T12:00:00Z",
        }
    ],
}

INVENTORY: Final[dict[str, Any]] = {"inventory": {"providers": ["TrustedService"], "agentVersion": "1.0"}}


@dataclass(frozen=True, slots=True)
class Who:
    """One node of the edge, unattested, and those who might say something about it."""

    name: str
    admin: Nodes
    kubelet: Nodes
    controller: Nodes
    token: Callable[..., Nodes]
    """Somebody with a token of one of our accounts."""


@pytest.fixture(scope="module")
def deployed(cluster: Cluster) -> Cluster:
    deploy_edge(cluster)
    return cluster


@pytest.fixture
def who(deployed: Cluster, tmp_path: Path) -> Iterator[Who]:
    name = f"edge-{uuid.uuid4().hex[:10]}"
    with ExitStack() as stack:

        def token(account: str, *bound: str) -> Nodes:
            path = account_kubeconfig(deployed, account, tmp_path / uuid.uuid4().hex, *bound)
            return stack.enter_context(Nodes.of(deployed, as_whom=path))

        admin = stack.enter_context(Nodes.of(deployed))
        node = deployed.identify(f"system:node:{name}", groups=["system:nodes"])
        kubelet = stack.enter_context(Nodes.of(deployed, as_whom=node))
        kubelet.node(name, tainted=True, labels={"edgeroot.dev/edge": "true"})
        admin.edge(name, name)
        yield Who(name, admin, kubelet, token("edgeroot-controller"), token)
        admin.delete(name)


@contextmanager
def refused(words: str) -> Iterator[None]:
    with pytest.raises(ApiError, match=words):
        yield


def label(as_whom: Nodes, name: str, value: str | None, key: str = ATTESTED_LABEL) -> None:
    as_whom.client.patch(Node, name, {"metadata": {"labels": {key: value}}}, patch_type=PatchType.MERGE)


def taint(as_whom: Nodes, name: str, *keys: str) -> None:
    taints = [{"key": key, "effect": "NoSchedule"} for key in keys]
    as_whom.client.patch(Node, name, {"spec": {"taints": taints}}, patch_type=PatchType.MERGE)


def write_status(as_whom: Nodes, name: str, status: dict[str, Any]) -> None:
    as_whom.client.patch(EdgeNode.Status, name, {"status": status}, patch_type=PatchType.MERGE)


class TestTheKubelet:
    def test_cannot_label_itself(self, who: Who) -> None:
        with refused("is not allowed to modify labels|by edgeroot's controller alone"):
            label(who.kubelet, who.name, "true")

        assert who.admin.label(who.name) is None

    def test_cannot_label_itself_through_its_status(self, who: Who) -> None:
        with refused("is not allowed to modify labels|by edgeroot's controller alone"):
            who.kubelet.client.patch(
                Node.Status,
                who.name,
                {"metadata": {"labels": {ATTESTED_LABEL: "true"}}},
                patch_type=PatchType.MERGE,
            )

    def test_cannot_untaint_itself(self, who: Who) -> None:
        with refused("is not allowed to modify taints|by its controller alone"):
            taint(who.kubelet, who.name)

        assert who.admin.taints(who.name) == {"unattested:NoSchedule"}

    def test_cannot_come_again_without_the_taint(self, who: Who) -> None:
        with refused("cannot delete|forbidden"):
            who.kubelet.client.delete(Node, who.name)
        who.admin.client.delete(Node, who.name)

        with refused("registerWithTaints"):
            who.kubelet.node(who.name, labels={"edgeroot.dev/edge": "true"})
        with refused("is not allowed to set|by edgeroot's controller alone"):
            who.kubelet.node(who.name, tainted=True, labels={ATTESTED_LABEL: "true"})
        who.kubelet.node(who.name, tainted=True, labels={"edgeroot.dev/edge": "true"})

    def test_cannot_say_that_it_is_no_edge_node_any_more(self, who: Who) -> None:
        with refused("does not cease to be one"):
            label(who.kubelet, who.name, None, "edgeroot.dev/edge")

    def test_reports_its_status_and_its_own_labels_as_ever(self, who: Who) -> None:
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
        who.kubelet.client.patch(
            Node.Status, who.name, {"status": {"conditions": [condition]}}, patch_type=PatchType.MERGE
        )
        label(who.kubelet, who.name, "north", "example.org/site")

    def test_knows_nothing_of_edge_nodes(self, who: Who) -> None:
        with refused("forbidden"):
            who.kubelet.client.get(EdgeNode, who.name)
        with refused("forbidden"):
            write_status(who.kubelet, who.name, STATUS)


class TestAdministrators:
    def test_say_which_device_a_node_is_but_not_that_it_is_attested(self, who: Who) -> None:
        who.admin.client.patch(EdgeNode, who.name, {"spec": {"device": "02cd"}}, patch_type=PatchType.MERGE)

        with refused("by edgeroot's controller alone"):
            label(who.admin, who.name, "true")
        with refused("by edgeroot's controller alone"):
            write_status(who.admin, who.name, STATUS)
        with refused("by its controller alone"):
            taint(who.admin, who.name)
        with refused("by its controller alone"):
            taint(who.admin, who.name, UNATTESTED_TAINT, CONTRAINDICATED_TAINT)

    def test_cordon_taint_and_label_as_ever(self, who: Who, deployed: Cluster) -> None:
        deployed.kubectl("cordon", who.name)
        deployed.kubectl("taint", "node", who.name, "dedicated=cameras:NoSchedule")
        label(who.admin, who.name, "north", "example.org/site")

        assert who.admin.taints(who.name) == {"unattested:NoSchedule"}

    def test_of_namespaces_only_do_not_even_say_the_device(self, who: Who, deployed: Cluster) -> None:
        # Somebody whom RBAC would let, but who is none of those who may.
        user = f"somebody-{uuid.uuid4().hex[:6]}"
        deployed.kubectl("create", "clusterrolebinding", user, "--clusterrole=cluster-admin", f"--user={user}")
        with Nodes.of(deployed, as_whom=deployed.identify(user)) as somebody:
            with refused("said by administrators"):
                somebody.client.patch(EdgeNode, who.name, {"spec": {"device": "02cd"}}, patch_type=PatchType.MERGE)
            with refused("said by administrators"):
                somebody.client.delete(EdgeNode, who.name)
            with refused("said by administrators"):
                somebody.edge(f"{who.name}-2", "02cd")
        deployed.kubectl("delete", "clusterrolebinding", user)


class TestTheController:
    def test_labels_taints_and_tells(self, who: Who) -> None:
        label(who.controller, who.name, "true")
        taint(who.controller, who.name)
        taint(who.controller, who.name, UNATTESTED_TAINT, CONTRAINDICATED_TAINT)
        write_status(who.controller, who.name, STATUS)

        assert who.admin.state(who.name) == "Affirmed"

    def test_changes_nothing_else_of_a_node(self, who: Who, deployed: Cluster) -> None:
        deployed.kubectl("taint", "node", who.name, "dedicated=cameras:NoSchedule")

        with refused("taints of others"):
            taint(who.controller, who.name, UNATTESTED_TAINT)
        with refused("labels of others"):
            label(who.controller, who.name, "false", "edgeroot.dev/edge")
        with refused("labels of others"):
            label(who.controller, who.name, "north", "example.org/site")
        with refused("and nothing else"):
            who.controller.client.patch(Node, who.name, {"spec": {"unschedulable": True}}, patch_type=PatchType.MERGE)
        with refused("and nothing else"):
            who.controller.client.patch(
                Node, who.name, {"metadata": {"annotations": {"a": "b"}}}, patch_type=PatchType.MERGE
            )

    def test_has_no_rights_beyond_its_work(self, who: Who) -> None:
        for attempt in (
            lambda: who.controller.client.delete(Node, who.name),
            lambda: who.controller.client.delete(EdgeNode, who.name),
            lambda: who.controller.edge("another", "02cd"),
            lambda: who.controller.node("another"),
        ):
            with refused("forbidden"):
                attempt()


class TestAgents:
    def of(self, who: Who, deployed: Cluster, node: str) -> Nodes:
        """An agent with the token of a pod that runs on this node."""
        pod = f"agent-{uuid.uuid4().hex[:8]}"
        deployed.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod, "namespace": "edgeroot-system"},
                "spec": {
                    "nodeName": node,
                    "serviceAccountName": "edgeroot-agent",
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": "agent", "image": "none"}],
                },
            }
        )
        return who.token("edgeroot-agent", "--bound-object-kind=Pod", f"--bound-object-name={pod}")

    def test_tell_of_their_own_node(self, who: Who, deployed: Cluster) -> None:
        agent = self.of(who, deployed, who.name)
        write_status(who.controller, who.name, STATUS)

        write_status(agent, who.name, INVENTORY)

        assert who.admin.status(who.name)["inventory"]["providers"] == ["TrustedService"]
        assert who.admin.state(who.name) == "Affirmed"

    def test_do_not_judge_it(self, who: Who, deployed: Cluster) -> None:
        agent = self.of(who, deployed, who.name)

        for part in ("state", "appraisal", "conditions"):
            with refused("by edgeroot's controller alone"):
                write_status(agent, who.name, {part: STATUS[part]})
        with refused("by edgeroot's controller alone"):
            write_status(agent, who.name, {**STATUS, **INVENTORY})
        with refused("by edgeroot's controller alone"):
            write_status(agent, who.name, {"nodeUID": "another"})
        assert who.admin.state(who.name) == ""

    def test_do_not_take_the_judgement_away(self, who: Who, deployed: Cluster) -> None:
        agent = self.of(who, deployed, who.name)
        write_status(who.controller, who.name, {**STATUS, "state": "Contraindicated"})

        with refused("by edgeroot's controller alone"):
            write_status(agent, who.name, {"state": None, "conditions": None, "appraisal": None})

    def test_tell_of_no_other_node(self, who: Who, deployed: Cluster) -> None:
        agent = self.of(who, deployed, "another-node")

        with refused("tells of its own node"):
            write_status(agent, who.name, INVENTORY)

    def test_tell_nothing_without_a_pod(self, who: Who) -> None:
        with refused("tells of its own node"):
            write_status(who.token("edgeroot-agent"), who.name, INVENTORY)

    def test_have_no_other_rights(self, who: Who, deployed: Cluster) -> None:
        agent = self.of(who, deployed, who.name)

        for attempt in (
            lambda: agent.client.get(Node, who.name),
            lambda: label(agent, who.name, "true"),
            lambda: agent.client.patch(EdgeNode, who.name, {"spec": {"device": "02cd"}}, patch_type=PatchType.MERGE),
            lambda: agent.client.delete(EdgeNode, who.name),
        ):
            with refused("forbidden"):
                attempt()


def test_a_node_of_others_is_nobodys_business(deployed: Cluster) -> None:
    name = f"plain-{uuid.uuid4().hex[:8]}"
    identity = deployed.identify(f"system:node:{name}", groups=["system:nodes"])
    with Nodes.of(deployed) as admin, Nodes.of(deployed, as_whom=identity) as kubelet:
        kubelet.node(name)
        taint(admin, name, "dedicated")
        taint(admin, name)
        admin.delete(name)


@pytest.mark.parametrize("device", ["", "a b", "\n", "x" * 257])
def test_an_edge_node_is_of_one_well_formed_device(deployed: Cluster, device: str) -> None:
    with Nodes.of(deployed) as admin, refused(r"spec\.device"):
        admin.edge("misnamed", device)
