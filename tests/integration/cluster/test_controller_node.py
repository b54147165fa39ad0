"""The controller with a node that runs pods: a workload comes when the node has proved itself, and goes when not."""

from __future__ import annotations

import time
from pathlib import Path

from edgeroot.edge.controller.names import ATTESTED, ATTESTED_LABEL
from peers.kubernetes import NODE
from tests.support.cluster import restricted_namespace, restricted_pod, running_cluster
from tests.support.cluster_accounts import account_kubeconfig
from tests.support.edge_nodes import Nodes, controller, deploy_edge, until
from tests.support.requirements import require_root
from tests.support.verifier_feed import entry, verifier_feed


def test_a_workload_runs_on_a_node_while_that_proves_itself(tmp_path: Path) -> None:
    require_root("run containers")
    # A cluster of its own: other tests want the node to be there for them.
    with running_cluster(node=True) as cluster, Nodes.of(cluster) as nodes, verifier_feed() as feed:
        deploy_edge(cluster)
        kubeconfig = account_kubeconfig(cluster, "edgeroot-controller", tmp_path / "kubeconfig")
        namespace = restricted_namespace(cluster)
        pod = restricted_pod("workload", namespace, ["sleep", "600"])
        pod["spec"]["nodeSelector"] = {ATTESTED_LABEL: ATTESTED}

        with controller(kubeconfig, tmp_path / "controller", feed):
            nodes.edge(NODE, "01ab")
            until(lambda: nodes.taints(NODE) == {"unattested:NoSchedule"}, "the node is tainted")
            cluster.create(pod)
            cluster.wait_for("pod/workload", "condition=PodScheduled=False", "-n", namespace)

            feed.say(entry("01ab"))
            cluster.wait_for("pod/workload", "condition=Ready", "-n", namespace)

            begun_s = time.monotonic()
            feed.say(entry("01ab", "contraindicated", reason="tampered with"))
            until(
                lambda: all(
                    "deletionTimestamp" in one["metadata"] for one in cluster.get("pods", "-n", namespace)["items"]
                ),
                "the pod is evicted",
            )
            assert time.monotonic() - begun_s < 5
            until(lambda: not cluster.get("pods", "-n", namespace)["items"], "the kubelet has ended it", timeout_s=40)
            # It goes on reporting: to be out of trust is not to be out of the cluster.
            cluster.wait_for(f"node/{NODE}", "condition=Ready")
