"""Clocks that are set while real processes run: nobody is affirmed by that, and all goes on once they are right."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from peers.kubernetes import Cluster
from tests.support.cluster_accounts import account_kubeconfig, running_edge
from tests.support.edge_nodes import Nodes, controller, deploy_edge, until
from tests.support.joining import LAB, JoiningSite
from tests.support.service import SOFTWARE_PROVIDER, running_service
from tests.support.stepped_clock import SteppedClock
from tests.support.world import running_world, with_world

pytestmark = pytest.mark.timeout(240)  # results live for a minute, and are waited for

HOUR_S: Final = 3600
LIFE_S: Final = 60
"""Of results: the least that a verifier gives them."""


@dataclass
class Scene:
    """A node with its agent, the verifier, and the controller, each with a clock of its own."""

    nodes: Nodes
    site: JoiningSite
    node: str
    verifiers: SteppedClock
    controllers: SteppedClock
    agents: SteppedClock

    @property
    def state(self) -> Path:
        return self.site.folder / "agent"

    def agent(self) -> AbstractContextManager[None]:
        where = ("--verifier", self.site.verifier, "--endpoint", self.site.service.endpoint)
        options = ("--interval", "1", "--state", str(self.state), "--node-name", "")
        environment = self.agents.environment
        return running_edge(Path(os.devnull), self.site.folder, "agent", *where, *options, environment=environment)

    def until(self, state: str) -> None:
        self.nodes.until_state(self.node, state, timeout_s=LIFE_S + 20)

    def results(self) -> int:
        """So many affirming ones has the agent told of."""
        return (self.site.folder / "log").read_text().count("the verifier says: affirming")

    def until_more_results(self) -> None:
        before = self.results()
        until(lambda: self.results() > before + 1, "it is affirmed again")


@dataclass
class _Viewed:
    url: str
    token: str


@pytest.fixture(scope="module")
def scene(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("clocks")
    deploy_edge(cluster)
    clocks = [SteppedClock(folder / name) for name in ("verifiers", "controllers", "agents")]
    with ExitStack() as running:
        world = running.enter_context(running_world())
        service = running.enter_context(running_service(provider=SOFTWARE_PROVIDER + with_world(world)))
        site = JoiningSite(folder, cluster.kubeconfig, cluster.url, service, world)
        (folder / "policy.toml").write_text(LAB)
        (folder / "look").write_text(os.urandom(32).hex())
        with service.client(provider=4) as client:
            site.endorse(client)
        judging = ("--store", "fleet.db", "--sign", "sign.pem", "--policy", "policy.toml")
        tokens = ("--provisioning-token-file", "token", "--viewer-token-file", "look")
        serve = ("verifier", "serve", *judging, *tokens, "--result-lifetime", str(LIFE_S // 60))
        site.verifier = running.enter_context(site.serving(*serve, environment=clocks[0].environment))
        site.submit()
        nodes = running.enter_context(Nodes.of(cluster))
        node = f"clock-{uuid.uuid4().hex[:8]}"
        nodes.node(node, tainted=True)
        nodes.edge(node, site.device)
        kubeconfig = account_kubeconfig(cluster, "edgeroot-controller", folder / "kubeconfig")
        viewed = _Viewed(site.verifier, (folder / "look").read_text())
        environment = clocks[1].environment
        running.enter_context(controller(kubeconfig, folder / "controller", viewed, environment=environment))
        yield Scene(nodes, site, node, *clocks)


def test_a_verifiers_clock(scene: Scene) -> None:
    with scene.agent():
        scene.until("Affirmed")
        scene.verifiers.be_off(HOUR_S)
        scene.until("Expired")
        assert "lies in the future: check the clocks" in scene.nodes.message(scene.node)
        scene.verifiers.be_off(-HOUR_S)
        scene.until_more_results()
        assert scene.nodes.state(scene.node) == "Expired"
        scene.verifiers.be_off(0)
        scene.until("Affirmed")


def test_the_controllers_and_the_nodes_clock(scene: Scene) -> None:
    with scene.agent():
        scene.until("Affirmed")
        for off_s in (24 * HOUR_S, -24 * HOUR_S):  # of the node, where it does not matter
            scene.agents.be_off(off_s)
            scene.until_more_results()
            assert scene.nodes.state(scene.node) == "Affirmed"
            assert _check(scene) == "affirming"
    scene.agents.be_off(-48 * HOUR_S)
    scene.controllers.be_off(-HOUR_S)
    scene.until("Expired")  # by the clocks that only run
    until(lambda: "the result expired" in _check(scene), "a probe sees it, too")
    with scene.agent():
        scene.until_more_results()
        assert scene.nodes.state(scene.node) == "Expired"
        scene.controllers.be_off(0)
        scene.until("Affirmed")
        scene.controllers.be_off(HOUR_S)
        scene.until("Expired")
        scene.until_more_results()
        assert scene.nodes.state(scene.node) == "Expired"
        scene.controllers.be_off(0)
        scene.until("Affirmed")


def _check(scene: Scene) -> str:
    command = [sys.executable, "-m", "edgeroot", "edge", "agent", "--check", "--state", str(scene.state)]
    done = subprocess.run(command, env=dict(scene.agents.environment), capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()
