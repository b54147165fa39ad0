"""A fleet on a genuine Kubernetes: nodes join by proof, one is tampered with, and a release brings it back.

Every command is printed, run, and held to what the story says. One node has a real kubelet that runs pods; the other
has none, and pods are bound to it without being started. The devices are emulated secure worlds. Nothing stays behind.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from edgeroot.abi.mcuboot import Version, decode_image
from edgeroot.secure.boot.signing import SigningKey, sign_image
from examples.edge_parts import SLOTS, Device, EmulatedKubelet, Story, UnexpectedError, until
from peers import PeersUnavailableError
from peers.kubernetes import BUSYBOX, NODE, Cluster, ComponentError
from scripts.build_image import build_image
from tests.support.browser import Browser, open_browser
from tests.support.cluster import AUDIENCE, restricted_pod, sign_command, signer_of
from tests.support.cluster_accounts import SYSTEM, account_kubeconfig, deploy
from tests.support.edge_nodes import deploy_edge

SECOND: Final = "node-2"
IMAGE: Final = "edgeroot.dev/edgeroot:demo"
RESOURCE: Final = "edgeroot.dev/parsec"
ATTESTED: Final = "edgeroot.dev.node-restriction.kubernetes.io/attested"
WORDS: Final = b"The crypto partition: PSA Crypto for its callers"
MESSAGE: Final = "a receipt"
INTERVAL_S: Final = 3


class Fleet:
    """Two devices, who judges them, and the cluster that they are nodes of."""

    def __init__(self, story: Story, running: ExitStack, pictures: Path) -> None:
        self.story = story
        self.cluster = story.cluster
        self.running = running
        self.first, self.second = Device.make(story, NODE), Device.make(story, SECOND)
        self.namespace = "shop"
        self.url = ""
        self.viewer = ""
        self._pictures = pictures
        self._browser: Browser | None = None

    def account(self, name: str) -> Path:
        return account_kubeconfig(self.cluster, name, self.story.folder / f"{name}.kubeconfig")

    def picture(self, name: str, place: str = "#/") -> None:
        """What the verifier's page shows now."""
        if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
            print("\n  (no picture of the verifier's page: chromium and chromium-driver are not installed)")
            return
        if self._browser is None:
            self._browser = self.running.enter_context(open_browser())
            self._browser.resize((1000, 560))
            self._browser.driver.get(self.url)
            self._browser.run("sessionStorage.setItem('edgeroot.viewer-token', arguments[0])", self.viewer)
        browser = self._browser
        browser.driver.get(f"{self.url}/{place}")
        browser.driver.refresh()
        ready = "return !document.querySelector('main[aria-busy]') && document.querySelector('main h1') !== null"
        until(lambda: bool(browser.run(ready)), "the page is there")
        path = self._pictures / f"{name}.png"
        browser.driver.save_screenshot(str(path))
        print(f"\n  # the verifier's page: {path}")

    def edge_node(self, name: str) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self.cluster.get("edgenode", name).get("status") or {}
        return status

    def until_state(self, name: str, state: str, *, version: str = "", timeout_s: float = 60.0) -> None:
        def seen() -> bool:
            status = self.edge_node(name)
            parts = status.get("appraisal", {}).get("firmware", [])
            runs = {one["version"] for one in parts if one["component"] == "manager"}
            return status.get("state") == state and (not version or runs == {version})

        until(seen, f"{name} is {state} {version}", timeout_s=timeout_s)

    def on_node(self, device: Device) -> Path:
        """The kubeconfig of what runs on a node for it: bound to a pod there, which tolerates every taint."""
        name = f"agent-{device.name}"
        pod = restricted_pod(name, SYSTEM, ["sleep", "3600"], service_account="edgeroot-agent")
        pod["spec"] |= {"nodeName": device.name, "tolerations": [{"operator": "Exists"}]}
        uid = self.cluster.create(pod)["metadata"]["uid"]
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={name}", f"--bound-object-uid={uid}")
        return account_kubeconfig(self.cluster, "edgeroot-agent", device.folder / "agent.kubeconfig", *bound)

    def node_of(self, pod: str) -> str:
        """Where a pod was scheduled to, if it was."""
        return str(self.cluster.get("pod", pod, "-n", self.namespace)["spec"].get("nodeName", ""))

    def is_refused(self, pod: str) -> bool:
        status = self.cluster.get("pod", pod, "-n", self.namespace)["status"]
        return any(one.get("reason") == "Unschedulable" for one in status.get("conditions", []))

    def workload(self, name: str, command: str, *, node: str = "", image: str = IMAGE) -> None:
        """A restricted pod with a slot, for affirmed nodes only; with ``node`` for that one."""
        pod = restricted_pod(
            name,
            self.namespace,
            ["sh", "-c", command],
            image=image,
            limits={RESOURCE: "1"},
            service_account="till",
            token_audience=AUDIENCE,
        )
        where = {"kubernetes.io/hostname": node} if node else {}
        pod["spec"]["nodeSelector"] = {ATTESTED: "true", **where}
        self.cluster.create(pod)
        print(f"\n  # pod {name}: uid 1000, one slot, a token; nodeSelector {pod['spec']['nodeSelector']}", flush=True)


def prepared(fleet: Fleet) -> None:
    story, cluster = fleet.story, fleet.cluster
    story.tell(
        """1. A maker signs firmware, and two devices get it. They are emulated secure worlds, each with fuses, flash
        and a key of its own; on each runs the service. A verifier takes down both."""
    )
    story.run(
        "openssl genpkey -algorithm ed25519 -out maker.pem && openssl pkey -in maker.pem -pubout -out maker.pub.pem"
    )
    story.run("edgeroot device build-images --key maker.pem --version 1.0.0 --security-counter 1 release-1.0.0")
    deploy_edge(cluster)
    deploy(cluster, "crds/edgefirmware.yaml", "firmware-rbac.yaml", "enrolment-rbac.yaml")
    _let_service_review(fleet)
    fleet.first.boot(story, pods=True)
    fleet.second.boot(story, pods=False)
    story.run(
        "openssl ecparam -name prime256v1 -genkey -noout -out sign.pem"
        " && openssl pkey -in sign.pem -pubout -out verify.pem"
    )
    story.secret("provisioning.token")
    fleet.viewer = story.secret("viewer.token")
    said = story.in_background(
        "verifier",
        "edgeroot verifier serve --store fleet.db --sign sign.pem --port 0 --provisioning-token-file provisioning.token"
        " --viewer-token-file viewer.token",
        ready="listening on ",
    )
    fleet.url = said.rpartition(" ")[2]
    for device in (fleet.first, fleet.second):
        device.set_up(story)
        story.run(
            f"edgeroot verifier submit {device.name}/device.corim --url {fleet.url} --token-file provisioning.token"
        )


def _let_service_review(fleet: Fleet) -> None:
    """The account by which the service of the first node has tokens judged."""
    cluster = fleet.cluster
    cluster.kubectl("create", "serviceaccount", "edgeroot", "-n", SYSTEM)
    review = ("--verb=create", "--resource=tokenreviews.authentication.k8s.io")
    cluster.kubectl("create", "clusterrole", "edgeroot-service", *review)
    subject = f"--serviceaccount={SYSTEM}:edgeroot"
    cluster.kubectl("create", "clusterrolebinding", "edgeroot-service", "--clusterrole=edgeroot-service", subject)
    credential = fleet.first.folder / "service-account.token"
    credential.touch(mode=0o600)
    credential.write_text(cluster.kubectl("create", "token", "edgeroot", "-n", SYSTEM))


def watched(fleet: Fleet) -> None:
    story, cluster = fleet.story, fleet.cluster
    story.tell(
        f"""2. A genuine Kubernetes with a controller that lets workloads onto nodes that prove what they run. {NODE}
        has a real kubelet, and edgeroot's device plugin beside it. It has proven nothing yet, and a workload waits."""
    )
    story.in_background(
        "controller",
        f"edgeroot edge controller --verifier {fleet.url} --viewer-token-file viewer.token --probe-port 0",
        as_whom=fleet.account("edgeroot-controller"),
    )
    _name(fleet, fleet.first)
    story.in_background(
        "device-plugin",
        f"edgeroot edge device-plugin --ping-interval 0.5 --slot-directory {fleet.first.folder}/pods/slots"
        f" --kubelet-directory {cluster.folder}/lib/kubelet"
        f" --holders-socket {fleet.first.folder}/holders.sock --holders-group 0",
        on=fleet.first,
    )
    until(
        lambda: cluster.get("node", NODE)["status"]["allocatable"].get(RESOURCE) == str(SLOTS),
        f"{NODE} offers slots: see {fleet.first.folder}/device-plugin.log",
    )
    fleet.until_state(NODE, "Unattested")
    metadata = {"name": fleet.namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    cluster.kubectl("create", "serviceaccount", "till", "-n", fleet.namespace)
    fleet.workload("till", f"{sign_command(MESSAGE)}; sleep 3600")
    until(lambda: fleet.is_refused("till"), "nobody takes the till")
    story.run("kubectl get edgenodes", says="Unattested")
    story.run(f"kubectl get pods -n {fleet.namespace}", says="Pending")


def attested(fleet: Fleet) -> ec.EllipticCurvePublicKey:
    """The public key with which the workload signs."""
    story, cluster = fleet.story, fleet.cluster
    story.tell(
        f"""3. {NODE} proves what it runs: the controller takes off the taint and sets the label. The workload starts,
        and makes a key in the device's secure world, with nothing but its slot and its token."""
    )
    _prove(fleet, fleet.first)
    cluster.wait_for("pod/till", "condition=Ready", "-n", fleet.namespace)
    story.run("kubectl get edgenodes", says="Affirmed")
    key = _signer(fleet, "till")
    print(f"\n  # it made a key in the secure world of {NODE}, and its signature is good", flush=True)
    return key


def joined(fleet: Fleet) -> None:
    story, cluster = fleet.story, fleet.cluster
    story.tell(
        f"""4. {SECOND} joins: it proves itself to the enrolment service and gets a node's certificate for that. It has
        no kubelet; this demo keeps it ready with that certificate. A pod is bound to it, and not started."""
    )
    _name(fleet, fleet.second)
    config = json.loads(cluster.kubeconfig.read_text())
    authority = b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
    (story.folder / "authority.pem").write_bytes(authority)
    said = story.in_background(
        "enrolment",
        f"edgeroot edge enrolment serve --verifier {fleet.url} --verifier-key verify.pem --api-server {cluster.url}"
        " --api-server-ca authority.pem --port 0",
        as_whom=fleet.account("edgeroot-enrolment"),
        ready="http",
    )
    story.run(
        f"edgeroot edge enrol {said.split()[-1]} --directory kubernetes", on=fleet.second, says=f"is node {SECOND}"
    )
    kubelet = fleet.second.folder / "kubernetes" / "kubelet.conf"
    EmulatedKubelet(cluster, SECOND, kubelet).start(fleet.running)
    cluster.wait_for(f"node/{SECOND}", "condition=Ready")
    _prove(fleet, fleet.second)
    fleet.workload("camera", "sleep 3600", node=SECOND, image=BUSYBOX)
    until(lambda: fleet.node_of("camera") == SECOND, f"the camera is bound to {SECOND}")
    if fleet.node_of("till") != NODE:
        raise UnexpectedError("the till is not where it was")
    story.run("kubectl get edgenodes")
    story.run(f"kubectl get pods -n {fleet.namespace} -o wide")
    fleet.picture("edge-affirmed")


def _name(fleet: Fleet, device: Device) -> None:
    """Say, as an operator does, which device is which node."""
    kind = {"apiVersion": "edgeroot.dev/v1alpha1", "kind": "EdgeNode", "metadata": {"name": device.name}}
    fleet.cluster.create({**kind, "spec": {"device": device.device_id}})
    print(f"\n  # EdgeNode {device.name}: device {device.device_id[:16]}...", flush=True)


def _prove(fleet: Fleet, device: Device) -> None:
    """Its agent runs, from now on."""
    kubeconfig = fleet.on_node(device)
    fleet.story.in_background(
        "agent",
        f"edgeroot edge agent --verifier {fleet.url} --node-name {device.name} --interval {INTERVAL_S}",
        on=device,
        as_whom=kubeconfig,
        ready="the verifier says: affirming",
    )
    fleet.until_state(device.name, "Affirmed", version="1.0.0")


def _signer(fleet: Fleet, pod: str) -> ec.EllipticCurvePublicKey:
    """The public key of this pod, once it has signed with it."""
    end = "-----END PUBLIC KEY-----"

    def said() -> str:
        text = fleet.cluster.kubectl("logs", pod, "-n", fleet.namespace)
        return text if text.partition(end)[2].strip() else ""

    try:
        return signer_of(until(said, f"{pod} has signed"), MESSAGE)
    except InvalidSignature as error:
        raise UnexpectedError(f"the signature of {pod} is not by its key") from error


def tampered(fleet: Fleet) -> None:
    story = fleet.story
    story.tell(
        f"""5. Somebody has root on {SECOND}, and the worst luck has it that he has the maker's key, too. He changes a
        byte of the crypto partition, signs it, and installs it as 1.0.1. The device has nothing against that. (Without
        the key it would not even boot: `make demo` shows it.)"""
    )
    _sign_changed(story.folder)
    story.run(
        "edgeroot update publish --repository his --keys his-keys --images changed --product gateway",
        shown=lambda text: "published" in text,
    )
    story.run(
        "edgeroot update install --state his-state --repository ../his --root ../his/metadata/1.root.json"
        " --product gateway",
        on=fleet.second,
        says="installed gateway 1.0.1",
        shown=lambda text: "installed" in text,
    )
    begun_s = time.monotonic()
    story.run("bash restart.sh  # of the secure world", on=fleet.second)
    story.run("edgeroot update accept --without-verdict", on=fleet.second, says="accepted")
    story.tell("It is asked what it runs every few seconds, and cannot lie about that.")

    def is_going() -> bool:
        pods = fleet.cluster.get("pods", "-n", fleet.namespace, "--field-selector=metadata.name=camera")["items"]
        return not pods or "deletionTimestamp" in pods[0]["metadata"]

    until(is_going, "the camera is evicted")
    since_s = time.monotonic() - begun_s
    print(
        f"\n  # the camera is evicted, at most {since_s:.1f} s after the secure world was told to restart", flush=True
    )
    fleet.until_state(SECOND, "Contraindicated")
    story.run("kubectl get edgenodes", says="Contraindicated")
    print(f"    {fleet.edge_node(SECOND)['conditions'][0]['message']}")
    story.run(f"kubectl get node {SECOND} -o jsonpath='{{.spec.taints[*].key}}'", says="contraindicated")
    until(
        lambda: not fleet.cluster.get("pods", "-n", fleet.namespace, "--field-selector=metadata.name=camera")["items"],
        "the camera is gone",
    )
    fleet.workload("camera", "sleep 3600", node=SECOND, image=BUSYBOX)
    until(lambda: fleet.is_refused("camera"), "nobody takes another camera")
    if fleet.node_of("till") != NODE:
        raise UnexpectedError("the till is not where it was")
    print(f"\n  # the till goes on, on {NODE}; another camera waits", flush=True)
    fleet.picture("edge-contraindicated")
    fleet.picture("edge-why", f"#/device/{fleet.second.device_id}")


def _sign_changed(folder: Path) -> None:
    """All images of the release anew, the crypto partition's with one byte changed."""
    key = load_pem_private_key((folder / "maker.pem").read_bytes(), None)
    assert isinstance(key, SigningKey)
    (folder / "changed").mkdir()
    for path in sorted((folder / "release-1.0.0").glob("*.img")):
        body = bytes(decode_image(path.read_bytes()).body).replace(WORDS, b"t" + WORDS[1:], 1)
        (folder / "changed" / path.name).write_bytes(
            sign_image(body, key, version=Version(1, 0, 1), security_counter=1)
        )


def brought_back(fleet: Fleet, key: ec.EllipticCurvePublicKey) -> None:
    story = fleet.story
    story.tell(
        """6. The maker releases 1.1.0 and the verifier is told of it. An EdgeFirmware is the wish that all nodes run
        it: first the one that is in trust, then the other. Each restarts its secure world, and keeps the firmware only
        because the verifier affirms the device with it."""
    )
    story.run("edgeroot device build-images --key maker.pem --version 1.1.0 --security-counter 2 release-1.1.0")
    story.run(
        "edgeroot update publish --repository www --keys roles --images release-1.1.0 --product gateway"
        f" --implementation-id {fleet.first.implementation_id}",
        shown=lambda text: "published" in text,
    )
    story.run(f"edgeroot verifier submit www/gateway-1.1.0.corim --url {fleet.url} --token-file provisioning.token")
    for device in (fleet.first, fleet.second):
        story.run(
            "edgeroot update check --state varlib/edgeroot-update --repository ../www"
            " --root ../www/metadata/1.root.json --product gateway || test $? = 100  # there is something newer",
            on=device,
            says="newer: 1.1.0",
        )
        device.keep_firmware(story, fleet.url, device.folder / "agent.kubeconfig")
    story.in_background("roll-out", "edgeroot edge firmware roll-out", as_whom=fleet.account("edgeroot-firmware"))
    fleet.cluster.create(
        {
            "apiVersion": "edgeroot.dev/v1alpha1",
            "kind": "EdgeFirmware",
            "metadata": {"name": "gateways"},
            "spec": {"version": "1.1.0", "waves": ["1", "100%"], "healthySeconds": 1},
        }
    )
    for device in (fleet.first, fleet.second):
        fleet.until_state(device.name, "Affirmed", version="1.1.0", timeout_s=180)

    def is_done() -> bool:
        status = fleet.cluster.get("edgefirmware", "gateways").get("status", {})
        return (status.get("phase"), status.get("nodes", {}).get("updated")) == ("Completed", 2)

    until(is_done, "the rollout is completed")
    story.run("kubectl get edgefirmwares")
    story.run("kubectl get edgenodes")
    until(lambda: fleet.node_of("camera") == SECOND, f"the camera is bound to {SECOND} again")
    print(f"\n  # the camera that waited is bound to {SECOND}", flush=True)
    fleet.workload("till-1", f"{sign_command(MESSAGE)}; sleep 3600", node=NODE)
    fleet.cluster.wait_for("pod/till-1", "condition=Ready", "-n", fleet.namespace)
    if _signer(fleet, "till-1") != key:
        raise UnexpectedError("the next pod of the account has another key")
    print("\n  # the next pod of the account has signed with the same key, under the new firmware", flush=True)
    story.run(f"kubectl get pods -n {fleet.namespace} -o wide")
    fleet.picture("edge-back", "#/rollout")


def told(pictures: Path) -> None:
    """The whole story. Raises UnexpectedError and what commands of the cluster raise."""
    with ExitStack() as running:
        # Below /tmp: Unix sockets in it have short paths; the secure worlds' partitions are users who come through.
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="edge-", dir="/tmp")))
        folder.chmod(0o755)
        place = folder / "cluster"
        place.mkdir()
        print("Starting Kubernetes: etcd, API server, controllers, scheduler, containerd and a kubelet.", flush=True)
        cluster = running.enter_context(Cluster(place, node=True))
        assert cluster.node is not None
        cluster.node.add_image(build_image(folder / "image.tar", reference=IMAGE))
        fleet = Fleet(Story(folder, cluster, running), running, pictures)
        prepared(fleet)
        watched(fleet)
        key = attested(fleet)
        joined(fleet)
        tampered(fleet)
        brought_back(fleet, key)


def main() -> int:
    """Tell the story; the exit code."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pictures", type=Path, default=Path("build/demo-edge"), help="where pictures of the page go")
    pictures: Path = options.parse_args().pictures.resolve()
    if os.geteuid() != 0:
        print("error: this starts containers, which takes root", file=sys.stderr)
        return 1
    pictures.mkdir(parents=True, exist_ok=True)
    begun_s = time.monotonic()
    os.umask(0o022)
    try:
        told(pictures)
    except PeersUnavailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (UnexpectedError, ComponentError, AssertionError) as error:
        print(f"\nerror: {error}\nThat is not how the story goes, please report it", file=sys.stderr)
        return 1
    print(f"\nThat took {time.monotonic() - begun_s:.0f} seconds.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
