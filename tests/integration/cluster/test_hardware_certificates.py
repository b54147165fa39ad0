"""A certificate for a key in hardware: real API server and signer, real verifier, secure world, service and commands.

The node is an object of the API server: no kubelet runs on it.
"""

from __future__ import annotations

import json
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from lightkube import ApiError, KubeConfig
from lightkube import Client as ApiClient
from lightkube.types import PatchType

from edgeroot.client import Client, TokenFile, templates
from edgeroot.client.keys import EcServiceKey
from edgeroot.edge.certificates.approval import CERTIFICATE_ANNOTATION, RESULT_ANNOTATION
from edgeroot.edge.certificates.request import make_request
from edgeroot.edge.certificates.resource import read
from edgeroot.edge.kinds import HardwareCertificate
from peers.kubernetes import Cluster, KubectlError
from tests.support.cluster import new_namespace
from tests.support.cluster_accounts import SYSTEM, account_kubeconfig, deploy, killed_edge, running_edge
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
    """A node with hardware, whose keeper runs, and a cluster, whose approver runs."""

    cluster: Cluster
    site: JoiningSite
    node: str
    namespace: str
    keeper: Path

    @property
    def endpoint(self) -> str:
        return f"unix:{self.site.service.folder}/run/keeper.sock"

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

    @contextmanager
    def as_till(self) -> Iterator[Client]:
        """The node's service, as a workload of the account."""
        options = ("--audience=parsec", "--duration=10m")
        token = self.cluster.kubectl("create", "token", "till", "-n", self.namespace, *options)
        path = self.site.folder / "till.token"
        path.write_text(token.strip())
        with Client(self.endpoint, auth=TokenFile(path)) as client:
            yield client


@pytest.fixture(scope="module")
def deployed(cluster: Cluster) -> Cluster:
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
    cluster.kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", f"--serviceaccount={account}")
    return cluster


@pytest.fixture(scope="module")
def everything(deployed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """All that runs, once; each test has a namespace of its own."""
    cluster, node, folder = deployed, f"gateway-{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("certificates")
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
        one = Scene(cluster, site, node, "", _keeper_of(cluster, node, folder))
        keeping = ("keep", "--node-name", node, "--verifier", site.verifier, "--service", one.endpoint)
        running.enter_context(running_edge(one.keeper, folder, "certificates", *keeping))
        approver = account_kubeconfig(cluster, "edgeroot-certificate-approver", folder / "approver.kubeconfig")
        approving = ("approve", "--verifier-key", "verify.pem", "--signer", SIGNER)
        running.enter_context(running_edge(approver, folder, "certificates", *approving))
        yield one


@pytest.fixture
def scene(everything: Scene) -> Scene:
    namespace = new_namespace(everything.cluster)
    everything.cluster.kubectl("create", "serviceaccount", "till", "-n", namespace)
    return replace(everything, namespace=namespace)


def _make_node(cluster: Cluster, node: str, device: str) -> None:
    kind = {"apiVersion": "edgeroot.dev/v1alpha1", "kind": "EdgeNode"}
    cluster.create({**kind, "metadata": {"name": node}, "spec": {"device": device}})
    _say(cluster, node, "Affirmed")
    cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})


def _say(cluster: Cluster, node: str, state: str) -> None:
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


def _published(scene: Scene, name: str) -> Mapping[str, str]:
    scene.cluster.wait_for(f"configmap/{name}", r"jsonpath={.data.key\.uri}", "-n", scene.namespace)
    found: dict[str, str] = scene.cluster.get("configmap", name, "-n", scene.namespace)["data"]
    return found


def test_a_workload_gets_a_certificate_for_a_key_that_never_left_the_node(scene: Scene) -> None:
    scene.wish("till")
    assert scene.condition("till", "Issued")["status"] == "True"
    content = _published(scene, "till")
    assert content["key.uri"] == "pkcs11:object=till;type=private"
    leaf = x509.load_pem_x509_certificate(content["tls.crt"].encode())
    assert leaf.subject.rfc4514_string() == f"CN=edgeroot:{scene.namespace}:till"
    with scene.as_till() as client:
        assert client.public_key("till") == leaf.public_key()
        key = client.private_key("till")
        assert isinstance(key, EcServiceKey)
        signature = key.sign(b"receipt", ec.ECDSA(hashes.SHA256()))
    public_key = leaf.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    public_key.verify(signature, b"receipt", ec.ECDSA(hashes.SHA256()))
    reasons = scene.cluster.get("events", "-n", scene.namespace)["items"]
    assert {"KeyCreated", "Requested", "Issued"} <= {one["reason"] for one in reasons}
    scene.cluster.kubectl("delete", "hardwarecertificate", "till", "-n", scene.namespace)
    scene.cluster.wait_for("configmap/till", "delete", "-n", scene.namespace)


def test_keepers_and_approvers_that_are_killed_leave_no_certificate_behind(scene: Scene) -> None:
    """A second of each, which does the same and is killed again and again; the first ones are what is left at last."""
    folder = scene.site.folder
    keeping = ("keep", "--node-name", scene.node, "--verifier", scene.site.verifier, "--service", scene.endpoint)
    approving = ("approve", "--verifier-key", "verify.pem", "--signer", SIGNER)
    approver = folder / "approver.kubeconfig"
    names = [f"till-{number}" for number in range(8)]
    with (
        killed_edge(scene.keeper, folder, "certificates", *keeping, lives_s=(1.5, 4.0)) as keepers,
        killed_edge(approver, folder, "certificates", *approving, lives_s=(1.5, 4.0)) as approvers,
    ):
        for name in names:
            scene.wish(name)
            time.sleep(1.0)
        for name in names:
            assert scene.condition(name, "Issued")["status"] == "True"
    with scene.as_till() as client:
        keys = {name: client.public_key(name) for name in names}
    for name in names:
        leaf = x509.load_pem_x509_certificate(_published(scene, name)["tls.crt"].encode())
        assert leaf.public_key() == keys[name]
    assert len(keepers) > 2
    assert len(approvers) > 2


def test_a_key_that_was_brought_along_gets_none(scene: Scene) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_numbers().private_value.to_bytes(32)
    with scene.as_till() as client:
        client.import_key("till", templates.ecdsa_p256(), private)
    scene.wish("till")
    assert "never let it out" in scene.condition("till", "Failed")["message"]


def test_a_node_that_is_not_in_trust_gets_none(scene: Scene) -> None:
    _say(scene.cluster, scene.node, "Contraindicated")
    try:
        scene.wish("till")
        assert f"the node {scene.node} is Contraindicated" in scene.condition("till", "Failed")["message"]
    finally:
        _say(scene.cluster, scene.node, "Affirmed")


def test_an_account_that_there_is_not_has_no_keys(scene: Scene) -> None:
    scene.wish("till", serviceAccountName="nobody")
    assert "there is no service account nobody" in scene.condition("till", "Failed")["message"]


def test_a_credential_for_somebody_else_is_not_issued(scene: Scene) -> None:
    scene.wish("till", commonName="admin")
    assert f"has the commonName edgeroot:{scene.namespace}:till" in scene.condition("till", "Failed")["message"]


def test_a_keeper_that_was_taken_over_gets_nothing_for_other_nodes(scene: Scene) -> None:
    """It has all that the keeper has: its token, and results about its own keys."""
    wish = scene.wish("elsewhere", nodeName="another-node")
    request = make_request(read(wish), ec.generate_private_key(ec.SECP256R1()))
    name = f"stolen-{uuid.uuid4().hex[:8]}"
    annotations = {CERTIFICATE_ANNOTATION: f"{scene.namespace}/elsewhere", RESULT_ANNOTATION: "x"}
    sent = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "request": b64encode(request).decode(),
            "signerName": SIGNER,
            "usages": ["digital signature", "client auth"],
            "expirationSeconds": 3600,
        },
    }
    scene.cluster.kubectl("create", "-f", "-", stdin=json.dumps(sent), as_whom=scene.keeper)
    scene.cluster.wait_for(f"csr/{name}", "condition=Denied")
    [condition] = scene.cluster.get("csr", name)["status"]["conditions"]
    assert "another one asks" in condition["message"]
    patch = {"status": {"keyURI": "pkcs11:object=mine"}}
    with (
        ApiClient(KubeConfig.from_file(scene.keeper).get()) as keeper,
        pytest.raises(ApiError, match="its own node only"),
    ):
        keeper.patch(
            HardwareCertificate.Status, "elsewhere", patch, namespace=scene.namespace, patch_type=PatchType.MERGE
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--audience=https://kubernetes.default.svc",), "audience parsec only"),
        ((), "audience parsec only"),
        (("--audience=parsec", "--audience=other"), "audience parsec only"),
        (("--audience=parsec", "--duration=1h"), "at most 10 minutes"),
    ],
)
def test_a_keeper_becomes_nobody_for_the_api_server(scene: Scene, options: tuple[str, ...], words: str) -> None:
    with pytest.raises(KubectlError, match=words):
        scene.cluster.kubectl("create", "token", "till", "-n", scene.namespace, *options, as_whom=scene.keeper)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"commonName": "system:admin"}, "the cluster's own"),
        ({"organizations": ["system:masters"]}, "the cluster's own"),
        ({"commonName": ""}, "at least one of dnsNames"),
        ({"keyAlgorithm": "RSA-2048"}, "Unsupported value"),
        ({"duration": "1d"}, "spec.duration"),
    ],
)
def test_the_schema_refuses_what_could_never_be(deployed: Cluster, spec: dict[str, Any], words: str) -> None:
    wish = {
        "apiVersion": "edgeroot.dev/v1alpha1",
        "kind": "HardwareCertificate",
        "metadata": {"name": "bad", "namespace": "default"},
        "spec": {"nodeName": "n", "serviceAccountName": "a", "signerName": SIGNER, "commonName": "x", **spec},
    }
    with pytest.raises(KubectlError, match=words):
        deployed.create(wish)
