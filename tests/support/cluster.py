"""A genuine Kubernetes cluster for tests: its control plane alone, or with a node that runs pods."""

from __future__ import annotations

import base64
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from peers import PeersUnavailableError
from peers.kubernetes import BUSYBOX, Cluster
from tests.support.requirements import require_root, unavailable

AUDIENCE = "parsec"
# Where edgeroot's client looks for one by itself.
TOKEN_FILE = "/var/run/secrets/tokens/parsec"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A control plane: what tests create in it should have a namespace or a name of its own."""
    with running_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def kubelet_cluster() -> Iterator[Cluster]:
    """A control plane and a node that runs pods."""
    require_root("run containers")
    with running_cluster(node=True) as running:
        yield running


@contextmanager
def running_cluster(*, node: bool = False) -> Iterator[Cluster]:
    """A cluster of one's own, for tests that kill parts of it."""
    # Below /tmp, not pytest's folder for this test: Unix sockets in it have short paths.
    folder = Path(tempfile.mkdtemp(prefix="edgeroot-cluster-", dir="/tmp"))
    try:
        try:
            cluster = Cluster(folder, node=node)
        except PeersUnavailableError as error:
            unavailable(str(error))
        with cluster:
            yield cluster
    finally:
        shutil.rmtree(folder)


def new_namespace(cluster: Cluster, *, labels: Mapping[str, str] | None = None) -> str:
    """A namespace that no other test uses."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    metadata = {"name": name, "labels": dict(labels or {})}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    cluster.wait_for("serviceaccount/default", "jsonpath={.metadata.uid}", "-n", name)
    return name


def restricted_namespace(cluster: Cluster) -> str:
    """A namespace that admits what the Pod Security Standard "restricted" allows, and nothing else."""
    return new_namespace(cluster, labels={"pod-security.kubernetes.io/enforce": "restricted"})


def restricted_pod(
    name: str,
    namespace: str,
    command: Sequence[str],
    *,
    image: str = BUSYBOX,
    limits: Mapping[str, str] | None = None,
    service_account: str = "default",
    token_audience: str = "",
) -> dict[str, Any]:
    """A pod of user 1000 that may write nowhere; with an audience, its token for it is TOKEN_FILE."""
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": list(command),
        "resources": {"limits": dict(limits or {})},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "serviceAccountName": service_account,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsUser": 1000, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    if token_audience:
        place = Path(TOKEN_FILE)
        source = {"serviceAccountToken": {"audience": token_audience, "path": place.name, "expirationSeconds": 600}}
        spec["volumes"] = [{"name": "token", "projected": {"sources": [source]}}]
        container["volumeMounts"] = [{"name": "token", "mountPath": str(place.parent), "readOnly": True}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def output_of_pod(cluster: Cluster, pod: Mapping[str, Any], *, timeout_s: float = 60.0) -> str:
    """Run a pod to its end, and what it printed. AssertionError with its state and words if it fails."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    cluster.create(pod)
    # The phase of the pod follows later.
    ended = "jsonpath={.status.containerStatuses[0].state.terminated.reason}"
    cluster.wait_for(f"pod/{name}", ended, "-n", namespace, timeout_s=timeout_s)
    said = cluster.kubectl("logs", name, "-n", namespace)
    state = cluster.get("pod", name, "-n", namespace)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert state["exitCode"] == 0, f"{state}\n{said}"
    return said


def sign_command(message: str) -> str:
    """What a shell in edgeroot's image does: it prints the public key ``door``, made if need be, and a signature."""
    make = "edgeroot create-ecc-key -k door >/dev/null 2>&1"
    return f"{make}; edgeroot export-public-key -k door && edgeroot sign -k door '{message}'"


def signer_of(said: str, message: str) -> ec.EllipticCurvePublicKey:
    """The key with which a pod has signed this message by ``sign_command``. InvalidSignature if it has not."""
    end = "-----END PUBLIC KEY-----\n"
    pem, signature = said.split(end)
    key = serialization.load_pem_public_key((pem + end).encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(base64.b64decode(signature), message.encode(), ec.ECDSA(hashes.SHA256()))
    return key
