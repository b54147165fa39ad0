"""The controller's loop: what the cluster and the verifier say goes into the fleet, what follows into the cluster."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import socket
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Never
from uuid import uuid4

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SingleConfig

from edgeroot.edge.controller.actions import Actions, Announcement
from edgeroot.edge.controller.cluster import (
    CONFLICT,
    NOT_FOUND,
    TIMEOUT_S,
    TROUBLE,
    Cluster,
    Listener,
    code_of,
    words_of,
)
from edgeroot.edge.controller.feed import FeedReader, FeedSettings
from edgeroot.edge.controller.feed_page import FeedError, Page
from edgeroot.edge.controller.fleet import Fleet
from edgeroot.edge.controller.lease import RENEW_S, Election
from edgeroot.edge.controller.metrics import Metrics
from edgeroot.edge.controller.names import NAMESPACE
from edgeroot.edge.controller.probes import Condition, probes
from edgeroot.edge.controller.records import EdgeNode, Moment, Node, Selector, State
from edgeroot.edge.controller.verdict import Policy
from edgeroot.edge.controller.work import Urgency, WorkQueue

LEASE: Final = "edgeroot-controller"
_WORKERS: Final = 16
# Beside them, so that a contraindication does not even wait for one of them to finish.
_URGENT_WORKERS: Final = 4
_TICK_S: Final = 0.25
_EVENTS_PER_S: Final = 10.0
_EVENTS_MAX: Final = 1000
# A lost connection is noticed though a watch sends nothing: after 15 s without an answer.
_KEEP_ALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """``selector`` None: only nodes with an EdgeNode are ours, or that bear our marks."""

    feed: FeedSettings
    policy: Policy = field(default_factory=Policy)
    selector: Selector | None = field(default_factory=Selector)
    namespace: str = NAMESPACE
    identity: str = ""
    probe_host: str = "127.0.0.1"
    probe_port: int = 8080


def moment() -> Moment:
    """Now. The steady clock goes on while the machine sleeps."""
    return Moment(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))


def connect() -> AsyncClient:
    """To the API server of the pod's own account, of KUBECONFIG, or of ~/.kube/config. lightkube's ConfigError."""
    config = KubeConfig.from_env().get()
    assert isinstance(config, SingleConfig)
    assert config.user is not None
    context = verify_cluster(config.cluster, config.user, config.abs_file)
    transport = httpx2.AsyncHTTPTransport(verify=context, socket_options=list(_KEEP_ALIVE))
    return AsyncClient(config, timeout=httpx2.Timeout(TIMEOUT_S), transport=transport)


class Controller:
    """One replica. It reads always, so that it knows everything when it is its turn to write."""

    def __init__(self, settings: ControllerSettings, cluster: Cluster, identity: str) -> None:
        self._settings = settings
        self._cluster = cluster
        self._fleet = Fleet(settings.policy)
        self._queue = WorkQueue(spread=lambda longest_s: longest_s * random.uniform(0.5, 1))
        self._ready = asyncio.Event()
        self._election = Election(identity)
        self._led = False
        self._complained_s = 0.0
        self._listed: set[str] = set()
        self._fresh: dict[str, float] = {}
        self._announcements: deque[Announcement] = deque(maxlen=_EVENTS_MAX)
        self.metrics = Metrics()
        self.condition = Condition()

    async def run(self) -> Never:
        """Until it is cancelled."""
        reader = FeedReader(
            self._settings.feed, start_over=self._fleet.start_over, page=self._on_page, failed=self._on_feed_failed
        )
        nodes: Listener[Node] = Listener(
            listed=self._on_nodes,
            put=lambda node: self._enqueue(self._fleet.put_node(node)),
            dropped=lambda name: self._enqueue(self._fleet.drop_node(name)),
            troubled=lambda _: self.metrics.errors.labels("list").inc(),
        )
        edges: Listener[EdgeNode] = Listener(
            listed=self._on_edges,
            put=lambda edge: self._enqueue(self._fleet.put_edge(edge)),
            dropped=lambda name: self._enqueue(self._fleet.drop_edge(name)),
            troubled=lambda _: self.metrics.errors.labels("list").inc(),
        )
        self.condition.beat()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._cluster.follow_nodes(nodes))
                tasks.create_task(self._cluster.follow_edges(edges))
                tasks.create_task(reader.read())
                tasks.create_task(self._tick())
                tasks.create_task(self._lead())
                tasks.create_task(self._announce())
                for number in range(_WORKERS + _URGENT_WORKERS):
                    least = Urgency.GAINED if number < _WORKERS else Urgency.CONTRAINDICATED
                    tasks.create_task(self._work(least))
        finally:
            await self._resign()
        raise AssertionError("none of the tasks ends by itself")

    # What comes in.

    def _on_nodes(self, nodes: Iterable[Node]) -> None:
        self._listed.add("nodes")
        self._enqueue(self._fleet.list_nodes(nodes))

    def _on_edges(self, edges: Iterable[EdgeNode]) -> None:
        self._listed.add("EdgeNodes")
        self._enqueue(self._fleet.list_edges(edges))

    def _on_page(self, page: Page) -> None:
        now = moment()
        touched = self._fleet.take(page.results, more=page.more, now=now)
        self.metrics.results.inc(len(page.results))
        for name in touched:
            self._fresh[name] = now.steady_s
        self._enqueue(touched)

    def _on_feed_failed(self, _error: FeedError) -> None:
        self._fleet.unreachable()
        self.metrics.errors.labels("feed").inc()

    def _enqueue(self, names: Iterable[str]) -> None:
        now = moment()
        for name in names:
            self._queue.add(name, self._fleet.urgency(name, now))
        self._ready.set()

    # What goes out.

    def _may_write(self) -> bool:
        """Only what is decided on both lists is right; and only one replica writes."""
        return len(self._listed) == 2 and self._election.leading(moment().steady_s)

    async def _work(self, least: Urgency) -> Never:
        while True:
            name = self._queue.take(least) if self._may_write() else None
            if name is None:
                self._ready.clear()
                await self._ready.wait()
                continue
            try:
                await self._reconcile(name)
            except TROUBLE as error:
                await self._on_trouble(name, error)
            else:
                self._queue.done(name)

    async def _reconcile(self, name: str) -> None:
        actions = self._fleet.decide(name, moment())
        fresh_s = self._fresh.pop(name, None)
        if not actions:
            await asyncio.sleep(0)
            return
        try:
            await self._write(name, actions, fresh_s)
        except TROUBLE:
            if fresh_s is not None:
                self._fresh.setdefault(name, fresh_s)
            raise

    async def _write(self, name: str, actions: Actions, fresh_s: float | None) -> None:
        """The node first: label and taints are what keeps workloads away. The status tells of it."""
        if actions.node is not None:
            self._fleet.put_node(await self._cluster.patch_node(name, actions.node))
            self.metrics.writes.labels("node").inc()
            if fresh_s is not None:
                self.metrics.to_label.observe(moment().steady_s - fresh_s)
        if actions.status is not None:
            self._fleet.put_edge(await self._cluster.patch_status(name, actions.status))
            self.metrics.writes.labels("status").inc()
        if actions.announcement is not None:
            _log.info("%s: %s: %s", name, actions.announcement.state, actions.announcement.note)
            self._announcements.append(actions.announcement)

    async def _on_trouble(self, name: str, error: BaseException) -> None:
        """What is known of the node was out of date, or there is trouble with the API server: again, and later."""
        code = code_of(error)
        if code in {CONFLICT, NOT_FOUND}:
            with suppress(*TROUBLE):
                await self._read_again(name)
                self._queue.done(name)
                self._enqueue({name})
                return
        self.metrics.errors.labels("write").inc()
        now = moment()
        delay_s = self._queue.failed(name, self._fleet.urgency(name, now), now.steady_s)
        # Of an API server that is away one node's trouble tells enough.
        if code or now.steady_s >= self._complained_s + 1:
            self._complained_s = now.steady_s
            _log.warning("%s: not written, again in %.1f s: %s", name, delay_s, words_of(error))

    async def _read_again(self, name: str) -> None:
        try:
            self._fleet.put_node(await self._cluster.get_node(name), listed=True)
        except TROUBLE as error:
            if code_of(error) != NOT_FOUND:
                raise
            self._fleet.drop_node(name)
        try:
            self._fleet.put_edge(await self._cluster.get_edge(name), listed=True)
        except TROUBLE as error:
            if code_of(error) != NOT_FOUND:
                raise
            self._enqueue(self._fleet.drop_edge(name) - {name})

    async def _announce(self) -> Never:
        """Events are told as fast as is good for the API server, the oldest dropped if there are too many."""
        while True:
            await asyncio.sleep(1 / _EVENTS_PER_S)
            if not self._announcements or not self._may_write():
                continue
            try:
                await self._cluster.announce(self._announcements.popleft(), time.time())
                self.metrics.writes.labels("event").inc()
            except TROUBLE as error:
                self.metrics.errors.labels("event").inc()
                _log.warning("an event was not written: %s", words_of(error))

    # What time does.

    async def _tick(self) -> Never:
        while True:
            now = moment()
            self.condition.beat()
            self.condition.lacking = self._lacking()
            self._measure(now)
            self._queue.ripen(now.steady_s)
            leading = self._election.leading(now.steady_s)
            if leading and not self._led:
                _log.info("this replica writes now")
                self._enqueue(self._fleet.everybody())
            elif self._led and not leading:
                _log.warning("this replica writes no more")
            self._led = leading
            self._enqueue(self._fleet.tick(now))
            await asyncio.sleep(_TICK_S)

    def _lacking(self) -> str:
        missing = [kind for kind in ("nodes", "EdgeNodes") if kind not in self._listed]
        if missing:
            return f"waits for the API server's list of {' and '.join(missing)}"
        return "" if self._fleet.complete else "waits for the verifier's feed"

    def _measure(self, now: Moment) -> None:
        counts = self._fleet.counts()
        for state in State:
            self.metrics.nodes.labels(state).set(counts[state])
        self.metrics.queue.set(len(self._queue))
        self.metrics.leading.set(self._led)
        self.metrics.feed_age.set(self._fleet.feed_age_s(now))

    async def _lead(self) -> Never:
        while True:
            try:
                await self._campaign()
            except TROUBLE as error:
                if code_of(error) == CONFLICT:
                    self._election.lost()
                self.metrics.errors.labels("lease").inc()
                _log.warning("the lease was not renewed: %s", words_of(error))
            await asyncio.sleep(RENEW_S * random.uniform(0.8, 1))

    async def _campaign(self) -> None:
        asked_s = moment().steady_s
        record = await self._cluster.get_lease(LEASE, self._settings.namespace)
        wanted = self._election.first() if record is None else self._election.wanted(record, moment().steady_s)
        if wanted is None:
            return
        await self._cluster.write_lease(wanted, name=LEASE, namespace=self._settings.namespace, now_s=time.time())
        self._election.renewed(asked_s)

    async def _resign(self) -> None:
        """Give the lease up, so that another replica need not wait for its end."""
        if not self._election.leading(moment().steady_s):
            return
        self._election.lost()
        with suppress(*TROUBLE):
            record = await self._cluster.get_lease(LEASE, self._settings.namespace)
            if record is not None and record.holder == self._election.identity:
                given_up = self._election.given_up(record)
                await self._cluster.write_lease(
                    given_up, name=LEASE, namespace=self._settings.namespace, now_s=time.time()
                )


async def serve(settings: ControllerSettings) -> None:
    """Until SIGTERM or SIGINT. OSError if the probes' address cannot be had; lightkube's ConfigError."""
    identity = settings.identity or f"{socket.gethostname()}-{uuid4().hex[:8]}"
    client = connect()
    try:
        controller = Controller(settings, Cluster(client, settings.selector, identity), identity)
        with probes(settings.probe_host, settings.probe_port, controller.condition, controller.metrics.text) as port:
            _log.info("probes and metrics at %s port %d", settings.probe_host, port)
            running = asyncio.ensure_future(controller.run())
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, running.cancel)
            with suppress(asyncio.CancelledError):
                await running
    finally:
        await client.close()
