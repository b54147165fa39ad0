"""The controller against a genuine API server: who gets label and taints, how fast, and by how many writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lightkube.resources.core_v1 import Node, Pod
from lightkube.types import PatchType

from edgeroot.edge.controller.names import ATTESTED_LABEL
from edgeroot.edge.kinds import EdgeNode
from peers.kubernetes import Cluster
from tests.support.cluster import new_namespace
from tests.support.cluster_accounts import account_kubeconfig
from tests.support.edge_nodes import Nodes, RunningController, controller, deploy_edge, until
from tests.support.verifier_feed import FeedDouble, entry, verifier_feed

UNATTESTED = {"unattested:NoSchedule"}
OUT = {"unattested:NoSchedule", "contraindicated:NoExecute"}


@dataclass(frozen=True, slots=True)
class World:
    cluster: Cluster
    nodes: Nodes
    feed: FeedDouble
    controller: RunningController
    kubeconfig: Path

    def affirmed(self) -> str:
        """A node that is."""
        name = self.nodes.pair()
        self.feed.say(entry(name))
        self.nodes.until_state(name, "Affirmed")
        return name


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("controller")
    deploy_edge(cluster)
    kubeconfig = account_kubeconfig(cluster, "edgeroot-controller", folder / "kubeconfig")
    with (
        Nodes.of(cluster) as nodes,
        verifier_feed() as feed,
        controller(kubeconfig, folder, feed, "--grace", "0.05", "--recovery", "0") as running,
    ):
        yield World(cluster, nodes, feed, running, kubeconfig)


def test_a_node_is_tainted_until_it_is_affirmed_and_everything_is_told(world: World) -> None:
    name = world.nodes.pair()
    until(lambda: world.nodes.taints(name) == UNATTESTED, "it is tainted")
    assert world.nodes.label(name) is None
    world.nodes.until_state(name, "Unattested")

    world.feed.say(entry(name))
    until(lambda: world.nodes.label(name) == "true", "it is labelled", timeout_s=5)

    assert world.nodes.taints(name) == set()
    world.nodes.until_state(name, "Affirmed")
    status = world.nodes.status(name)
    assert status["appraisal"]["firmware"][1] == {"component": "manager", "version": "2.1"}
    assert status["appraisal"]["lifecycle"] == "secured"
    assert [one["type"] for one in status["conditions"]] == ["Attested"]
    event = until(lambda: world.nodes.events(name), "an event tells of it")[0]
    assert (event.type, event.reason, event.note) == ("Normal", "Affirmed", "all is as it should be")
    columns = world.cluster.kubectl("get", "edgenode", name).splitlines()
    assert columns[0].split() == "NAME STATE SINCE APPRAISED LIFE CYCLE REASON".split()
    assert columns[1].split()[:2] == [name, "Affirmed"]
    assert columns[1].endswith("all is as it should be")


def test_a_node_that_is_affirmed_already_when_it_joins_gets_its_label(world: World) -> None:
    name = "joined-late"
    world.feed.say(entry(name))
    world.nodes.edge(name, name)
    world.nodes.until_state(name, "Affirmed")

    world.nodes.node(name, tainted=True, labels={"edgeroot.dev/edge": "true"})

    until(lambda: world.nodes.label(name) == "true" and not world.nodes.taints(name), "it is labelled", timeout_s=5)


def test_pods_leave_a_contraindicated_node_within_seconds(world: World) -> None:
    name = world.affirmed()
    namespace = new_namespace(world.cluster)
    world.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "workload", "namespace": namespace},
            "spec": {"nodeName": name, "containers": [{"name": "main", "image": "none"}]},
        }
    )

    begun_s = time.monotonic()
    world.feed.say(entry(name, "contraindicated", reason="the manager's measurement is unknown"))
    until(lambda: world.nodes.taints(name) == OUT, "it is tainted", timeout_s=5)
    assert world.nodes.label(name) is None

    def evicted() -> bool:
        pods = list(world.nodes.client.list(Pod, namespace=namespace))
        return not pods or pods[0].metadata is None or pods[0].metadata.deletionTimestamp is not None

    until(evicted, "the pod is evicted", timeout_s=5)
    assert time.monotonic() - begun_s < 5
    world.nodes.until_state(name, "Contraindicated")
    assert world.nodes.message(name) == "the manager's measurement is unknown"
    warned = until(lambda: [one for one in world.nodes.events(name) if one.type == "Warning"], "an event warns")
    assert warned[0].reason == "Contraindicated"

    # Good again: everything is taken back.
    time.sleep(1)  # appraisals are told apart by whole seconds
    world.feed.say(entry(name))
    until(lambda: world.nodes.label(name) == "true" and not world.nodes.taints(name), "it is affirmed again")


def test_a_result_expires(world: World) -> None:
    name = world.nodes.pair()
    world.feed.say(entry(name, lasts_s=3))
    world.nodes.until_state(name, "Affirmed")

    world.nodes.until_state(name, "Expired", timeout_s=6)

    assert world.nodes.taints(name) == UNATTESTED
    assert world.nodes.label(name) is None
    assert "none came after it" in world.nodes.message(name)


def test_a_change_takes_two_writes_and_a_mere_reaffirmation_one(world: World) -> None:
    name = world.nodes.pair()
    world.nodes.until_state(name, "Unattested")
    before = world.controller.writes()

    world.feed.say(entry(name))
    world.nodes.until_state(name, "Affirmed")
    until(lambda: world.controller.writes()["event"] > before["event"], "the event is written")
    changed = world.controller.writes()
    assert {kind: changed[kind] - before[kind] for kind in before} == {"node": 1, "status": 1, "event": 1}

    later_s = time.time() + 1
    world.feed.say(entry(name, evaluated_s=later_s))
    appraised = entry(name, evaluated_s=later_s)["evaluated_at"]
    until(lambda: world.nodes.status(name)["appraisal"]["evaluatedAt"] == appraised, "its status is written")
    # The same said again, and a kubelet's heartbeat, are no news.
    world.feed.say(entry(name, evaluated_s=later_s))
    world.nodes.client.patch(
        Node.Status, name, {"status": {"nodeInfo": {"bootID": "again"}}}, patch_type=PatchType.STRATEGIC
    )
    time.sleep(1)
    reaffirmed = world.controller.writes()
    assert {kind: reaffirmed[kind] - changed[kind] for kind in changed} == {"node": 0, "status": 1, "event": 0}


def test_what_others_do_to_a_node_is_kept(world: World) -> None:
    name = world.affirmed()
    world.cluster.kubectl("taint", "node", name, "dedicated=cameras:NoSchedule")
    world.cluster.kubectl("cordon", name)

    world.feed.say(entry(name, "contraindicated"))
    until(lambda: world.nodes.taints(name) == OUT, "it is tainted")

    spec = world.nodes.client.get(Node, name).spec
    assert spec is not None
    assert spec.unschedulable
    found = {(one.key, one.value, one.effect) for one in spec.taints or ()}
    assert ("dedicated", "cameras", "NoSchedule") in found
    assert ("node.kubernetes.io/unschedulable", None, "NoSchedule") in found


def test_two_that_claim_one_device_are_both_not_affirmed(world: World) -> None:
    name = world.affirmed()
    second = f"{name}-2"
    world.nodes.node(second)

    world.nodes.edge(second, name)

    for one, other in ((name, second), (second, name)):
        world.nodes.until_state(one, "Unattested")
        assert other in world.nodes.message(one)
        assert world.nodes.taints(one) == UNATTESTED
        assert world.nodes.label(one) is None
    world.nodes.client.delete(EdgeNode, second)
    world.nodes.until_state(name, "Affirmed")
    # It bears our taint, and nobody says any more which device it is.
    assert world.nodes.taints(second) == UNATTESTED


def test_a_node_made_anew_waits_for_the_next_appraisal(world: World) -> None:
    name = world.affirmed()

    world.nodes.client.delete(Node, name)
    world.nodes.node(name)

    until(lambda: world.nodes.taints(name) == UNATTESTED, "it is tainted", timeout_s=5)
    world.nodes.until_state(name, "Unattested")
    assert "made anew" in world.nodes.message(name)
    time.sleep(1)  # appraisals are told apart by whole seconds
    world.feed.say(entry(name))
    until(lambda: world.nodes.label(name) == "true" and not world.nodes.taints(name), "it is affirmed")


def test_an_edge_node_that_is_deleted_leaves_its_node_unattested(world: World) -> None:
    name = world.affirmed()

    world.nodes.client.delete(EdgeNode, name)

    until(lambda: world.nodes.taints(name) == UNATTESTED, "it is tainted")
    assert world.nodes.label(name) is None


def test_a_node_with_the_edge_label_is_tainted_before_anybody_says_which_device_it_is(world: World) -> None:
    world.nodes.node("labelled-later")
    world.nodes.node("plain")
    world.cluster.kubectl("label", "node", "labelled-later", "edgeroot.dev/edge=true")

    until(lambda: world.nodes.taints("labelled-later") == UNATTESTED, "it is tainted")
    assert world.nodes.taints("plain") == set()


def test_another_device_in_a_node_has_to_prove_itself(world: World) -> None:
    name = world.affirmed()

    world.nodes.client.patch(EdgeNode, name, {"spec": {"device": "another"}}, patch_type=PatchType.MERGE)

    world.nodes.until_state(name, "Unattested")
    assert world.nodes.taints(name) == UNATTESTED
    world.feed.say(entry("another"))
    world.nodes.until_state(name, "Affirmed")


def test_a_verifier_that_is_away_is_waited_for_and_not_for_ever(world: World) -> None:
    name = world.nodes.pair()
    begun_s = time.time()
    world.feed.say(entry(name, lasts_s=4))
    world.nodes.until_state(name, "Affirmed")
    lasting = world.affirmed()

    world.feed.stop()
    try:
        # Grace is 3 s here.
        while time.time() < begun_s + 5:
            assert world.nodes.state(name) == "Affirmed"
            time.sleep(0.1)
        world.nodes.until_state(name, "Expired", timeout_s=5)
        assert time.time() >= int(begun_s) + 7
        assert world.nodes.taints(name) == UNATTESTED
        assert "cannot be reached" in world.nodes.message(name)
        assert world.nodes.state(lasting) == "Affirmed"
        assert world.controller.metric("feed_age_seconds") > 1
        assert world.controller.metric('errors_total{where="feed"}') >= 1
    finally:
        world.feed.start()
    world.feed.say(entry(name))
    world.nodes.until_state(name, "Affirmed")


def test_probes_and_metrics_tell_how_it_goes(world: World) -> None:
    world.affirmed()

    assert world.controller.ask("/healthz") == (200, "ok\n")
    assert world.controller.ask("/readyz") == (200, "ok\n")
    assert world.controller.ask("/else")[0] == 404
    assert world.controller.metric("leading") == 1
    until(lambda: world.controller.metric('nodes{state="Affirmed"}') >= 1, "nodes are counted")
    assert world.controller.metric("result_to_label_seconds_count") >= 1
    until(lambda: world.controller.metric("queue") == 0, "nothing waits")


def test_a_node_that_lost_its_label_gets_it_again(world: World) -> None:
    name = world.affirmed()

    # As if by the controller's account, but not by this controller.
    with Nodes.of(world.cluster, as_whom=world.kubeconfig) as account:
        account.client.patch(Node, name, {"metadata": {"labels": {ATTESTED_LABEL: None}}}, patch_type=PatchType.MERGE)

    until(lambda: world.nodes.label(name) == "true", "it is labelled again")
