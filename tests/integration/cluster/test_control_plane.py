"""A genuine API server is there, and does what edgeroot on Kubernetes is built on."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from peers.kubernetes import Cluster, KubectlError
from peers.kubernetes.build import version
from tests.support.cluster import AUDIENCE, new_namespace

pytestmark = pytest.mark.smoke


def _token(cluster: Cluster, namespace: str, *, audience: str) -> str:
    return cluster.kubectl("create", "token", "default", "-n", namespace, f"--audience={audience}").strip()


def _review(cluster: Cluster, token: str) -> dict[str, Any]:
    spec = {"token": token, "audiences": [AUDIENCE]}
    review = cluster.create({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec})
    status: dict[str, Any] = review["status"]
    return status


def test_api_server_is_of_the_version_that_was_asked_for(cluster: Cluster) -> None:
    said = json.loads(cluster.kubectl("get", "--raw", "/version"))

    assert said["gitVersion"] == version()


def test_token_is_reviewed_for_its_audience_only(cluster: Cluster) -> None:
    namespace = new_namespace(cluster)

    good = _review(cluster, _token(cluster, namespace, audience=AUDIENCE))
    other = _review(cluster, _token(cluster, namespace, audience="somebody-else"))

    assert good["authenticated"] is True
    assert good["audiences"] == [AUDIENCE]
    assert good["user"]["username"] == f"system:serviceaccount:{namespace}:default"
    assert other.get("authenticated", False) is False


def test_definition_and_admission_policy_are_enforced(cluster: Cluster) -> None:
    group = f"smoke-{uuid.uuid4().hex[:8]}.edgeroot.dev"
    cluster.apply(_definition(group))
    cluster.wait_for(f"crd/things.{group}", "condition=Established")
    cluster.apply(*_policy(group))

    def thing(name: str, size: int) -> dict[str, Any]:
        return {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": name}, "spec": {"size": size}}

    with pytest.raises(KubectlError, match="smaller than a hundred"):
        cluster.create(thing("against-the-schema", 100))
    _until_refused(cluster, thing("probe", 13))
    with pytest.raises(KubectlError, match="thirteen is unlucky"):
        cluster.create(thing("against-the-policy", 13))
    cluster.create(thing("good", 12))


def _until_refused(cluster: Cluster, wanted: dict[str, Any]) -> None:
    """Policies take effect a moment after they were created."""
    for _ in range(50):
        try:
            cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(wanted))
        except KubectlError:
            return
    pytest.fail("the policy never took effect")


def test_node_may_not_label_itself_in_the_restricted_space(cluster: Cluster) -> None:
    name = f"node-{uuid.uuid4().hex[:8]}"
    kubelet = cluster.identify(f"system:node:{name}", groups=["system:nodes"])
    cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}, as_whom=kubelet)

    cluster.kubectl("label", "node", name, "example.org/own=true", as_whom=kubelet)
    with pytest.raises(KubectlError, match="is not allowed to modify labels"):
        cluster.kubectl("label", "node", name, "x.node-restriction.kubernetes.io/attested=true", as_whom=kubelet)


def _definition(group: str) -> dict[str, Any]:
    size = {
        "type": "integer",
        "x-kubernetes-validations": [{"rule": "self < 100", "message": "smaller than a hundred"}],
    }
    spec = {"type": "object", "properties": {"size": size}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": "Thing", "plural": "things"},
            "scope": "Cluster",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                }
            ],
        },
    }


def _policy(group: str) -> list[dict[str, Any]]:
    rule = {"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"]}
    kind = "ValidatingAdmissionPolicy"
    version = "admissionregistration.k8s.io/v1"
    return [
        {
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": group},
            "spec": {
                "matchConstraints": {"resourceRules": [rule]},
                "validations": [{"expression": "object.spec.size != 13", "message": "thirteen is unlucky"}],
            },
        },
        {
            "apiVersion": version,
            "kind": f"{kind}Binding",
            "metadata": {"name": group},
            "spec": {"policyName": group, "validationActions": ["Deny"]},
        },
    ]
