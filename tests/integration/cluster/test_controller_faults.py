"""What the controller does when parts of the cluster are killed, hang, or go back to what they knew before."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lightkube.resources.core_v1 import Node

from peers.kubernetes import Cluster
from tests.support.cluster import running_cluster
from tests.support.cluster_accounts import account_kubeconfig
from tests.support.edge_nodes import Nodes, controller, deploy_edge, until
from tests.support.verifier_feed import FeedDouble, entry, verifier_feed

UNATTESTED = {"unattested:NoSchedule"}
OUT = {"unattested:NoSchedule", "contraindicated:NoExecute"}


@dataclass(frozen=True, slots=True)
class World:
    cluster: Cluster
    nodes: Nodes
    feed: FeedDouble
    kubeconfig: Path

    def affirmed(self) -> str:
        name = self.nodes.pair()
        self.feed.say(entry(name))
        self.nodes.until_state(name, "Affirmed")
        return name


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        deploy_edge(running)
        yield running


@pytest.fixture
def world(own_cluster: Cluster, tmp_path: Path) -> Iterator[World]:
    kubeconfig = account_kubeconfig(own_cluster, "edgeroot-controller", tmp_path / "kubeconfig")
    with Nodes.of(own_cluster) as nodes, verifier_feed() as feed:
        yield World(own_cluster, nodes, feed, kubeconfig)


def test_what_happens_while_the_api_server_is_away_is_made_up_for(world: World, tmp_path: Path) -> None:
    with controller(world.kubeconfig, tmp_path, world.feed) as running:
        bad, good = world.affirmed(), world.affirmed()

        world.cluster.api_server.kill()
        world.feed.say(entry(bad, "contraindicated"))
        until(lambda: running.metric('errors_total{where="write"}'), "it tries in vain")
        time.sleep(3)
        world.cluster.api_server.start()
        back_s = time.monotonic()

        until(lambda: world.nodes.taints(bad) == OUT, "it is tainted")
        assert time.monotonic() - back_s < 5
        # Changes are seen again as well.
        world.nodes.client.delete(Node, good)
        world.nodes.node(good)
        until(lambda: world.nodes.taints(good) == UNATTESTED, "it is tainted", timeout_s=30)


def test_an_api_server_that_hangs_costs_the_lease_and_not_the_process(world: World, tmp_path: Path) -> None:
    with controller(world.kubeconfig, tmp_path, world.feed) as running:
        name = world.affirmed()

        world.cluster.api_server.signal(signal.SIGSTOP)
        try:
            until(lambda: running.metric("leading") == 0, "it does not write any more", timeout_s=30)
            world.feed.say(entry(name, "contraindicated"))
            assert running.ask("/healthz")[0] == 200
        finally:
            world.cluster.api_server.signal(signal.SIGCONT)

        until(lambda: world.nodes.taints(name) == OUT, "it is tainted", timeout_s=30)


def test_a_store_that_went_back_is_brought_up_to_date(world: World, tmp_path: Path) -> None:
    with controller(world.kubeconfig, tmp_path, world.feed):
        turned, kept = world.affirmed(), world.affirmed()
        world.cluster.save(tmp_path / "snapshot")
        world.feed.say(entry(turned, "contraindicated"))
        until(lambda: world.nodes.taints(turned) == OUT, "it is tainted")
        joined = world.affirmed()

        world.cluster.restore(tmp_path / "snapshot")

        # With the snapshot its label came back, and nothing tells of a change.
        until(lambda: world.nodes.taints(turned) == OUT, "it is tainted again", timeout_s=40)
        assert world.nodes.label(turned) is None
        world.nodes.until_state(turned, "Contraindicated")
        assert world.nodes.label(kept) == "true"
        # A node that the store has forgotten joins anew.
        world.nodes.node(joined)
        world.nodes.edge(joined, joined)
        world.nodes.until_state(joined, "Affirmed")


def test_a_controller_that_was_killed_is_followed_by_one_that_knows_all_again(world: World, tmp_path: Path) -> None:
    with controller(world.kubeconfig, tmp_path / "first", world.feed) as first:
        bad, expiring, anew = world.affirmed(), world.nodes.pair(), world.affirmed()
        world.feed.say(entry(expiring, lasts_s=6))
        world.nodes.until_state(expiring, "Affirmed")
        first.kill()

    world.feed.say(entry(bad, "contraindicated"))
    world.nodes.client.delete(Node, anew)
    world.nodes.node(anew)
    with controller(world.kubeconfig, tmp_path / "second", world.feed):
        # Nobody gave the lease up: it has to run out.
        until(lambda: world.nodes.taints(bad) == OUT, "it is tainted", timeout_s=30)
        world.nodes.until_state(expiring, "Expired")
        world.nodes.until_state(anew, "Unattested")
        for name in (expiring, anew):
            assert world.nodes.taints(name) == UNATTESTED


def test_a_restart_while_the_verifier_is_away_changes_nothing_but_what_expires(world: World, tmp_path: Path) -> None:
    with controller(world.kubeconfig, tmp_path / "first", world.feed):
        lasting, expiring, bad = world.affirmed(), world.nodes.pair(), world.affirmed()
        world.feed.say(entry(bad, "contraindicated"), entry(expiring, lasts_s=5))
        until(lambda: world.nodes.taints(bad) == OUT, "it is tainted")
        world.nodes.until_state(expiring, "Affirmed")
    world.feed.stop()

    with controller(world.kubeconfig, tmp_path / "second", world.feed, "--grace", "0.02", ready=False) as second:
        until(lambda: second.metric("leading") == 1, "it writes")
        world.nodes.until_state(expiring, "Expired")
        assert world.nodes.taints(expiring) == UNATTESTED
        assert world.nodes.label(lasting) == "true"
        assert world.nodes.taints(bad) == OUT
        # Nor is anything affirmed that was not: not a node made anew, nor a label that somebody took.
        world.nodes.client.delete(Node, lasting)
        world.nodes.node(lasting)
        until(lambda: world.nodes.taints(lasting) == UNATTESTED, "it is tainted")
        assert second.ask("/readyz")[0] == 503
        world.feed.start()
        until(second.ready, "it heard the verifier")


def test_of_two_replicas_one_writes_and_the_other_takes_over(world: World, tmp_path: Path) -> None:
    with (
        controller(world.kubeconfig, tmp_path / "first", world.feed) as first,
        controller(world.kubeconfig, tmp_path / "second", world.feed) as second,
    ):
        until(lambda: first.metric("leading") + second.metric("leading") == 1, "one writes", timeout_s=30)
        leader, other = (first, second) if first.metric("leading") else (second, first)
        name = world.affirmed()
        assert other.writes() == {"node": 0, "status": 0, "event": 0}
        assert leader.writes()["node"] >= 1

        leader.kill()
        world.feed.say(entry(name, "contraindicated"))

        until(lambda: world.nodes.taints(name) == OUT, "it is tainted", timeout_s=30)
        until(lambda: other.metric("leading") == 1, "it says so")  # numbers are brought up to date once a second


def test_a_replica_that_ends_in_order_leaves_the_lease_to_the_next(world: World, tmp_path: Path) -> None:
    with controller(world.kubeconfig, tmp_path / "first", world.feed) as first:
        until(lambda: first.metric("leading") == 1, "it writes", timeout_s=30)

    begun_s = time.monotonic()
    with controller(world.kubeconfig, tmp_path / "second", world.feed) as second:
        until(lambda: second.metric("leading") == 1, "it writes")
        assert time.monotonic() - begun_s < 10


def test_who_uninstalls_gets_nodes_without_our_marks(world: World, tmp_path: Path) -> None:
    with controller(world.kubeconfig, tmp_path, world.feed):
        affirmed, unattested = world.affirmed(), world.nodes.pair()
        until(lambda: world.nodes.taints(unattested) == UNATTESTED, "it is tainted")

    command = [sys.executable, "-m", "edgeroot", "edge", "controller", "--clean-up"]
    done = subprocess.run(
        command, env={"KUBECONFIG": str(world.kubeconfig)}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nodes set free: ")
    assert world.nodes.label(affirmed) is None
    for name in (affirmed, unattested):
        assert world.nodes.taints(name) == set()
