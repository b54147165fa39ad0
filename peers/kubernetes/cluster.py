"""A genuine Kubernetes cluster in a folder: a control plane alone, or with a node that runs containers."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from peers.kubernetes import control_plane
from peers.kubernetes.build import Programs
from peers.kubernetes.component import Component, ComponentError
from peers.kubernetes.control_plane import ControlPlane
from peers.kubernetes.identities import Authority
from peers.kubernetes.machine import LoopbackMachine, Machine, NamespacedMachine
from peers.kubernetes.node import NODE, Node

_SERVER_NAMES: Final = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
_START_TIMEOUT_S: Final = 60.0
_STEP_S: Final = 0.1


class Cluster:
    """etcd, API server, controller manager and scheduler; with ``node``, containerd and a kubelet too.

    ``kubeconfig`` is the administrator's. Without a node it runs on the loopback network and needs no root. With one
    it is a machine of namespaces; ``node.run`` runs programs beside the kubelet. Each program's log is
    ``<name>.log`` in ``folder``, whose path has to be short: Unix sockets lie below it.
    """

    def __init__(self, folder: Path, *, node: bool = False) -> None:
        programs = Programs.ready()
        self.folder = folder
        self.node: Node | None = None
        with ExitStack() as undo:
            machine: Machine
            if node:
                machine = NamespacedMachine(folder, programs.path, own_addresses=[control_plane.SERVICE_ADDRESS])
            else:
                machine = LoopbackMachine(programs.path, control_plane.PORTS)
            undo.callback(machine.stop)
            self.authority = Authority.create(folder / "pki")
            self.plane = self._plan(machine, everywhere=node)
            self.kubeconfig = self.identify("admin", groups=["system:masters"])
            if isinstance(machine, NamespacedMachine):
                self.node = Node(machine, programs, self.authority, server=self.plane.url)
            self._undo = undo.pop_all()
        self._program = programs.kubernetes
        self._tls = ssl.create_default_context(cafile=str(self.authority.own.certificate))
        self._tls.load_cert_chain(self.plane.server.certificate, self.plane.server.key)
        self.etcd = self._component(machine, self.plane.etcd(), control_plane.ETCD_PORT, "/health")
        self.api_server = self._component(machine, self.plane.api_server(), self.plane.api_port, "/readyz")
        self.controller_manager = self._component(
            machine, self.plane.controllers(), control_plane.CONTROLLER_MANAGER_PORT, "/healthz"
        )
        self.scheduler = self._component(machine, self.plane.schedules(), control_plane.SCHEDULER_PORT, "/healthz")

    @property
    def url(self) -> str:
        """The API server's."""
        return self.plane.url

    def start(self) -> Self:
        """Start everything and wait until pods can be created. Raises ComponentError with the log of what does not."""
        try:
            self.etcd.start()
            self.api_server.start()
            self.controller_manager.launch()
            self.scheduler.launch()
            if self.node is not None:
                self.node.start()
            self.controller_manager.wait()
            self.scheduler.wait()
            # Made by the controller manager; without it no pod is admitted.
            self.wait_for("serviceaccount/default", "jsonpath={.metadata.uid}")
            if self.node is not None:
                self.wait_for(f"node/{NODE}", "condition=Ready")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End everything, without asking: nothing of it is to survive."""
        for component in self.components():
            component.kill()
        self._undo.close()

    def components(self) -> list[Component]:
        """Every program, those first that depend on others."""
        of_node = [] if self.node is None else [self.node.kubelet, self.node.containerd, self.node.names]
        return [*of_node, self.scheduler, self.controller_manager, self.api_server, self.etcd]

    def identify(self, user: str, *, groups: Sequence[str] = ()) -> Path:
        """A new kubeconfig for a user with a certificate, such as ``system:node:node-2`` of ``system:nodes``."""
        identity = self.authority.identity(user, groups=groups)
        return self.authority.kubeconfig(identity.key.with_suffix(".kubeconfig"), self.plane.url, identity)

    def kubectl(self, *args: str, stdin: str | None = None, as_whom: Path | None = None) -> str:
        """What kubectl prints; ``as_whom`` is a kubeconfig, the administrator's by default.

        Raises KubectlError with its words if it fails.
        """
        done = subprocess.run(
            [self._program, "kubectl", f"--cache-dir={self.folder / 'kubectl'}", *args],
            env={**os.environ, "KUBECONFIG": str(as_whom or self.kubeconfig), "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            input=stdin or "",
            check=False,
        )
        if done.returncode != 0:
            raise KubectlError(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    @contextmanager
    def forwarded(self, what: str, port: int, *args: str) -> Iterator[int]:
        """A port of this machine that leads to one of a pod, or of a pod of a Deployment and so on."""
        forward = ["port-forward", what, f":{port}", "--address=127.0.0.1", *args]
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder)}
        with subprocess.Popen(
            [self._program, "kubectl", *forward], env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None
                said = process.stdout.readline()  # Forwarding from 127.0.0.1:37533 -> 8443
                if not said:
                    raise KubectlError(f"no port of {what} could be forwarded")
                yield int(said.split()[2].rpartition(":")[2])
            finally:
                process.terminate()

    def apply(self, *objects: object, as_whom: Path | None = None) -> None:
        """Create or change objects, each given as what its JSON would be."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed), as_whom=as_whom)

    def create(self, wanted: object, *, as_whom: Path | None = None) -> dict[str, Any]:
        """Create one object, and what the API server made of it."""
        made = self.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(wanted), as_whom=as_whom)
        return _object(made)

    def get(self, *what: str, as_whom: Path | None = None) -> dict[str, Any]:
        """An object, or a list of them: ``get("node", "node-1")``."""
        return _object(self.kubectl("get", *what, "-o", "json", as_whom=as_whom))

    def wait_for(self, what: str, condition: str, *args: str, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Wait for what kubectl waits for, also while the object is not there yet. ComponentError if in vain."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            left_s = max(1, round(deadline_s - time.monotonic()))
            try:
                self.kubectl("wait", what, f"--for={condition}", f"--timeout={left_s}s", *args)
            except KubectlError as error:
                if time.monotonic() > deadline_s:
                    raise ComponentError(f"{what} was not {condition} within {timeout_s:.0f} s: {error}") from error
                time.sleep(_STEP_S)
            else:
                return

    def save(self, place: Path) -> None:
        """Save a snapshot of etcd."""
        self._etcd_tool("etcdctl", *self.plane.etcd_client(), "snapshot", "save", str(place))

    def restore(self, snapshot: Path) -> None:
        """Go back to a snapshot: etcd and the API server start again with what was known then."""
        self.api_server.kill()
        self.etcd.kill()
        shutil.rmtree(self.plane.etcd_data)
        self._etcd_tool("etcdutl", "snapshot", "restore", str(snapshot), *self.plane.etcd_member())
        self.etcd.start()
        self.api_server.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _plan(self, machine: Machine, *, everywhere: bool) -> ControlPlane:
        address = machine.address
        hosts = [address, control_plane.SERVICE_ADDRESS, *_SERVER_NAMES]
        plane = ControlPlane(
            folder=self.folder,
            authority=self.authority,
            server=self.authority.identity("kube-apiserver", groups=["system:masters"], hosts=hosts),
            listen="0.0.0.0" if everywhere else address,
            address=address,
            api_port=443 if everywhere else control_plane.API_SERVER_PORT,
        )
        for path in (plane.controller_manager, plane.scheduler):
            identity = self.authority.identity(f"system:{path.stem}")
            self.authority.kubeconfig(path, plane.url, identity)
        return plane

    def _component(self, machine: Machine, command: list[str], port: int, path: str) -> Component:
        name = command[0]
        return Component(
            name,
            [f"{machine.programs}/kubernetes", *command],
            machine=machine,
            log=self.folder / f"{name}.log",
            ready=lambda: self._answers(port, path),
        )

    def _answers(self, port: int, path: str) -> bool:
        address = self.plane.address
        with closing(http.client.HTTPSConnection(address, port, timeout=5, context=self._tls)) as connection:
            try:
                connection.request("GET", path)
                return connection.getresponse().status == http.client.OK
            except OSError:
                return False

    def _etcd_tool(self, *command: str) -> None:
        done = subprocess.run([self._program, *command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ComponentError(f"{command[0]} failed: {done.stderr.strip()}")


class KubectlError(AssertionError):
    """kubectl failed; the message is what it said."""


def _object(text: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text)
    return value
