"""A node with keys in hardware, and a cluster that gives certificates for them; whose programs are the tests' to start.

The node is an object of the API server: no kubelet runs on it.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edgeroot.client import Client, TokenFile
from peers.kubernetes import Cluster
from tests.support.cluster import new_namespace
from tests.support.cluster_accounts import SYSTEM, account_kubeconfig, deploy
from tests.support.joining import LAB, JoiningSite
from tests.support.service import running_service
from tests.support.world import running_world, with_world

SIGNER: Final = "kubernetes.io/kube-apiserver-client"
TIMEOUT_S: Final = 60.0
_TOKENS: Final = """
[[listener]]
listener_type = "DomainSocket"
timeout = 1000
socket_path = "{folder}/run/keeper.sock"
authenticators = ["JwtSvid"]
[[authenticator]]
auth_type = "JwtSvid"
[authenticator.kubernetes]
issuer = "{issuer}"
review = "offline"
jwks_file = "{folder}/keys.json"
accounts_without_slot = true
"""


@dataclass
class Scene:
    """``keeper`` and ``approver`` are the kubeconfigs of these two programs' accounts."""

    cluster: Cluster
    site: JoiningSite
    node: str
    namespace: str
    keeper: Path
    approver: Path

    @property
    def endpoint(self) -> str:
        return f"unix:{self.site.service.folder}/run/keeper.sock"

    @property
    def keeping(self) -> tuple[str, ...]:
        """The keeper's arguments."""
        return (
            "certificates",
            "keep",
            "--node-name",
            self.node,
            "--verifier",
            self.site.verifier,
            "--service",
            self.endpoint,
        )

    @property
    def approving(self) -> tuple[str, ...]:
        """The approver's arguments."""
        return ("certificates", "approve", "--verifier-key", "verify.pem", "--signer", SIGNER)

    def in_new_namespace(self) -> Scene:
        namespace = new_namespace(self.cluster)
        self.cluster.kubectl("create", "serviceaccount", "till", "-n", namespace)
        return replace(self, namespace=namespace)

    def wish(self, name: str, **spec: object) -> dict[str, Any]:
        made = {
            "apiVersion": "edgeroot.dev/v1alpha1",
            "kind": "HardwareCertificate",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "nodeName": self.node,
                "serviceAccountName": "till",
                "signerName": SIGNER,
                "commonName": f"edgeroot:{self.namespace}:till",
                "usages": ["digital signature", "client auth"],
                "duration": "1h",
                **spec,
            },
        }
        return self.cluster.create(made)

    def condition(self, name: str, reason: str) -> dict[str, Any]:
        """The condition Ready, as soon as it has this reason."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            found = self.cluster.get("hardwarecertificate", name, "-n", self.namespace)
            [condition] = found.get("status", {}).get("conditions", [{}])
            if condition.get("reason") == reason:
                return dict(condition)
            assert time.monotonic() < deadline_s, f"{condition}\n{(self.site.folder / 'log').read_text()}"
            time.sleep(0.1)

    def published(self, name: str) -> Mapping[str, str]:
        """What the ConfigMap holds, once it is there."""
        self.cluster.wait_for(f"configmap/{name}", r"jsonpath={.data.key\.uri}", "-n", self.namespace)
        found: dict[str, str] = self.cluster.get("configmap", name, "-n", self.namespace)["data"]
        return found

    @contextmanager
    def as_till(self) -> Iterator[Client]:
        """The node's service, as a workload of the account."""
        options = ("--audience=parsec", "--duration=10m")
        token = self.cluster.kubectl("create", "token", "till", "-n", self.namespace, *options)
        path = self.site.folder / "till.token"
        path.write_text(token.strip())
        with Client(self.endpoint, auth=TokenFile(path)) as client:
            yield client


def deploy_certificates(cluster: Cluster) -> None:
    """What the two programs find in the cluster. May be done again."""
    deploy(cluster, "crds/edgenode.yaml", "crds/hardwarecertificate.yaml", "certificates.yaml")
    may_approve = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "edgeroot-certificate-signers"},
        "rules": [
            {
                "apiGroups": ["certificates.k8s.io"],
                "resources": ["signers"],
                "resourceNames": [SIGNER],
                "verbs": ["approve"],
            }
        ],
    }
    cluster.apply(may_approve)
    role, account = "edgeroot-certificate-signers", f"{SYSTEM}:edgeroot-certificate-approver"
    binding = ("clusterrolebinding", role, f"--clusterrole={role}", f"--serviceaccount={account}")
    made = cluster.kubectl("create", *binding, "--dry-run=client", "-o", "json")
    cluster.apply(json.loads(made))


@contextmanager
def running_scene(cluster: Cluster, folder: Path) -> Iterator[Scene]:
    """All but the two programs; ``namespace`` is still to be chosen."""
    node = f"gateway-{uuid.uuid4().hex[:8]}"
    with ExitStack() as running:
        world = running.enter_context(running_world())
        service = running.enter_context(running_service(provider=with_world(world), start=False))
        config = service.config_path.read_text()
        config = config.replace("[listener]", "[[listener]]").replace("[authenticator]", "[[authenticator]]")
        config = config.replace('parsec.sock"\n', 'parsec.sock"\nauthenticators = ["UnixPeerCredentials"]\n', 1)
        issuer = json.loads(cluster.kubectl("get", "--raw", "/.well-known/openid-configuration"))["issuer"]
        (service.folder / "keys.json").write_text(cluster.kubectl("get", "--raw", "/openid/v1/jwks"))
        service.config_path.write_text(config + _TOKENS.format(folder=service.folder, issuer=issuer))
        service.start()
        site = JoiningSite(folder, cluster.kubeconfig, cluster.url, service, world)
        (folder / "policy.toml").write_text(LAB)
        with service.client() as client:
            site.endorse(client)
        judging = ("--store", "fleet.db", "--sign", "sign.pem", "--policy", "policy.toml")
        provisioning = ("--provisioning-token-file", "token")
        site.verifier = running.enter_context(site.serving("verifier", "serve", *judging, *provisioning))
        site.submit()
        _make_node(cluster, node, site.device)
        approver = account_kubeconfig(cluster, "edgeroot-certificate-approver", folder / "approver.kubeconfig")
        yield Scene(cluster, site, node, "", _keeper_of(cluster, node, folder), approver)


def _make_node(cluster: Cluster, node: str, device: str) -> None:
    kind = {"apiVersion": "edgeroot.dev/v1alpha1", "kind": "EdgeNode"}
    cluster.create({**kind, "metadata": {"name": node}, "spec": {"device": device}})
    say_state(cluster, node, "Affirmed")
    cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})


def say_state(cluster: Cluster, node: str, state: str) -> None:
    """In the place of the controller, which is the only one that may."""
    controller = f"--as=system:serviceaccount:{SYSTEM}:edgeroot-controller"
    patch = json.dumps({"status": {"state": state}})
    where = ("edgenode", node, "--subresource=status", "--type=merge", "-p", patch)
    cluster.kubectl("patch", *where, controller, "--as-group=system:masters")


def _keeper_of(cluster: Cluster, node: str, folder: Path) -> Path:
    """The kubeconfig of a keeper's pod on this node: its token says where it is from."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"keeper-{node}", "namespace": SYSTEM},
        "spec": {
            "nodeName": node,
            "serviceAccountName": "edgeroot-certificates",
            "containers": [{"name": "keeper", "image": "edgeroot"}],
        },
    }
    uid = cluster.create(pod)["metadata"]["uid"]
    bound = ("--bound-object-kind=Pod", f"--bound-object-name=keeper-{node}", f"--bound-object-uid={uid}")
    return account_kubeconfig(cluster, "edgeroot-certificates", folder / "keeper.kubeconfig", *bound)
