"""The chart without a node: genuine helm renders it, and the schemas and a genuine API server take what comes of it."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from peers import PeersUnavailableError
from peers.helm import Helm
from peers.kubernetes import Cluster, KubectlError
from scripts import render_manifests
from tests.support.clients import wait_until
from tests.support.cluster import new_namespace, restricted_namespace
from tests.support.requirements import unavailable

DEPLOY: Final = Path(__file__).parents[3] / "deploy"
CHART: Final = DEPLOY / "helm/edgeroot"
KUBERNETES: Final = "1.35"
OURS: Final = re.compile(r"\bedgeroot_[a-z_]+\b")
OUTSIDE: Final = {"attestation": {"verifierUrl": "https://verifier.example:8443"}}
SETS: Final[dict[str, dict[str, Any]]] = {
    "a verifier outside": OUTSIDE,
    "everything": {
        "verifier": {"enabled": True},
        "attestation": {"caConfigMap": "verifier-ca"},
        "commonLabels": {"team": "edge"},
        "node": {"slots": 100, "tolerations": [{"operator": "Exists"}]},
        "enrolment": {"enabled": True, "apiServerUrl": "https://api.example:6443", "extraArgs": ["--admit-affirmed"]},
        "certificates": {"enabled": True, "signers": ["example.com/workloads"]},
        "firmware": {"enabled": True},
        "monitoring": {"podMonitor": True, "prometheusRule": True, "dashboard": True},
    },
    "the host's own service": {**OUTSIDE, "node": {"mode": "host"}},
    "as little as can be": {
        **OUTSIDE,
        "controller": {"enabled": False},
        "node": {"agent": {"enabled": False}, "secureWorld": {"enabled": False}},
        "networkPolicies": {"enabled": False},
        "cleanUp": {"enabled": False},
    },
}


# The Prometheus operator's kinds are not there.
INSTALLED: Final = {"cleanUp": {"enabled": False}, "monitoring": {"dashboard": True}}


@pytest.fixture(scope="module")
def helm() -> Helm:
    try:
        return Helm.ready()
    except PeersUnavailableError as error:
        unavailable(str(error))


def rendered(helm: Helm, values: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """What would be installed, the resources' definitions included."""
    path = folder / "values.json"
    path.write_text(json.dumps(values))
    where = ("edgeroot", str(CHART), "-n", "edgeroot-system", "--include-crds", "-f", str(path))
    done = helm.run("template", *where, "--kube-version", KUBERNETES)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


@pytest.fixture(params=list(SETS.values()), ids=list(SETS))
def objects(request: pytest.FixtureRequest, helm: Helm, tmp_path: Path) -> list[dict[str, Any]]:
    return rendered(helm, request.param, tmp_path)


@pytest.mark.parametrize("values", list(SETS.values()), ids=list(SETS))
def test_helm_finds_nothing_to_complain_of(helm: Helm, values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "values.json").write_text(json.dumps(values))
    done = helm.run("lint", "--strict", str(CHART), "-f", str(tmp_path / "values.json"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"controler": {}}, "controler"),
        ({**OUTSIDE, "node": {"slots": 0}}, "slots"),
        ({**OUTSIDE, "node": {"mode": "pod"}}, "mode"),
        ({"attestation": {"verifierUrl": "http://verifier.example"}}, "verifierUrl"),
        ({}, "say which verifier judges the nodes"),
        ({**OUTSIDE, "certificates": {"enabled": True}}, "certificates.signers is empty"),
        ({**OUTSIDE, "enrolment": {"enabled": True}}, "say where joining devices find the API server"),
    ],
)
def test_values_that_are_wrong_are_named(helm: Helm, values: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / "values.json").write_text(json.dumps(values))
    done = helm.run("template", "edgeroot", str(CHART), "-f", str(tmp_path / "values.json"))
    assert done.returncode != 0
    assert words in done.stderr


def test_every_object_is_as_the_schemas_say(objects: list[dict[str, Any]]) -> None:
    known = [one for one in objects if "monitoring.coreos.com" not in one["apiVersion"]]
    assert len(known) > 10
    for one in known:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_only_the_nodes_part_and_what_asks_it_need_more_than_restricted(
    cluster: Cluster, objects: list[dict[str, Any]]
) -> None:
    """By a genuine API server, in a namespace that enforces it."""
    namespace, refused = restricted_namespace(cluster), set()
    for one in objects:
        if one["kind"] not in {"Deployment", "DaemonSet", "Job"}:
            continue
        spec = copy.deepcopy(one["spec"]["template"]["spec"])
        # What the API server would look up, and what this namespace does not have.
        for absent in ("serviceAccountName", "priorityClassName"):
            spec.pop(absent, None)
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": spec}
        pod["metadata"] = {"name": one["metadata"]["name"], "namespace": namespace}
        if (said := _refusal(cluster, pod)) is not None:
            assert "violates PodSecurity" in said
            refused.add(one["metadata"]["name"])
    assert refused <= {"edgeroot-node", "edgeroot-agent", "edgeroot-certificates"}


def test_the_example_of_a_workload_is_restricted(cluster: Cluster) -> None:
    namespace = restricted_namespace(cluster)
    example = DEPLOY.parent / "examples/kubernetes/signer.yaml"
    for one in yaml.safe_load_all(example.read_text()):
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
        if one["kind"] == "Deployment":
            spec = {**one["spec"]["template"]["spec"], "serviceAccountName": "default"}
            assert (
                _refusal(
                    cluster,
                    {
                        "apiVersion": "v1",
                        "kind": "Pod",
                        "metadata": {"name": "signer", "namespace": namespace},
                        "spec": spec,
                    },
                )
                is None
            )


def _refusal(cluster: Cluster, pod: dict[str, Any]) -> str | None:
    try:
        cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    except KubectlError as error:
        return str(error)
    return None


def test_no_container_is_privileged_or_sees_the_host(objects: list[dict[str, Any]]) -> None:
    for one in objects:
        if one["kind"] not in {"Deployment", "DaemonSet", "Job"}:
            continue
        spec = one["spec"]["template"]["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"] + spec.get("initContainers", []):
            security = container["securityContext"]
            assert not security.get("privileged")
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"]["drop"] == ["ALL"]
            assert container["resources"]["limits"]["memory"]


def test_every_pod_may_reach_what_it_asks(objects: list[dict[str, Any]]) -> None:
    """A policy that forbids everything is there, so whoever is in no other one reaches nobody."""
    policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
    if not policies:
        return
    let_out = {
        component
        for one in policies
        if "Egress" in one["spec"]["policyTypes"] and one["spec"].get("egress")
        for expression in one["spec"]["podSelector"].get("matchExpressions", [])
        for component in expression["values"]
    }
    talking = {
        one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for one in objects
        if one["kind"] in {"Deployment", "DaemonSet", "Job"}
    }
    assert talking - {"verifier"} <= let_out


def test_an_api_server_takes_all_of_it_and_loses_all_of_it(cluster: Cluster, helm: Helm, tmp_path: Path) -> None:
    """Installed, changed and uninstalled; the hook that cleans up takes a node, and is tried with one."""
    namespace = new_namespace(cluster)
    path = tmp_path / "values.json"
    environment = {"KUBECONFIG": str(cluster.kubeconfig)}
    # What other tests have applied by hand is not Helm's, and it would not touch it.
    for manifest in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        if manifest != render_manifests.PLACE:
            cluster.kubectl("delete", "--ignore-not-found", "-f", str(manifest))
    before = _objects(cluster, namespace)
    for command, slots in (("install", 8), ("upgrade", 12)):
        path.write_text(json.dumps({**SETS["everything"], **INSTALLED, "node": {"slots": slots}}))
        done = helm.run(command, "edgeroot", str(CHART), "-n", namespace, "-f", str(path), env=environment)
        assert done.returncode == 0, done.stderr
        assert f"slots = {slots}" in cluster.get("configmap", "edgeroot-node", "-n", namespace)["data"]["config.toml"]
    assert _objects(cluster, namespace) - before
    done = helm.run("uninstall", "edgeroot", "-n", namespace, env=environment)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: not _objects(cluster, namespace) - before, "everything is gone", timeout_s=60)


def _objects(cluster: Cluster, namespace: str) -> set[str]:
    """Everything there is, but definitions, which Helm leaves, and what tells of the past."""
    whole = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
    kinds = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    there = ",".join(kind for kind in kinds if not kind.startswith(("events", "leases")))
    names = cluster.kubectl("get", whole, "-o", "name").split()
    return {*names, *cluster.kubectl("get", there, "-n", namespace, "-o", "name").split()}


def test_plain_manifests_are_what_the_chart_gives(helm: Helm, cluster: Cluster) -> None:
    assert render_manifests.PLACE.read_text() == render_manifests.render(helm.path)
    for one in yaml.safe_load_all(render_manifests.PLACE.read_text()):
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
    assert "edgeroot-node" in cluster.kubectl("create", "--dry-run=client", "-f", str(render_manifests.PLACE))


def test_prometheus_is_told_of_ports_that_there_are(helm: Helm, tmp_path: Path) -> None:
    objects = rendered(helm, SETS["everything"], tmp_path)
    pods = [one["spec"]["template"] for one in objects if one["kind"] in {"DaemonSet", "Deployment"}]
    monitors = [one["spec"] for one in objects if one["kind"] == "PodMonitor"]
    assert len(monitors) == 3
    for monitor in monitors:
        wanted = monitor["selector"]["matchLabels"].items()
        meant = [pod for pod in pods if wanted <= pod["metadata"]["labels"].items()]
        ports = {port["name"] for pod in meant for one in pod["spec"]["containers"] for port in one.get("ports", [])}
        assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} <= ports


def test_dashboard_and_rules_ask_for_metrics_that_there_are() -> None:
    sources = (DEPLOY.parent / "src/edgeroot").rglob("*.py")
    there_are = {name for source in sources for name in OURS.findall(source.read_text())}
    told = "".join(page.read_text() for page in (DEPLOY.parent / "docs").glob("*.md"))
    for file in ("dashboard.json", "rules.yaml"):
        asked = set(OURS.findall((DEPLOY / "monitoring" / file).read_text()))
        assert asked
        for name in asked:
            base = re.sub(r"_(bucket|sum|count|total)$", "", name)
            assert base in told or base in there_are or name in there_are, name
