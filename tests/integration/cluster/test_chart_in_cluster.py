"""All parts of the chart as pods on a genuine node, which they affirm; then the chart goes, and its marks with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from peers import PeersUnavailableError
from peers.helm import Helm
from peers.kubernetes import NODE, Cluster
from scripts.build_image import build_image
from tests.support.cluster import new_namespace, restricted_namespace, running_cluster
from tests.support.edge_nodes import Nodes, until
from tests.support.requirements import require_root, unavailable

# The image is built first, from packages that may have to be fetched.
pytestmark = pytest.mark.timeout(600)

CHART: Final = Path(__file__).parents[3] / "deploy/helm/edgeroot"
REPOSITORY: Final = "edgeroot.dev/edgeroot"
TAG: Final = "cluster"
NAMESPACE: Final = "edgeroot-system"
VERIFIER: Final = "edgeroot-verifier"
SIGNER: Final = "kubernetes.io/kube-apiserver-client"
IN_CLUSTER: Final = ("controller", "verifier", "enrolment", "certificates", "firmware")
WAIT_S: Final = 120.0
# The one node is an edge node, where these would not run, and is tainted meanwhile.
_ANYWHERE: Final = {"affinity": {"nodeAffinity": None}, "tolerations": [{"operator": "Exists"}]}
VALUES: Final[dict[str, Any]] = {
    "image": {"repository": REPOSITORY, "tag": TAG},
    "attestation": {"caConfigMap": "verifier-ca"},
    "node": {"slots": 2, "agent": {"intervalSeconds": 5}},
    "controller": {**_ANYWHERE, "replicas": 1},
    "verifier": {"enabled": True, "policy": 'lifecycles = ["unknown"]\n', "tolerations": _ANYWHERE["tolerations"]},
    "enrolment": {**_ANYWHERE, "enabled": True},
    "certificates": {**_ANYWHERE, "enabled": True, "signers": [SIGNER]},
    "firmware": {**_ANYWHERE, "enabled": True},
}


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _certificate(key: ec.EllipticCurvePrivateKey) -> str:
    """For the verifier, as pods call it and as this machine reaches it."""
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, VERIFIER)]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    names = [x509.DNSName(f"{VERIFIER}.{NAMESPACE}.svc"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    made = builder.add_extension(x509.SubjectAlternativeName(names), False).sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def _object(kind: str, name: str, **content: object) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, **content}


class Site:
    """The operator's folder: keys, tokens, and what the parts find in the cluster before they start."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        signing, serving = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(serving)
        (folder / "ca.pem").write_text(certificate)
        token, viewer = os.urandom(32).hex(), os.urandom(32).hex()
        (folder / "token").write_text(token)
        public = signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        tls = {"tls.crt": certificate, "tls.key": _pem(serving)}
        secret = {"sign.pem": _pem(signing), "provisioning.token": token, "viewer.token": viewer}
        self.prepared = (
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            _object("Secret", VERIFIER, stringData=secret),
            _object("Secret", "edgeroot-viewer", stringData={"token": viewer}),
            _object("Secret", "edgeroot-verifier-tls", type="kubernetes.io/tls", stringData=tls),
            _object("Secret", "edgeroot-enrolment-tls", type="kubernetes.io/tls", stringData=tls),
            _object("ConfigMap", "verifier-ca", data={"ca.crt": certificate}),
            _object("ConfigMap", "edgeroot-verifier-key", data={"verifier.pem": public}),
            self._volume(),
        )

    def _volume(self) -> dict[str, Any]:
        """On the node's own disk: there is nobody who makes volumes here."""
        place = self.cluster.folder / "lib/edgeroot-verifier"
        place.mkdir()
        there = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]}
        spec = {
            "capacity": {"storage": "2Gi"},
            "accessModes": ["ReadWriteOnce"],
            "local": {"path": "/var/lib/edgeroot-verifier"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [there]}},
        }
        return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": VERIFIER}, "spec": spec}

    def pod(self, component: str) -> dict[str, Any]:
        where = ("-n", NAMESPACE, "-l", f"app.kubernetes.io/component={component}")
        found: list[dict[str, Any]] = self.cluster.get("pods", *where)["items"]
        return found[0] if found else {}

    def is_ready(self, component: str) -> bool:
        conditions = self.pod(component).get("status", {}).get("conditions", [])
        return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)

    def in_service(self, *arguments: str) -> str:
        """What a command says beside the node's service, as its user."""
        where = ("ds/edgeroot-node", "-n", NAMESPACE, "-c", "service")
        return self.cluster.kubectl("exec", *where, "--", "edgeroot", *arguments)

    def run(self, *arguments: str) -> str:
        """A command of this machine, which finds the node's service."""
        command = [sys.executable, "-m", "edgeroot", *arguments]
        socket = self.cluster.folder / "run/edgeroot/local/parsec.sock"
        environment = {**os.environ, "PARSEC_SERVICE_ENDPOINT": f"unix:{socket}"}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def endorse(self) -> str:
        """Take down what the node's device is and runs, hand it in, and say which device it is."""
        challenge = os.urandom(32).hex()
        token = json.loads(self.in_service("--json", "attestation-token", "--challenge", challenge))
        (self.folder / "setup.cbor").write_bytes(b64decode(token["token_base64"]))
        key = ("secure-world", "attestation-key", "--world-socket", "/run/edgeroot/world/spm.sock")
        (self.folder / "device.pem").write_text(self.in_service(*key))
        named = ("--challenge", challenge, "--key", "device.pem", "-o", "device.corim")
        told = json.loads(self.run("--json", "verifier", "endorse", "setup.cbor", *named))
        with self.cluster.forwarded(f"deploy/{VERIFIER}", 8443, "-n", NAMESPACE) as port:
            url = ("--url", f"https://127.0.0.1:{port}", "--ca-file", "ca.pem", "--token-file", "token")
            self.run("verifier", "submit", "device.corim", *url)
        return str(told["instance_id_hex"])

    def state(self) -> str:
        return self.cluster.kubectl("get", "pods", "-n", NAMESPACE, "-o", "wide")


@pytest.fixture(scope="module")
def helm() -> Helm:
    try:
        return Helm.ready()
    except PeersUnavailableError as error:
        unavailable(str(error))


@pytest.fixture(scope="module")
def site(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The chart is installed, and the verifier has its name."""
    require_root("run containers")
    folder = tmp_path_factory.mktemp("chart")
    archive = build_image(folder / "edgeroot.tar", reference=f"{REPOSITORY}:{TAG}")
    with running_cluster(node=True) as cluster:
        assert cluster.node is not None
        cluster.node.add_image(archive)
        cluster.kubectl(
            "label", "node", NODE, "edgeroot.dev/edge=true", f"kubernetes.io/hostname={NODE}", "--overwrite"
        )
        one = Site(cluster, folder)
        cluster.apply(*one.prepared)
        (folder / "values.json").write_text(json.dumps(VALUES))
        where = ("--set", f"enrolment.apiServerUrl={cluster.url}")
        _helm(helm, one, "install", "edgeroot", str(CHART), "-f", str(folder / "values.json"), *where)
        address = until(
            lambda: one.pod("verifier").get("status", {}).get("podIP"), "the verifier is there", timeout_s=60
        )
        cluster.node.give_name(VERIFIER, NAMESPACE, address)
        yield one


def _helm(helm: Helm, site: Site, *arguments: str) -> None:
    environment = {"KUBECONFIG": str(site.cluster.kubeconfig)}
    done = helm.run(*arguments, "-n", NAMESPACE, env=environment, timeout_s=2 * WAIT_S)
    assert done.returncode == 0, done.stderr + site.state()


def test_a_node_is_affirmed_by_what_runs_as_pods(site: Site) -> None:
    for component in ("node", *IN_CLUSTER):
        until(partial(site.is_ready, component), f"{component} is ready", timeout_s=WAIT_S)
    with Nodes.of(site.cluster) as nodes:
        nodes.edge(NODE, site.endorse())
        nodes.until_state(NODE, "Affirmed", timeout_s=60)
        assert nodes.label(NODE) == "true"
        assert nodes.taints(NODE) == set()


def test_what_runs_in_the_cluster_is_restricted(site: Site) -> None:
    namespace = restricted_namespace(site.cluster)
    looked_up = {"serviceAccount", "serviceAccountName", "priority", "priorityClassName", "nodeName"}
    for component in IN_CLUSTER:
        spec = {name: value for name, value in site.pod(component)["spec"].items() if name not in looked_up}
        metadata = {"name": component, "namespace": namespace}
        wanted = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        site.cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(wanted))


def test_a_certificate_comes_of_keeper_and_approver_as_pods(site: Site) -> None:
    namespace = new_namespace(site.cluster)
    site.cluster.kubectl("create", "serviceaccount", "till", "-n", namespace)
    spec = {
        "nodeName": NODE,
        "serviceAccountName": "till",
        "signerName": SIGNER,
        "commonName": f"edgeroot:{namespace}:till",
        "usages": ["digital signature", "client auth"],
    }
    kind = {"apiVersion": "edgeroot.dev/v1alpha1", "kind": "HardwareCertificate"}
    site.cluster.create({**kind, "metadata": {"name": "till", "namespace": namespace}, "spec": spec})
    site.cluster.wait_for("configmap/till", r"jsonpath={.data.tls\.crt}", "-n", namespace)
    published = site.cluster.get("configmap", "till", "-n", namespace)["data"]["tls.crt"]
    leaf = x509.load_pem_x509_certificate(published.encode())
    assert leaf.subject.rfc4514_string() == f"CN=edgeroot:{namespace}:till"


def test_the_device_enrols_as_the_node_that_it_is(site: Site) -> None:
    with site.cluster.forwarded("deploy/edgeroot-enrolment", 8444, "-n", NAMESPACE) as port:
        url = f"https://127.0.0.1:{port}"
        site.run("edge", "enrol", url, "--ca-file", "ca.pem", "--directory", "node", "--retry-for", "0")
    kubeconfig = site.folder / "node/kubelet.conf"
    said = json.loads(site.cluster.kubectl("auth", "whoami", "-o", "json", as_whom=kubeconfig))
    assert said["status"]["userInfo"]["username"] == f"system:node:{NODE}"


def test_who_uninstalls_gets_nodes_without_our_marks(site: Site, helm: Helm) -> None:
    with Nodes.of(site.cluster) as nodes:
        nodes.node("other")
        nodes.edge("other", "ab" * 33)
        until(lambda: nodes.taints("other"), "a node that has proved nothing is tainted")
        assert nodes.label(NODE) == "true"

        _helm(helm, site, "uninstall", "edgeroot", "--wait")

        assert nodes.taints("other") == nodes.taints(NODE) == set()
        assert nodes.label(NODE) is None
        until(lambda: not site.cluster.get("pods", "-n", NAMESPACE)["items"], "no pod is left", timeout_s=WAIT_S)
