"""A node: containerd and a kubelet on a machine of namespaces, and what they are told."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from peers.kubernetes.build import Programs
from peers.kubernetes.component import Component, ComponentError
from peers.kubernetes.control_plane import SERVICE_ADDRESS
from peers.kubernetes.identities import Authority
from peers.kubernetes.machine import NamespacedMachine
from scripts.oci_archive import ImageSettings, write_archive, write_layer

NODE: Final = "node-1"
BUSYBOX: Final = "edgeroot.dev/busybox:peer"
_PAUSE: Final = "edgeroot.dev/pause:peer"
_CONTAINERD: Final = "/run/containerd/containerd.sock"
_HEALTH_PORT: Final = 10248
_NAMESPACE: Final = "k8s.io"
_DOMAIN: Final = "cluster.local"
# Nobody forwards the addresses of services here but this one's; pods of others are reached by what give_name() says.
_API_SERVER: Final = f"kubernetes.default.svc.{_DOMAIN}"

_CONTAINERD_CONFIG: Final = """\
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Lowering a score takes CAP_SYS_RESOURCE, which a test machine may lack; and profiles would stay in its kernel.
restrict_oom_score_adj = true
disable_apparmor = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{programs}/node/usr/sbin/runc"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{programs}/node/usr/lib/cni"
conf_dir = "/var/lib/network"
"""


def _network_config(pod_network: str) -> dict[str, Any]:
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {"type": "host-local", "ranges": [[{"subnet": pod_network}]], "routes": [{"dst": "0.0.0.0/0"}]},
            }
        ],
    }


def _kubelet_config(authority: Authority, *, certificate: Path, key: Path, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "healthzBindAddress": address,
        "healthzPort": _HEALTH_PORT,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority.own.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificate),
        "tlsPrivateKeyFile": str(key),
        "containerRuntimeEndpoint": f"unix://{_CONTAINERD}",
        # There is no systemd in the machine, and its control groups may be version 1.
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDNS": [address],
        "clusterDomain": _DOMAIN,
        # The disk is the test machine's, and how full it is is not this node's business.
        "evictionHard": {"imagefs.available": "0%", "memory.available": "0%", "nodefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "resolvConf": "",
        # Volumes with tokens, secrets and config maps follow changes in seconds.
        "syncFrequency": "2s",
    }


class Node:
    """The programs that make the machine a node, and the one that tells its pods the API server's address."""

    def __init__(self, machine: NamespacedMachine, programs: Programs, authority: Authority, *, server: str) -> None:
        self.machine = machine
        self._programs = programs
        self._folder = machine.folder
        lib = self._folder / "lib"
        config = lib / "containerd.toml"
        config.write_text(_CONTAINERD_CONFIG.format(socket=_CONTAINERD, pause=_PAUSE, programs=machine.programs))
        (lib / "network").mkdir()
        (lib / "network/pods.conflist").write_text(json.dumps(_network_config(machine.pod_network)))
        identity = authority.identity(
            f"system:node:{NODE}", groups=["system:nodes"], hosts=[NODE, machine.address], file_name="kubelet"
        )
        kubeconfig = authority.kubeconfig(self._folder / "kubelet.kubeconfig", server, identity)
        told = _kubelet_config(authority, certificate=identity.certificate, key=identity.key, address=machine.address)
        (self._folder / "kubelet.json").write_text(json.dumps(told, indent=1))
        self._names = self._folder / "names"
        self._names.write_text(f"{_API_SERVER} {SERVICE_ADDRESS}\n")
        tools = machine.programs / "node"
        path = os.pathsep.join([f"{tools}/usr/bin", f"{tools}/usr/sbin", os.environ.get("PATH", os.defpath)])
        self.names = Component(
            "names",
            [sys.executable, str(Path(__file__).with_name("names.py")), machine.address, str(self._names)],
            machine=machine,
            log=self._folder / "names.log",
            ready=self._names_answer,
        )
        self.containerd = Component(
            "containerd",
            [f"{tools}/usr/bin/containerd", "--config", "/var/lib/containerd.toml"],
            machine=machine,
            log=self._folder / "containerd.log",
            ready=self._containerd_answers,
            environment={"PATH": path},
        )
        self.kubelet = Component(
            "kubelet",
            [
                f"{machine.programs}/kubernetes",
                "kubelet",
                f"--config={self._folder / 'kubelet.json'}",
                f"--kubeconfig={kubeconfig}",
                f"--hostname-override={NODE}",
                f"--node-ip={machine.address}",
            ],
            machine=machine,
            log=self._folder / "kubelet.log",
            ready=self._kubelet_answers,
            environment={"PATH": path},
        )

    def start(self) -> None:
        """Start them, and give containerd the images that every test may use."""
        self.names.launch()
        self.containerd.start()
        self.kubelet.launch()
        layer = write_layer(self._busybox(), self._folder / "busybox.tar.gz")
        settings = ImageSettings(entrypoint=[], command=["sleep", "infinity"], environment=["PATH=/bin"])
        for name in (BUSYBOX, _PAUSE):
            archive = self._folder / "image.tar"
            write_archive(archive, reference=name, layers=[layer], settings=settings)
            self.add_image(archive)
        self.kubelet.wait()
        self.names.wait()

    def run(self, *command: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a program beside the kubelet to its end; the exit code is the caller's to judge."""
        there = self.machine.command(command)
        return subprocess.run(there, capture_output=True, text=True, timeout=timeout_s, check=False)

    def give_name(self, service: str, namespace: str, address: str) -> None:
        """From now on pods find this service at a pod's address, as a headless one: its ports are the pod's own."""
        with self._names.open("a") as file:
            file.write(f"{service}.{namespace}.svc.{_DOMAIN} {address}\n")

    def add_image(self, archive: Path) -> None:
        """Give containerd an image. ComponentError if it does not take it."""
        command = [f"{self.machine.programs}/node/usr/bin/ctr", "--address", _CONTAINERD, "--namespace", _NAMESPACE]
        done = self.run(*command, "images", "import", str(archive), timeout_s=120.0)
        if done.returncode != 0:
            raise ComponentError(f"containerd did not take {archive.name}: {done.stderr}{done.stdout}")

    def _containerd_answers(self) -> bool:
        place = self._folder / "run" / Path(_CONTAINERD).relative_to("/run")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(place))
            except OSError:
                return False
        return True

    def _names_answer(self) -> bool:
        asked = self.run(f"{self.machine.programs}/node/bin/busybox", "nslookup", _API_SERVER, self.machine.address)
        return asked.returncode == 0

    def _kubelet_answers(self) -> bool:
        with closing(http.client.HTTPConnection(self.machine.address, _HEALTH_PORT, timeout=5)) as connection:
            try:
                connection.request("GET", "/healthz")
                return connection.getresponse().status == http.client.OK
            except OSError:
                return False

    def _busybox(self) -> Path:
        """A folder with a shell and its tools, as they lie in an image."""
        folder = self._folder / "busybox"
        (folder / "bin").mkdir(parents=True)
        busybox = shutil.copy(self._programs.node / "bin/busybox", folder / "bin/busybox")
        listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
        for name in set(listed.stdout.split()) - {"busybox"}:
            (folder / "bin" / name).symlink_to("busybox")
        return folder
