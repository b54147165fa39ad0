"""Pods on a genuine node use keys of the real service: kubelet, device plugin, API server and image are all real."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

from peers.kubernetes import NODE, Cluster
from peers.kubernetes.control_plane import ISSUER
from scripts.build_image import build_image
from tests.support.cluster import (
    AUDIENCE,
    TOKEN_FILE,
    output_of_pod,
    restricted_namespace,
    restricted_pod,
    sign_command,
    signer_of,
)
from tests.support.service import Service, running_service

# The image is built first, from packages that may have to be fetched.
pytestmark = pytest.mark.timeout(300)

IMAGE = "edgeroot.dev/edgeroot:test"
RESOURCE = "edgeroot.dev/parsec"
SLOTS = 3
_WAIT_S = 30.0
_LISTENER = f'authenticators = ["JwtSvid"]\nslots = {SLOTS}'
_AUTHENTICATOR = """
[authenticator]
auth_type = "JwtSvid"
[authenticator.kubernetes]
issuer = "{issuer}"
api_server = "{api_server}"
ca_file = "{ca_file}"
token_file = "{folder}/credential"
jwks_file = "{folder}/cluster/jwks.json"
pod_resources = "unix:{folder}/holders.sock"
"""


@dataclass
class Site:
    """A node whose pods may ask for slots of a service."""

    cluster: Cluster
    service: Service
    plugin: subprocess.Popen[bytes]
    namespace: str

    def account(self, name: str) -> str:
        metadata = {"name": name, "namespace": self.namespace}
        self.cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
        return name

    def pod(self, name: str, command: str, *, account: str, slots: int = 1) -> dict[str, Any]:
        limits = {RESOURCE: str(slots)} if slots else {}
        return restricted_pod(
            name,
            self.namespace,
            ["sh", "-c", command],
            image=IMAGE,
            limits=limits,
            service_account=account,
            token_audience=AUDIENCE,
        )

    def allocatable(self) -> int:
        return int(self.cluster.get("node", NODE)["status"]["allocatable"].get(RESOURCE, "0"))

    def until_allocatable(self, slots: int) -> None:
        deadline_s = time.monotonic() + _WAIT_S
        while self.allocatable() != slots:
            assert time.monotonic() < deadline_s, f"{self.allocatable()} slots, not {slots}: {self.plugin_log()}"
            time.sleep(0.2)

    def plugin_log(self) -> str:
        return (self.service.folder / "plugin.log").read_text()


@pytest.fixture(scope="module")
def site(kubelet_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    assert kubelet_cluster.node is not None
    archive = build_image(tmp_path_factory.mktemp("image") / "edgeroot.tar", reference=IMAGE)
    kubelet_cluster.node.add_image(archive)
    namespace = restricted_namespace(kubelet_cluster)
    with ExitStack() as stack:
        service = stack.enter_context(running_service(start=False))
        _configure(service, kubelet_cluster, namespace)
        service.start()
        plugin = stack.enter_context(_running_plugin(service, kubelet_cluster))
        site = Site(kubelet_cluster, service, plugin, namespace)
        site.until_allocatable(SLOTS)
        yield site


def _configure(service: Service, cluster: Cluster, namespace: str) -> None:
    """A listener with slots alone, for tokens that the API server stands by."""
    config = service.config_path.read_text()
    config = config.replace('[authenticator]\nauth_type = "UnixPeerCredentials"\n', "")
    config = config.replace('parsec.sock"\n', f'parsec.sock"\n{_LISTENER}\n', 1)
    config += _AUTHENTICATOR.format(
        issuer=ISSUER, api_server=cluster.url, ca_file=cluster.authority.own.certificate, folder=service.folder
    )
    service.config_path.write_text(config)
    cluster.kubectl("create", "serviceaccount", "edgeroot", "-n", namespace)
    role = f"edgeroot-{namespace}"
    cluster.kubectl("create", "clusterrole", role, "--verb=create", "--resource=tokenreviews.authentication.k8s.io")
    subject = f"--serviceaccount={namespace}:edgeroot"
    cluster.kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", subject)
    credential = service.folder / "credential"
    credential.touch(mode=0o600)
    credential.write_text(cluster.kubectl("create", "token", "edgeroot", "-n", namespace))


@contextmanager
def _running_plugin(service: Service, cluster: Cluster) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "edgeroot", "edge", "device-plugin", "--ping-interval", "0.5"]
    command += ["--slot-directory", str(service.folder / "run/slots")]
    command += ["--kubelet-directory", str(cluster.folder / "lib/kubelet")]
    command += ["--holders-socket", str(service.folder / "holders.sock"), "--holders-group", "0"]
    with (service.folder / "plugin.log").open("wb") as log, subprocess.Popen(command, stderr=log) as plugin:
        try:
            yield plugin
        finally:
            plugin.terminate()


@pytest.mark.smoke
def test_restricted_pod_makes_a_key_and_signs_with_nothing_but_its_token(site: Site) -> None:
    till, camera = site.account("till"), site.account("camera")

    first = output_of_pod(site.cluster, site.pod("till-0", sign_command("a receipt"), account=till))
    again = output_of_pod(site.cluster, site.pod("till-1", sign_command("another"), account=till))
    other = output_of_pod(site.cluster, site.pod("camera-0", sign_command("a picture"), account=camera))

    key = signer_of(first, "a receipt")
    assert signer_of(again, "another") == key
    assert signer_of(other, "a picture") != key
    with pytest.raises(InvalidSignature):
        signer_of(first, "another receipt")


@pytest.mark.smoke
def test_token_is_of_no_use_in_a_pod_that_holds_another_slot(site: Site) -> None:
    robbed, thief = site.account("robbed"), site.account("thief")
    site.cluster.create(site.pod("robbed", "sleep 600", account=robbed))
    site.cluster.wait_for("pod/robbed", "condition=Ready", "-n", site.namespace)
    in_it = ("exec", "robbed", "-n", site.namespace, "--")
    site.cluster.kubectl(*in_it, "edgeroot", "create-ecc-key", "-k", "door")
    token = site.cluster.kubectl(*in_it, "sh", "-c", f"read -r token <{TOKEN_FILE}; echo $token").strip()
    own = "edgeroot list-keys >/dev/null 2>&1 && echo own"
    stolen = "EDGEROOT_TOKEN_FILE=/dev/shm/stolen edgeroot list-keys 2>&1 || echo refused"
    command = f"echo {token} >/dev/shm/stolen; {own}; {stolen}"

    said = output_of_pod(site.cluster, site.pod("thief", command, account=thief))

    assert "door" in site.cluster.kubectl(*in_it, "edgeroot", "list-keys")
    assert said.startswith("own\n")
    assert said.endswith("refused\n")
    assert "door" not in said
    site.cluster.kubectl("delete", "pod", "robbed", "-n", site.namespace, "--now")


def test_pod_without_a_slot_sees_no_service(site: Site) -> None:
    account = site.account("outsider")

    said = output_of_pod(
        site.cluster, site.pod("outsider", "ls /run; edgeroot ping 2>&1 || echo none", account=account, slots=0)
    )

    assert "parsec" not in said.splitlines()
    assert said.endswith("none\n")


def test_slots_are_given_out_again_after_the_kubelet_was_killed(site: Site) -> None:
    assert site.cluster.node is not None
    account = site.account("after-restart")
    taken = site.plugin_log().count("the kubelet knows")

    site.cluster.node.kubelet.kill()
    site.cluster.node.kubelet.start()
    deadline_s = time.monotonic() + _WAIT_S
    while site.plugin_log().count("the kubelet knows") == taken:
        assert time.monotonic() < deadline_s, site.plugin_log()
        time.sleep(0.1)
    site.until_allocatable(SLOTS)
    said = output_of_pod(site.cluster, site.pod("after", sign_command("back"), account=account))

    signer_of(said, "back")


def test_pod_is_refused_two_slots_in_words(site: Site) -> None:
    site.account("greedy")
    site.cluster.create(site.pod("greedy", "true", account="greedy", slots=2))

    site.cluster.wait_for("pod/greedy", "jsonpath={.status.phase}=Failed", "-n", site.namespace)

    status = site.cluster.get("pod", "greedy", "-n", site.namespace)["status"]
    assert status["reason"] == "UnexpectedAdmissionError"
    assert "a container can use one slot and asks for 2" in status["message"]


def test_slots_of_a_service_that_is_gone_are_given_to_nobody(site: Site) -> None:
    site.service.stop()
    site.until_allocatable(0)
    site.service.start()
    site.until_allocatable(SLOTS)
