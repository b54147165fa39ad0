"""A genuine kubelet runs pods as edgeroot's users do: with the least rights, and a token of their own."""

from __future__ import annotations

import base64
import json

import pytest

from peers.kubernetes import NODE, Cluster, KubectlError
from tests.support.cluster import AUDIENCE, TOKEN_FILE, output_of_pod, restricted_namespace, restricted_pod

pytestmark = pytest.mark.smoke


def test_restricted_pod_runs_and_its_output_is_seen(kubelet_cluster: Cluster) -> None:
    namespace = restricted_namespace(kubelet_cluster)
    script = "id -u; touch /here 2>/dev/null || echo read-only"

    said = output_of_pod(kubelet_cluster, restricted_pod("least", namespace, ["sh", "-c", script]))

    assert said.splitlines() == ["1000", "read-only"]


def test_pod_that_is_not_restricted_is_refused(kubelet_cluster: Cluster) -> None:
    namespace = restricted_namespace(kubelet_cluster)
    pod = restricted_pod("host", namespace, ["true"])
    pod["spec"]["volumes"] = [{"name": "host", "hostPath": {"path": "/run"}}]

    with pytest.raises(KubectlError, match="restricted volume types"):
        kubelet_cluster.create(pod)


def test_projected_token_names_the_pod_and_its_node(kubelet_cluster: Cluster) -> None:
    namespace = restricted_namespace(kubelet_cluster)
    pod = restricted_pod("holder", namespace, ["cat", TOKEN_FILE], token_audience=AUDIENCE)

    token = output_of_pod(kubelet_cluster, pod)

    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["aud"] == [AUDIENCE]
    assert claims["sub"] == f"system:serviceaccount:{namespace}:default"
    assert claims["kubernetes.io"]["pod"]["name"] == "holder"
    assert claims["kubernetes.io"]["node"]["name"] == NODE


def test_pod_reaches_the_api_server_by_its_address_and_its_name(kubelet_cluster: Cluster) -> None:
    namespace = restricted_namespace(kubelet_cluster)
    reached = "nc -w 5 {} $KUBERNETES_SERVICE_PORT </dev/null && echo reached"
    script = "; ".join(reached.format(host) for host in ("$KUBERNETES_SERVICE_HOST", "kubernetes.default.svc"))

    said = output_of_pod(kubelet_cluster, restricted_pod("caller", namespace, ["sh", "-c", script]))

    assert said == "reached\nreached\n"


def test_node_is_ready_again_after_its_kubelet_was_killed(kubelet_cluster: Cluster) -> None:
    assert kubelet_cluster.node is not None
    namespace = restricted_namespace(kubelet_cluster)
    kubelet_cluster.node.kubelet.kill()
    kubelet_cluster.node.kubelet.start()

    assert output_of_pod(kubelet_cluster, restricted_pod("after", namespace, ["echo", "back"])) == "back\n"
