"""Devices join a genuine cluster, with the service's own account and rights, and what the cluster refuses them."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from copy import copy
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from lightkube import ApiError, Client, KubeConfig
from lightkube.generic_resource import create_global_resource
from lightkube.types import PatchType

from edgeroot.client import Client as ServiceClient
from edgeroot.edge.enrolment.cluster import ApiCluster
from edgeroot.edge.enrolment.errors import AwayError
from edgeroot.edge.enrolment.request import SIGNER, USAGES, make_request
from edgeroot.edge.enrolment.tokens import DEVICE, NODE, OPEN, STATE, BootstrapToken, new_token, secret_data
from peers.kubernetes import Cluster, KubectlError
from peers.kubernetes.build import Programs
from tests.support.cluster_accounts import DEPLOY, account_kubeconfig, deploy
from tests.support.edge_nodes import until
from tests.support.joining import JoiningSite
from tests.support.requirements import require_root
from tests.support.service import SOFTWARE_PROVIDER, Service, running_service
from tests.support.world import World, running_world, with_world

EdgeNode: Final = create_global_resource("edgeroot.dev", "v1alpha1", "EdgeNode", "edgenodes")
RIGHTS: Final = "enrolment-rbac.yaml"
TAINT: Final = {"key": "edgeroot.dev/unattested", "effect": "NoSchedule"}
TOKENS: Final = ("secrets", "-n", "kube-system", "-l", "edgeroot.dev/enrolment=token")


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running_world() as running:
        yield running


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[Service]:
    with running_service(provider=SOFTWARE_PROVIDER + with_world(world)) as one:
        yield one


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[ServiceClient]:
    with service.client(provider=4) as client:
        yield client


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Iterator[Cluster]:
    """With what is applied before the enrolment service runs, and without it afterwards."""
    deploy(cluster, "crds/edgenode.yaml", RIGHTS)
    yield cluster
    cluster.kubectl("delete", "-f", str(DEPLOY / RIGHTS))


@pytest.fixture(scope="module")
def account(prepared: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kubeconfig of the enrolment service's account."""
    return account_kubeconfig(prepared, "edgeroot-enrolment", tmp_path_factory.mktemp("account") / "kubeconfig")


def with_user(cluster: Cluster, path: Path, user: dict[str, str]) -> Path:
    """A kubeconfig of the cluster for this user."""
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = user
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def site(
    tmp_path: Path, prepared: Cluster, account: Path, world: World, service: Service, client: ServiceClient
) -> Iterator[JoiningSite]:
    """Without any EdgeNode of this device."""
    config = json.loads(prepared.kubeconfig.read_text())
    authority = b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
    (tmp_path / "authority.pem").write_bytes(authority)
    one = JoiningSite(tmp_path, account, prepared.url, service, world)
    one.endorse(client)
    yield one
    prepared.kubectl("delete", "edgenodes", "--all")
    prepared.kubectl("delete", "csr", "--all")
    prepared.kubectl("delete", *TOKENS)


def name_node(cluster: Cluster, device: str) -> str:
    """As an operator does."""
    name = f"gate-{uuid.uuid4().hex[:8]}"
    cluster.apply(edge_node(name, device))
    return name


def edge_node(name: str, device: str) -> dict[str, Any]:
    return {
        "apiVersion": "edgeroot.dev/v1alpha1",
        "kind": "EdgeNode",
        "metadata": {"name": name},
        "spec": {"device": device},
    }


def node(name: str, *taints: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"taints": list(taints)}}


def request(name: str, node_name: str, signer: str = SIGNER) -> tuple[dict[str, Any], ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    spec = {"request": b64encode(make_request(node_name, key)).decode(), "signerName": signer, "usages": list(USAGES)}
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": spec,
    }, key


def bootstrap_token(site: JoiningSite) -> str:
    config = json.loads((site.folder / "node" / "edgeroot-bootstrap.conf").read_text())
    token: str = config["users"][0]["user"]["token"]
    return token


def identity(cluster: Cluster, who: Path) -> str:
    said = json.loads(cluster.kubectl("auth", "whoami", "-o", "json", as_whom=who))
    name: str = said["status"]["userInfo"]["username"]
    return name


def until_refused(cluster: Cluster, wanted: dict[str, Any], words: str, who: Path | None = None) -> None:
    """Policies take effect a moment after they were made. Nothing is created."""
    deadline_s = time.monotonic() + 20
    while True:
        try:
            cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(wanted), as_whom=who)
        except KubectlError as error:
            if words in str(error):
                return
        assert time.monotonic() < deadline_s, f"it was never refused because {words!r}"
        time.sleep(0.1)


def test_a_device_joins_with_a_key_of_its_own(site: JoiningSite, prepared: Cluster) -> None:
    name = name_node(prepared, site.device)
    with site.enrolment() as url:
        site.enrol(url)
    kubeconfig = site.folder / "node" / "kubelet.conf"
    assert identity(prepared, kubeconfig) == f"system:node:{name}"
    with pytest.raises(KubectlError, match="Forbidden"):
        prepared.kubectl("get", "secrets", "-n", "kube-system", as_whom=kubeconfig)
    until_refused(prepared, node(name), "comes with the taint", kubeconfig)
    prepared.create(node(name, TAINT), as_whom=kubeconfig)
    prepared.kubectl("delete", "node", name)


def test_a_device_names_itself_where_that_is_allowed(site: JoiningSite, prepared: Cluster) -> None:
    with site.enrolment("--admit-affirmed") as url:
        prepared.create(node("edge-other"))
        assert "a node edge-other already" in site.enrol(url, "--node-name", "edge-other", code=3)
        prepared.kubectl("delete", "node", "edge-other")
        site.enrol(url, "--node-name", "edge-mine")
        assert "is the node edge-mine" in site.enrol(url, "--node-name", "edge-2", "--force", code=3)
    assert identity(prepared, site.folder / "node" / "kubelet.conf") == "system:node:edge-mine"
    assert prepared.get("edgenode", "edge-mine")["spec"] == {"device": site.device}


def test_a_bootstrap_token_makes_one_node_once(site: JoiningSite, prepared: Cluster) -> None:
    name = name_node(prepared, site.device)
    bootstrap = site.folder / "node" / "edgeroot-bootstrap.conf"
    with site.enrolment() as url:
        site.enrol(url, "--output", "kubeadm")
        first = with_user(prepared, site.folder / "first", {"token": bootstrap_token(site)})
        assert identity(prepared, first).startswith("system:bootstrap:")
        site.enrol(url, "--output", "kubeadm", "--force")
        assert unauthorised(prepared, first)
        wanted, key = request("first", name)
        prepared.create(wanted, as_whom=bootstrap)
        prepared.wait_for("csr/first", "jsonpath={.status.certificate}", timeout_s=20)
        certificate = prepared.get("csr", "first")["status"]["certificate"]
        assert identity(prepared, of_certificate(prepared, site.folder, certificate, key)) == f"system:node:{name}"
        assert unauthorised(prepared, bootstrap)
        site.enrol(url, "--output", "kubeadm", "--force")
        prepared.create(request("other", "control-plane-1")[0], as_whom=bootstrap)
        prepared.wait_for("csr/other", "condition=Denied", timeout_s=20)
        assert "the token is for node" in prepared.get("csr", "other")["status"]["conditions"][0]["message"]
        assert unauthorised(prepared, bootstrap)
    assert prepared.get(*TOKENS)["items"] == []


def test_a_genuine_kubelet_bootstraps(site: JoiningSite, prepared: Cluster) -> None:
    """It makes its own key and request, waits for the certificate, and then ends for want of a container runtime."""
    require_root("run a kubelet")
    name = name_node(prepared, site.device)
    told = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "rotateCertificates": False,
        "containerRuntimeEndpoint": f"unix://{site.folder}/none.sock",
    }
    (site.folder / "kubelet.json").write_text(json.dumps(told))
    kubeconfig = site.folder / "kubelet.kubeconfig"
    with site.enrolment() as url:
        site.enrol(url, "--output", "kubeadm")
        options = {
            "config": site.folder / "kubelet.json",
            "bootstrap-kubeconfig": site.folder / "node" / "edgeroot-bootstrap.conf",
            "kubeconfig": kubeconfig,
            "cert-dir": site.folder / "pki",
            "root-dir": site.folder / "kubelet",
            "hostname-override": name,
        }
        kubelet = (str(Programs.ready().kubernetes), "kubelet")
        arguments = [f"--{option}={value}" for option, value in options.items()]
        done = subprocess.run([*kubelet, *arguments], capture_output=True, text=True, timeout=90, check=False)
    assert kubeconfig.exists(), done.stderr[-3000:]
    assert identity(prepared, kubeconfig) == f"system:node:{name}"
    assert prepared.get(*TOKENS)["items"] == []


@pytest.mark.timeout(300)
def test_the_only_service_is_killed_while_devices_join(site: JoiningSite, prepared: Cluster) -> None:
    name = f"edge-{uuid.uuid4().hex[:8]}"
    bootstrap = site.folder / "node" / "edgeroot-bootstrap.conf"
    asking = ("--node-name", name, "--force", "--retry-for", "120", "--output")
    number = 0
    with site.killed_enrolment("--admit-affirmed", lives_s=(1.2, 3.2)) as (url, services):
        while services.kills < 8:
            site.enrol(url, *asking, "kubelet")
            assert identity(prepared, site.folder / "node" / "kubelet.conf") == f"system:node:{name}"
            site.enrol(url, *asking, "kubeadm")
            number += 1
            first, second = (f"{name}-{number}-{which}" for which in ("first", "second"))
            for which in (first, second):
                prepared.create(request(which, name)[0], as_whom=bootstrap)
            prepared.wait_for(f"csr/{first}", "jsonpath={.status.conditions}", timeout_s=60)
            prepared.wait_for(f"csr/{second}", "jsonpath={.status.conditions}", timeout_s=60)
            decided = [prepared.get("csr", one)["status"]["conditions"][0]["type"] for one in (first, second)]
            assert sorted(decided) == ["Approved", "Denied"]
        services.spare()
        assert unauthorised(prepared, bootstrap)
        until(lambda: not prepared.get(*TOKENS)["items"], "no token is left")
    [found] = [one for one in prepared.get("edgenodes")["items"] if one["spec"]["device"] == site.device]
    assert found["metadata"]["name"] == name


def unauthorised(cluster: Cluster, who: Path) -> bool:
    """Whether the token counts no more; the API server forgets it a moment after its Secret is gone."""
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        try:
            identity(cluster, who)
        except KubectlError as error:
            if "Unauthorized" in str(error) or "provide credentials" in str(error):
                return True
            raise
        time.sleep(0.1)
    return False


def of_certificate(cluster: Cluster, folder: Path, certificate: str, key: ec.EllipticCurvePrivateKey) -> Path:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    user = {"client-certificate-data": certificate, "client-key-data": b64encode(pem).decode()}
    return with_user(cluster, folder / "joined", user)


def test_an_expired_token_is_nobodys(site: JoiningSite, prepared: Cluster) -> None:
    """Also where the service's own rights made it, and before Kubernetes has cleaned it up."""
    name = name_node(prepared, site.device)
    token = new_token(int(time.time()) - 1)
    prepared.create(secret(token, name, site.device))
    assert unauthorised(prepared, with_user(prepared, site.folder / "late", {"token": token.text()}))


def secret(token: BootstrapToken, node_name: str, device: str, **changes: object) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": f"bootstrap-token-{token.token_id}",
            "namespace": "kube-system",
            "labels": {"edgeroot.dev/enrolment": "token"},
        },
        "type": "bootstrap.kubernetes.io/token",
        "data": secret_data(token, node_name=node_name, device=device),
        **changes,
    }


def test_a_contraindicated_device_gets_nothing(site: JoiningSite, prepared: Cluster) -> None:
    name_node(prepared, site.device)
    with site.enrolment(policy="") as url:
        assert "contraindicated" in site.enrol(url, "--output", "kubeadm", code=3)
    assert prepared.get(*TOKENS)["items"] == []


def test_another_device_does_not_get_the_node(site: JoiningSite, prepared: Cluster) -> None:
    name = name_node(prepared, site.device)
    with ExitStack() as stack:
        url = stack.enter_context(site.enrolment("--admit-affirmed", "--names", "*"))
        other = stack.enter_context(running_world())
        stranger = copy(site)
        stranger.world = other
        stranger.service = stack.enter_context(running_service(provider=SOFTWARE_PROVIDER + with_world(other)))
        stranger.endorse(stack.enter_context(stranger.service.client(provider=4)))
        stranger.submit()
        assert f"{name} belongs to another device" in stranger.enrol(url, "--node-name", name, code=3)


def test_no_tokens_where_the_cluster_approves_whatever_comes(site: JoiningSite, prepared: Cluster) -> None:
    role = "system:certificates.k8s.io:certificatesigningrequests:nodeclient"
    name_node(prepared, site.device)
    with site.enrolment() as url:
        prepared.kubectl(
            "create", "clusterrolebinding", "open", f"--clusterrole={role}", "--group=system:bootstrappers"
        )
        try:
            assert "approves what comes with bootstrap tokens" in site.enrol(url, "--output", "kubeadm", code=1)
        finally:
            prepared.kubectl("delete", "clusterrolebinding", "open")
    assert prepared.get(*TOKENS)["items"] == []


def test_what_the_services_account_may_not(site: JoiningSite, prepared: Cluster, account: Path) -> None:
    """If the service were taken over, this is what holds."""
    name = name_node(prepared, site.device)
    token = new_token(int(time.time()) + 600)
    with pytest.raises(KubectlError, match="Forbidden"):
        prepared.kubectl("get", "secrets", "-n", "kube-system", as_whom=account)
    until_refused(prepared, secret(token, name, site.device, type="Opaque"), "expire, for those who join", account)
    masters = secret(token, name, site.device)
    masters["data"]["auth-extra-groups"] = b64encode(b"system:bootstrappers:kubeadm:default-node-token").decode()
    until_refused(prepared, masters, "expire, for those who join", account)
    until_refused(prepared, request("x", name, "kubernetes.io/kube-apiserver-client")[0], "no other", account)
    foreign = new_token(int(time.time()) + 600)
    unlabelled = secret(foreign, name, site.device)
    unlabelled["metadata"] |= {"labels": {}, "annotations": {STATE: OPEN, NODE: name, DEVICE: site.device}}
    prepared.create(unlabelled)
    with Client(KubeConfig.from_file(account)) as client:
        cluster = ApiCluster(client)
        for change in (
            lambda: cluster.claim(foreign.token_id, "uid"),
            lambda: cluster.drop(foreign.token_id),
            lambda: client.patch(EdgeNode, name, {"spec": {"device": "00"}}, patch_type=PatchType.MERGE),
        ):
            with pytest.raises((AwayError, ApiError), match="the enrolment service"):
                change()
    renewing = prepared.identify("system:node:renewing", groups=["system:nodes"])
    prepared.create(request("stranger", "renewing")[0], as_whom=renewing)
    with pytest.raises(KubectlError, match="of those who join, and its own"):
        prepared.kubectl("certificate", "approve", "stranger", as_whom=account)
    prepared.kubectl("delete", "secret", f"bootstrap-token-{foreign.token_id}", "-n", "kube-system")


def test_what_a_token_may_not(site: JoiningSite, prepared: Cluster) -> None:
    name = name_node(prepared, site.device)
    with site.enrolment() as url:
        site.enrol(url, "--output", "kubeadm")
        bootstrap = site.folder / "node" / "edgeroot-bootstrap.conf"
        wanted = request("x", name, "kubernetes.io/kube-apiserver-client")[0]
        until_refused(prepared, wanted, "for no other", bootstrap)
        for command in (("get", "nodes"), ("get", "edgenodes"), ("get", "secrets", "-n", "kube-system")):
            with pytest.raises(KubectlError, match="Forbidden"):
                prepared.kubectl(*command, as_whom=bootstrap)
