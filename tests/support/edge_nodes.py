"""Nodes without a kubelet, their EdgeNodes, and a controller that decides about them, on a genuine API server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.request import urlopen

from lightkube import ApiError, Client, KubeConfig
from lightkube.models.core_v1 import NodeSpec, Taint
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node
from lightkube.resources.events_v1 import Event

from edgeroot.edge.controller.names import ATTESTED_LABEL, UNATTESTED_TAINT
from edgeroot.edge.kinds import EdgeNode
from peers.kubernetes import Cluster
from tests.support.cluster_accounts import deploy

FILES: Final = ("crds/edgenode.yaml", "controller-rbac.yaml", "agent-rbac.yaml", "policies.yaml")
_STEP_S: Final = 0.05
_Seen = TypeVar("_Seen")


class Feed(Protocol):
    """Where a verifier is, or what stands for one, and what its viewers say."""

    url: str
    token: str


def until(seen: Callable[[], _Seen], what: str, *, timeout_s: float = 20.0) -> _Seen:
    """What is seen once it is true. AssertionError with what was seen last."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := seen()):
        assert time.monotonic() < deadline_s, f"not within {timeout_s:.0f} s: {what}; last seen: {found!r}"
        time.sleep(_STEP_S)
    return found


@dataclass(frozen=True, slots=True)
class Nodes:
    """The cluster as an administrator sees it."""

    client: Client

    @classmethod
    @contextmanager
    def of(cls, cluster: Cluster, *, as_whom: Path | None = None) -> Iterator[Nodes]:
        client = Client(KubeConfig.from_file(as_whom or cluster.kubeconfig).get(), trust_env=False)
        try:
            yield cls(client)
        finally:
            client.close()

    def node(self, name: str, *, tainted: bool = False, labels: Mapping[str, str] | None = None) -> Node:
        taints = [Taint(key=UNATTESTED_TAINT, effect="NoSchedule")] if tainted else None
        metadata = ObjectMeta(name=name, labels=dict(labels or {}))
        return self.client.create(Node(metadata=metadata, spec=NodeSpec(taints=taints)))

    def edge(self, name: str, device: str) -> None:
        self.client.create(EdgeNode(metadata=ObjectMeta(name=name), spec={"device": device}))

    def pair(self, *, tainted: bool = False) -> str:
        """A node and its EdgeNode; the name is the device's id, too."""
        name = f"edge-{uuid.uuid4().hex[:10]}"
        self.node(name, tainted=tainted)
        self.edge(name, name)
        return name

    def delete(self, name: str) -> None:
        for kind in (Node, EdgeNode):
            try:
                self.client.delete(kind, name)
            except ApiError as error:
                if error.status.code != 404:
                    raise

    def label(self, name: str) -> str | None:
        metadata = self.client.get(Node, name).metadata
        assert metadata is not None
        return (metadata.labels or {}).get(ATTESTED_LABEL)

    def taints(self, name: str) -> set[str]:
        """Ours, as ``unattested:NoSchedule``."""
        spec = self.client.get(Node, name).spec
        taints = spec.taints if spec is not None else None
        return {
            f"{one.key.partition('/')[2]}:{one.effect}" for one in taints or () if one.key.startswith("edgeroot.dev/")
        }

    def status(self, name: str) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self.client.get(EdgeNode, name).get("status") or {}
        return status

    def state(self, name: str) -> str:
        return str(self.status(name).get("state", ""))

    def message(self, name: str) -> str:
        return str(self.status(name)["conditions"][0]["message"])

    def until_state(self, name: str, state: str, *, timeout_s: float = 20.0) -> None:
        until(lambda: self.state(name) == state, f"{name} is {state}", timeout_s=timeout_s)

    def events(self, name: str) -> list[Event]:
        found = self.client.list(Event, namespace="default", fields={"reportingController": "edgeroot.dev/controller"})
        return [one for one in found if one.regarding is not None and one.regarding.name == name]


@dataclass
class RunningController:
    """A process of ``edgeroot edge controller``."""

    process: subprocess.Popen[bytes]
    log_path: Path
    _port: int = field(default=0)

    def log(self) -> str:
        return self.log_path.read_text()

    def ask(self, path: str) -> tuple[int, str]:
        """What a probe is answered."""
        if not self._port:
            found = until(lambda: re.search(r"probes and metrics at 127\.0\.0\.1 port (\d+)", self.log()), "its port")
            assert found is not None
            self._port = int(found[1])
        try:
            with urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except OSError as error:
            status = getattr(error, "code", 0)
            return status, str(error)

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log()
        return self.ask("/readyz")[0] == 200

    def metric(self, name: str) -> float:
        """Of this name, with its labels as they are written."""
        for line in self.ask("/metrics")[1].splitlines():
            if line.startswith(f"edgeroot_controller_{name} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(f"there is no {name}")

    def writes(self) -> dict[str, float]:
        return {kind: self.metric(f'api_writes_total{{kind="{kind}"}}') for kind in ("node", "status", "event")}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def controller(
    kubeconfig: Path,
    folder: Path,
    feed: Feed,
    *options: str,
    ready: bool = True,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[RunningController]:
    """Once it is ready, if that is wanted; ended in order at the end, if it was not killed."""
    folder.mkdir(parents=True, exist_ok=True)
    token_path = folder / "token"
    token_path.write_text(feed.token)
    log_path = folder / "log"
    command = [sys.executable, "-m", "edgeroot", "edge", "controller", "--verifier", feed.url]
    command += ["--viewer-token-file", str(token_path), "--probe-port", "0", *options]
    environment = {**environment, "KUBECONFIG": str(kubeconfig)}
    with log_path.open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    running = RunningController(process, log_path)
    try:
        if ready:
            until(running.ready, "the controller is ready")
        yield running
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0, running.log()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def deploy_edge(cluster: Cluster) -> None:
    """What the controller needs: definition, accounts, policies; these in force."""
    deploy(cluster, *FILES)
    name = f"probe-{uuid.uuid4().hex[:8]}"

    def refused(admin: Nodes) -> bool:
        try:
            admin.node(name, labels={ATTESTED_LABEL: "true"})
        except ApiError as error:
            return "said by edgeroot's controller alone" in str(error)
        admin.delete(name)
        return False

    # Policies take effect a moment after they were created.
    with Nodes.of(cluster) as admin:
        until(lambda: refused(admin), "the policies are in force")
