"""The row about a cluster of many nodes: from the verifier's result to the node's label, and to a contraindication's
taint, while everybody re-attests.

API server and etcd are genuine. Nodes are objects of the size that kubelets make them, and as often touched; the feed
is a stand-in that says what is due. Neither scheduler nor controller manager runs, which would make nodes without a
kubelet unreachable.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx2
from lightkube import ApiError, Client, KubeConfig
from lightkube.models.core_v1 import ContainerImage, NodeSpec, NodeStatus, NodeSystemInfo, Taint
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node
from lightkube.types import PatchType

from bench.errors import BenchError
from bench.measure import Bench, Outcome
from edgeroot.edge.controller.names import ATTESTED_LABEL, CONTRAINDICATED_TAINT, UNATTESTED_TAINT
from edgeroot.edge.kinds import EdgeNode
from peers import PeersUnavailableError
from peers.kubernetes import Cluster
from tests.support.cluster_accounts import account_kubeconfig
from tests.support.edge_nodes import RunningController, controller, deploy_edge, until
from tests.support.verifier_feed import FeedDouble, entry, verifier_feed

NODES_MOST: Final = 5000
INTERVAL_S: Final = 600.0
LABEL_LIMIT_S: Final = 2.0
EVICTION_LIMIT_S: Final = 5.0
MEMORY_LIMIT_MB: Final = 400.0
WRITES_LIMIT: Final = 2.0
_HEARTBEAT_S: Final = 300.0
_CONTRAINDICATED: Final = 10
_IMAGES: Final = 50
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass
class Watched:
    """When which node was first seen with which marks, by a watch of its own."""

    client: Client
    labels: dict[str, bool] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)
    waiting: dict[str, tuple[str, float]] = field(default_factory=dict)
    delays_s: dict[str, list[float]] = field(default_factory=lambda: {"on": [], "off": [], "out": []})

    def expect(self, name: str, what: str) -> None:
        self.waiting[name] = (what, time.monotonic())

    def follow(self) -> None:
        """Until the client is closed."""
        try:
            for change, node in self.client.watch(Node):
                if change != "DELETED":
                    self._see(node)
        except (httpx2.HTTPError, httpx2.StreamError, OSError, RuntimeError, ValueError):
            return  # the client was closed

    def _see(self, node: Node) -> None:
        assert node.metadata is not None
        name = node.metadata.name or ""
        labelled = ATTESTED_LABEL in (node.metadata.labels or {})
        taints = node.spec.taints if node.spec is not None else None
        out = any(one.key == CONTRAINDICATED_TAINT for one in taints or ())
        self.labels[name] = labelled
        what, begun_s = self.waiting.get(name, ("", 0.0))
        if (what, labelled, out) in {("on", True, False), ("off", False, False), ("out", False, True)}:
            del self.waiting[name]
            self.delays_s[what].append(time.monotonic() - begun_s)


def _node(name: str) -> Node:
    """About 15 kB, most of it the images that its kubelet has."""
    images = [
        ContainerImage(
            names=[f"registry.example/{'team/' * 4}{name}-{number:03}@sha256:{'0' * 64}", f"registry.example/{number}"],
            sizeBytes=1 << 24,
        )
        for number in range(_IMAGES)
    ]
    info = NodeSystemInfo(
        architecture="arm64",
        bootID=name,
        containerRuntimeVersion="containerd://2.1.0",
        kernelVersion="6.18",
        kubeProxyVersion="",
        kubeletVersion="v1.35.4",
        machineID=name,
        operatingSystem="linux",
        osImage="Debian",
        systemUUID=name,
    )
    return Node(
        metadata=ObjectMeta(name=name, annotations={"padding": "x" * 4000}),
        spec=NodeSpec(taints=[Taint(key=UNATTESTED_TAINT, effect="NoSchedule")]),
        status=NodeStatus(images=images, nodeInfo=info),
    )


def _populate(client: Client, names: list[str]) -> None:
    def create(name: str) -> None:
        client.create(_node(name))
        client.create(EdgeNode(metadata=ObjectMeta(name=name), spec={"device": name}))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, names))


class Heartbeats(threading.Thread):
    """The kubelets' status updates, every five minutes each."""

    def __init__(self, client: Client, names: list[str]) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._names = names
        self._ended = threading.Event()

    def run(self) -> None:
        for number in range(1 << 62):
            if self._ended.wait(_HEARTBEAT_S / len(self._names)):
                return
            name = self._names[number % len(self._names)]
            change = {"status": {"nodeInfo": {"bootID": f"{name}-{number}"}}}
            try:
                self._client.patch(Node.Status, name, change, patch_type=PatchType.STRATEGIC)
            except (ApiError, httpx2.HTTPError):
                continue

    def stop(self) -> None:
        self._ended.set()
        self.join()


def _cpu_s(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / _TICKS


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise BenchError("the controller's memory is not known")


@contextmanager
def _cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="edgeroot-bench-", dir="/tmp"))  # a short path, for Unix sockets
    try:
        with Cluster(folder) as cluster:
            deploy_edge(cluster)
            cluster.scheduler.stop()
            cluster.controller_manager.stop()
            yield cluster
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    names: list[str]
    feed: FeedDouble
    watched: Watched
    running: RunningController

    def writes(self) -> float:
        by_kind = self.running.writes()
        return by_kind["node"] + by_kind["status"]

    def settled(self, timeout_s: float) -> None:
        until(lambda: not self.watched.waiting, "every node is labelled", timeout_s=timeout_s)
        until(lambda: not self.running.metric("queue"), "nothing waits", timeout_s=timeout_s)
        last = -1.0
        while last != (now := self.writes()):
            last = now
            time.sleep(0.5)


def measure(bench: Bench) -> Outcome:
    """p99 from a result to the label, over the time that is allowed; the rest of the promise makes faults."""
    count = min(NODES_MOST, bench.many_keys // 20)
    names = [f"edge-{number:05}" for number in range(count)]
    try:
        with _cluster() as cluster, verifier_feed() as feed:
            config = KubeConfig.from_file(cluster.kubeconfig).get()
            client, watching = Client(config, trust_env=False), Client(config, trust_env=False)
            begun_s = time.monotonic()
            _populate(client, names)
            bench.say(f"made {count} nodes in {time.monotonic() - begun_s:.0f} s")
            watched = Watched(watching)
            threading.Thread(target=watched.follow, daemon=True).start()
            heartbeats = Heartbeats(client, names)
            heartbeats.start()
            kubeconfig = account_kubeconfig(cluster, "edgeroot-controller", cluster.folder / "controller.kubeconfig")
            try:
                with controller(kubeconfig, cluster.folder / "controller", feed) as running:
                    scene = _Scene(names=names, feed=feed, watched=watched, running=running)
                    return _outcome(scene, *_rush(bench, scene), _steady(bench, scene))
            finally:
                heartbeats.stop()
                client.close()
                watching.close()
    except PeersUnavailableError as error:
        return Outcome(None, None, "", None, notes=(str(error),))


def _rush(bench: Bench, scene: _Scene) -> tuple[float, list[float]]:
    """All nodes are affirmed at once, and some contraindicated meanwhile: nodes a second, and how long that took."""
    names, watched = scene.names, scene.watched
    until(lambda: len(watched.labels) == len(names), "the watch knows all nodes", timeout_s=120)
    scene.settled(600)  # of their first status
    bad = names[-_CONTRAINDICATED:]
    begun_s = time.monotonic()
    for name in names[:-_CONTRAINDICATED]:
        watched.expect(name, "on")
    scene.feed.say(*(entry(name) for name in names))
    for name in bad:
        time.sleep(0.3)
        watched.expect(name, "out")
        scene.feed.say(entry(name, "contraindicated"))
    waited = len(watched.waiting)
    until(lambda: not watched.waiting, "every node is labelled", timeout_s=1200)
    rate = len(names) / (time.monotonic() - begun_s)
    scene.settled(600)
    bench.say(f"{len(names)} results at once: {rate:,.0f} nodes/s; {waited} waited behind the contraindicated")
    return rate, watched.delays_s["out"]


def _steady(bench: Bench, scene: _Scene) -> dict[str, Any]:
    """Everybody re-attests in turn; half of the results change the label."""
    names, watched = scene.names[:-_CONTRAINDICATED], scene.watched
    watched.delays_s["on"].clear()
    pause_s = INTERVAL_S / NODES_MOST
    turns = max(100, int(40 * bench.seconds / pause_s))
    before, cpu_s, begun_s = scene.running.writes(), _cpu_s(scene.running.process.pid), time.monotonic()
    changes = 0
    for number, name in enumerate(random.sample(names * (turns // len(names) + 1), turns)):
        time.sleep(max(0.0, begun_s + number * pause_s - time.monotonic()))
        if name in watched.waiting:
            continue
        labelled = watched.labels[name]
        if number % 2:
            changes += 1
            watched.expect(name, "off" if labelled else "on")
            labelled = not labelled
        scene.feed.say(entry(name, "affirming" if labelled else "warning"))
    seconds = time.monotonic() - begun_s
    used = _cpu_s(scene.running.process.pid) - cpu_s
    scene.settled(60)
    after = scene.running.writes()
    return {
        "delays_s": sorted(watched.delays_s["on"] + watched.delays_s["off"]),
        "cores": used / seconds,
        "rate": turns / seconds,
        "label_writes": (after["node"] - before["node"]) / max(1, changes),
        "status_writes": (after["status"] - before["status"]) / turns,
        "peak_mb": _peak_mb(scene.running.process.pid),
    }


def _outcome(scene: _Scene, rate: float, evictions_s: list[float], steady: dict[str, Any]) -> Outcome:
    delays_s = steady["delays_s"]
    p99_s = delays_s[min(len(delays_s) - 1, int(0.99 * len(delays_s)))]
    worst_s = max(evictions_s)
    writes = steady["label_writes"] + steady["status_writes"]
    faults = []
    if worst_s > EVICTION_LIMIT_S:
        faults.append(f"a contraindication took {worst_s:.1f} s to its taint")
    if steady["peak_mb"] > MEMORY_LIMIT_MB:
        faults.append(f"the controller took {steady['peak_mb']:.0f} MB")
    if steady["cores"] > 1:
        faults.append(f"the controller took {steady['cores']:.0%} of a core")
    if writes > WRITES_LIMIT:
        faults.append(f"a change took {writes:.2f} writes")
    return Outcome(
        ours=1000 * p99_s,
        reference=1000 * LABEL_LIMIT_S,
        reference_name="the time allowed",
        ratio=p99_s / LABEL_LIMIT_S,
        rounds=[{**steady, "evictions_s": evictions_s, "rush_nodes_per_s": rate, "nodes": len(scene.names)}],
        notes=(
            f"{len(scene.names)} nodes, {steady['rate']:.1f} results/s, half of them a change of the label",
            f"p50 {1000 * median(delays_s):,.0f} ms, worst {1000 * delays_s[-1]:,.0f} ms, of {len(delays_s)}",
            f"controller: {steady['cores']:.0%} of a core, {steady['peak_mb']:.0f} MB at most",
            f"writes: {steady['label_writes']:.2f} of a node for a change, {steady['status_writes']:.2f} of a status",
            f"all at once: {rate:,.0f} nodes/s; contraindications meanwhile tainted within {worst_s:.2f} s",
        ),
        faults=tuple(faults),
    )
