"""A certificate for a key in hardware: real API server and signer, real verifier, secure world, service and commands.

The node is an object of the API server: no kubelet runs on it.
"""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from lightkube import ApiError, Client, KubeConfig
from lightkube.types import PatchType

from edgeroot.client import templates
from edgeroot.client.keys import EcServiceKey, RsaServiceKey
from edgeroot.edge.certificates.approval import CERTIFICATE_ANNOTATION, RESULT_ANNOTATION
from edgeroot.edge.certificates.request import make_request
from edgeroot.edge.certificates.resource import read
from edgeroot.edge.kinds import HardwareCertificate
from peers.kubernetes import Cluster, KubectlError
from tests.support.cluster_accounts import running_edge
from tests.support.hardware_certificates import SIGNER, Scene, deploy_certificates, running_scene, say_state

PSS: Final = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)


@pytest.fixture(scope="module")
def deployed(cluster: Cluster) -> Cluster:
    deploy_certificates(cluster)
    return cluster


@pytest.fixture(scope="module")
def everything(deployed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """All that runs, once; each test has a namespace of its own."""
    folder = tmp_path_factory.mktemp("certificates")
    with (
        running_scene(deployed, folder) as one,
        running_edge(one.keeper, folder, *one.keeping),
        running_edge(one.approver, folder, *one.approving),
    ):
        yield one


@pytest.fixture
def scene(everything: Scene) -> Scene:
    return everything.in_new_namespace()


def test_a_workload_gets_a_certificate_for_a_key_that_never_left_the_node(scene: Scene) -> None:
    scene.wish("till")
    assert scene.condition("till", "Issued")["status"] == "True"
    content = scene.published("till")
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


def test_a_key_of_rsa(scene: Scene) -> None:
    scene.wish("till", keyAlgorithm="RSA-2048")
    assert scene.condition("till", "Issued")["status"] == "True"
    leaf = x509.load_pem_x509_certificate(scene.published("till")["tls.crt"].encode())
    public_key = leaf.public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    with scene.as_till() as client:
        assert client.public_key("till") == public_key
        key = client.private_key("till")
        assert isinstance(key, RsaServiceKey)
        signature = key.sign(b"receipt", PSS, hashes.SHA256())
    public_key.verify(signature, b"receipt", PSS, hashes.SHA256())


def test_a_key_that_was_brought_along_gets_none(scene: Scene) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_numbers().private_value.to_bytes(32)
    with scene.as_till() as client:
        client.import_key("till", templates.ecdsa_p256(), private)
    scene.wish("till")
    assert "never let it out" in scene.condition("till", "Failed")["message"]


def test_a_node_that_is_not_in_trust_gets_none(scene: Scene) -> None:
    say_state(scene.cluster, scene.node, "Contraindicated")
    try:
        scene.wish("till")
        assert f"the node {scene.node} is Contraindicated" in scene.condition("till", "Failed")["message"]
    finally:
        say_state(scene.cluster, scene.node, "Affirmed")


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
        Client(KubeConfig.from_file(scene.keeper).get()) as keeper,
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
        ({"keyAlgorithm": "RSA-1024"}, "Unsupported value"),
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
