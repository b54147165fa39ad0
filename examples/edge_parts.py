"""What the story of the fleet is made of: commands that are shown, devices, and a node that has no kubelet."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from lightkube import ApiError, Client, KubeConfig
from lightkube.resources.core_v1 import Node

from peers.kubernetes import Cluster, KubectlError
from peers.kubernetes.build import Programs
from peers.kubernetes.control_plane import ISSUER

EDGEROOT: Final = Path(sys.executable).with_name("edgeroot")
SLOTS: Final = 2
_COMMAND_S: Final = 120.0
_STEP_S: Final = 0.1
_HEARTBEAT_S: Final = 2.0
_Seen = TypeVar("_Seen")

_SERVICE: Final = """\
[core_settings]
allow_root = true

[[listener]]
listener_type = "DomainSocket"
timeout = 10000
socket_path = "{folder}/socket/parsec.sock"
authenticators = ["UnixPeerCredentials"]

[[authenticator]]
auth_type = "UnixPeerCredentials"

[[key_manager]]
name = "keys"
manager_type = "SQLite"
sqlite_db_path = "{folder}/keys/keys.sqlite3"

[[provider]]
provider_type = "TrustedService"
key_info_manager = "keys"
socket_path = "{folder}/run/spm.sock"
"""
_FOR_PODS: Final = """
[[listener]]
listener_type = "DomainSocket"
timeout = 10000
socket_path = "{folder}/pods/parsec.sock"
authenticators = ["JwtSvid"]
slots = {slots}

[[authenticator]]
auth_type = "JwtSvid"

[authenticator.kubernetes]
issuer = "{issuer}"
api_server = "{api_server}"
ca_file = "{ca_file}"
token_file = "{folder}/service-account.token"
jwks_file = "{folder}/cluster/jwks.json"
pod_resources = "unix:{folder}/holders.sock"
"""
# As systemd would: whatever ends, or is told to end by the update, starts again.
_SUPERVISOR: Final = """\
trap 'kill $world; wait; exit' TERM
while :; do
    edgeroot secure-world run --allow root --state state --runtime run & world=$!
    echo $world > world.pid
    wait $world
done
"""
_RESTART: Final = """\
old=$(cat {folder}/world.pid)
kill $old
until test "$(cat {folder}/world.pid)" != $old && edgeroot secure-world status > /dev/null 2>&1; do sleep 0.2; done
"""


class UnexpectedError(Exception):
    """Something is not as the story says."""


def until(seen: Callable[[], _Seen], what: str, *, timeout_s: float = 60.0) -> _Seen:
    """What is seen once it is true."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := seen()):
        if time.monotonic() > deadline_s:
            raise UnexpectedError(f"not within {timeout_s:.0f} s: {what}; last seen: {found!r}")
        time.sleep(_STEP_S)
    return found


class Story:
    """Commands in a folder, shown with what they print. What goes on in the background ends with ``running``."""

    def __init__(self, folder: Path, cluster: Cluster, running: ExitStack) -> None:
        self.folder = folder
        self.cluster = cluster
        self._running = running
        programs = folder / "bin"
        programs.mkdir()
        kubectl = programs / "kubectl"
        kubectl.write_text(f'#!/bin/sh\nexec {Programs.ready().kubernetes} kubectl --cache-dir={folder}/cache "$@"\n')
        kubectl.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(EDGEROOT.parent), str(programs), os.environ["PATH"]]),
            "KUBECONFIG": str(cluster.kubeconfig),
            "NO_COLOR": "1",
        }

    def tell(self, text: str) -> None:
        print("\n" + textwrap.fill(" ".join(text.split()), 100), flush=True)

    def run(
        self,
        line: str,
        *,
        on: Device | None = None,
        fails: bool = False,
        says: str = "",
        shown: Callable[[str], bool] = bool,
    ) -> str:
        """One command line, of the operator or on a device; of what it prints ``shown`` chooses the lines."""
        print(f"\n  {f'{on.name} ' if on else ''}$ {line}", flush=True)
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=on.folder if on else self.folder,
            env=on.environment if on else self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_COMMAND_S,
        )
        for text in filter(shown, done.stdout.splitlines()):
            print(f"    {text}", flush=True)
        if (done.returncode != 0) != fails:
            raise UnexpectedError(f"this ended with code {done.returncode}:\n{done.stdout}")
        if says not in done.stdout:
            raise UnexpectedError(f"this did not say {says!r}:\n{done.stdout}")
        return done.stdout

    def in_background(
        self, name: str, line: str, *, on: Device | None = None, ready: str = "", as_whom: Path | None = None
    ) -> str:
        """Start something with a log; the line with ``ready`` in it, once it is there."""
        print(f"\n  {f'{on.name} ' if on else ''}$ {line} &", flush=True)
        folder, environment = (on.folder, on.environment) if on else (self.folder, self.environment)
        if as_whom is not None:
            environment = {**environment, "KUBECONFIG": str(as_whom)}
        path = folder / f"{name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", line if ";" in line or "\n" in line else f"exec {line}"],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._running.callback(_end, process)

        def said() -> str:
            if process.poll() is not None:
                raise UnexpectedError(f"{name} ended, and said:\n{path.read_text()}")
            return next((text for text in path.read_text().splitlines() if ready in text), "" if ready else "started")

        found = until(said, f"{name} says {ready!r}: see {path}")
        if ready:
            print(f"    {found}", flush=True)
        return found

    def secret(self, name: str) -> str:
        path = self.folder / name
        path.touch(0o600)
        path.write_text(secrets.token_hex(32))
        return path.read_text()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Device:
    """An emulated secure world with signed firmware, and the service over it. ``device_id`` is the verifier's name."""

    name: str
    folder: Path
    environment: Mapping[str, str]
    device_id: str = ""
    implementation_id: str = ""

    @classmethod
    def make(cls, story: Story, name: str) -> Device:
        folder = story.folder / name
        for part in ("socket", "pods", "keys", "cluster", "varlib/edgeroot-update"):
            (folder / part).mkdir(parents=True)
        environment = {
            **story.environment,
            "PARSEC_SERVICE_ENDPOINT": f"unix:{folder}/socket/parsec.sock",
            "EDGEROOT_SECURE_WORLD": f"{folder}/run/spm.sock",
        }
        environment.pop("KUBECONFIG")
        return cls(name, folder, environment)

    def boot(self, story: Story, *, pods: bool) -> None:
        """Provision it with 1.0.0, and start secure world and service; with ``pods`` the latter has slots for them."""
        story.run(
            "edgeroot device provision --root-key ../maker.pub.pem --security-counter 1 --images ../release-1.0.0"
            " --state state && edgeroot device lifecycle secured --state state",
            on=self,
            says="life cycle: secured",
            shown=lambda text: "life cycle: secured" in text,
        )
        (self.folder / "supervise.sh").write_text(_SUPERVISOR)
        (self.folder / "restart.sh").write_text(_RESTART.format(folder=self.folder))
        story.in_background("secure-world", "bash supervise.sh", on=self)
        status = ["edgeroot", "secure-world", "status"]
        until(
            lambda: (
                subprocess.run(status, env=dict(self.environment), capture_output=True, check=False).returncode == 0
            ),
            f"the secure world of {self.name} runs: see {self.folder}/secure-world.log",
        )
        config = _SERVICE.format(folder=self.folder)
        if pods:
            cluster = story.cluster
            authority = cluster.authority.own.certificate
            config += _FOR_PODS.format(
                folder=self.folder, slots=SLOTS, issuer=ISSUER, api_server=cluster.url, ca_file=authority
            )
        (self.folder / "service.toml").write_text(config)
        story.in_background("service", "edgeroot serve -c service.toml", on=self, ready="Parsec is ready.")

    def set_up(self, story: Story) -> None:
        """Take down its key and what it runs, where nobody is in between."""
        challenge = secrets.token_hex(32)
        said = story.run(
            f"edgeroot attestation-token --challenge {challenge} -o set-up.cbor"
            " && edgeroot secure-world attestation-key > device.pem"
            f" && edgeroot --json verifier endorse set-up.cbor --challenge {challenge} --key device.pem"
            " -o device.corim",
            on=self,
            shown=lambda text: "_hex" in text,
        )
        told = json.loads(said[said.index("{") :])
        self.implementation_id, self.device_id = told["implementation_id_hex"], told["instance_id_hex"]

    def keep_firmware(self, story: Story, url: str, kubeconfig: Path) -> None:
        """Its keeper, which sees the device's own /var/lib, as on a machine of its own."""
        script = self.folder / "keep.sh"
        script.write_text(
            f"mount --bind {self.folder}/varlib /var/lib && exec edgeroot edge firmware keep --node-name {self.name}"
            f" --verifier {url} --restart 'bash {self.folder}/restart.sh'\n"
        )
        story.in_background("keeper", "unshare --mount bash keep.sh", on=self, as_whom=kubeconfig)


class EmulatedKubelet:
    """Keeps a node ready, and ends pods that are to go; it starts none. It is who its kubeconfig says."""

    def __init__(self, cluster: Cluster, name: str, kubeconfig: Path) -> None:
        self._cluster = cluster
        self._name = name
        self._kubeconfig = kubeconfig
        # kubectl would read the status by itself before it writes it, and kubelets may not.
        self._client = Client(KubeConfig.from_file(kubeconfig).get(), trust_env=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def start(self, running: ExitStack) -> None:
        """Register the node as kubelets do that are told to: with the taint."""
        taint = {"key": "edgeroot.dev/unattested", "effect": "NoSchedule"}
        metadata = {"name": self._name, "labels": {"kubernetes.io/hostname": self._name}}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": [taint]}}
        self._cluster.create(node, as_whom=self._kubeconfig)
        self._thread.start()
        running.callback(self._end)

    def _end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _live(self) -> None:
        while not self._stop.wait(_HEARTBEAT_S):
            try:
                self._beat()
            except (KubectlError, ApiError) as error:
                print(f"  ({self._name}: {error})", flush=True)

    def _beat(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        room = {"cpu": "1", "memory": "1Gi", "pods": "10", "edgeroot.dev/parsec": str(SLOTS)}
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "Emulated",
            "message": "no kubelet",
            "lastHeartbeatTime": now,
        }
        status = {"status": {"capacity": room, "allocatable": room, "conditions": [ready]}}
        self._client.patch(Node.Status, self._name, status)
        here = f"--field-selector=spec.nodeName={self._name}"
        pods = json.loads(self._kubectl("get", "pods", "-A", here, "-o", "json"))["items"]
        for metadata in (pod["metadata"] for pod in pods):
            if "deletionTimestamp" in metadata:
                place = ("-n", metadata["namespace"])
                self._kubectl("delete", "pod", metadata["name"], *place, "--force", "--grace-period=0", "--wait=false")

    def _kubectl(self, *arguments: str) -> str:
        return self._cluster.kubectl(*arguments, as_whom=self._kubeconfig)
