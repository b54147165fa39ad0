"""All nodes, EdgeNodes and results, and which of them has to be looked at when something changes. It does no IO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from heapq import heapify, heappop, heappush
from typing import Final

from edgeroot.edge.controller.actions import Actions, decide, wanted_taints
from edgeroot.edge.controller.contact import Contact
from edgeroot.edge.controller.records import Component, EdgeNode, Moment, Node, Result, State
from edgeroot.edge.controller.verdict import NEVER, Held, Judgement, Knowledge, Policy, hold, judge
from edgeroot.edge.controller.work import Urgency

_STEP_S: Final = 1.0
"""By how much the clocks drift apart before that is a clock that was set."""


class Fleet:
    """What is known. Everything that changes it returns the names of the nodes that it touches."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._nodes: dict[str, Node] = {}
        self._edges: dict[str, EdgeNode] = {}
        self._claims: dict[str, set[str]] = {}
        self._held: dict[str, Held] = {}
        self._complete = False
        self._reading: set[str] | None = None
        self._contact = Contact(policy.recovery_s)
        self._was_away = True
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._offset_s: float | None = None
        # Devices of one release report the same components: one tuple serves them all.
        self._components: dict[tuple[Component, ...], tuple[Component, ...]] = {}

    # What the API server says.

    def put_node(self, node: Node, *, listed: bool = False) -> set[str]:
        """``listed``: from a list, which is right even if its version is lower: etcd may have been restored."""
        known = self._nodes.get(node.name)
        if known is not None and not listed and known.uid == node.uid and _older(node.version, known.version):
            return set()
        self._nodes[node.name] = node
        # Most updates are a kubelet's heartbeat: nothing that decides has changed.
        if known is not None and not listed and _weighs(known) == _weighs(node):
            return set()
        return {node.name}

    def drop_node(self, name: str) -> set[str]:
        return {name} if self._nodes.pop(name, None) is not None else set()

    def list_nodes(self, nodes: Iterable[Node]) -> set[str]:
        """All that there are."""
        gone = set(self._nodes)
        touched: set[str] = set()
        for node in nodes:
            gone.discard(node.name)
            touched |= self.put_node(node, listed=True)
        for name in gone:
            touched |= self.drop_node(name)
        return touched

    def put_edge(self, edge: EdgeNode, *, listed: bool = False) -> set[str]:
        known = self._edges.get(edge.name)
        if known is not None and not listed and known.uid == edge.uid and _older(edge.version, known.version):
            return set()
        touched = {edge.name}
        if known is None or known.device != edge.device:
            touched |= self._unclaim(known)
            rivals = self._claims.setdefault(edge.device, set())
            touched |= rivals
            rivals.add(edge.name)
        elif not listed and known.uid == edge.uid and known.status == edge.status:
            touched = set()
        self._edges[edge.name] = edge
        return touched

    def drop_edge(self, name: str) -> set[str]:
        known = self._edges.pop(name, None)
        return set() if known is None else {name} | self._unclaim(known)

    def list_edges(self, edges: Iterable[EdgeNode]) -> set[str]:
        """All that there are."""
        gone = set(self._edges)
        touched: set[str] = set()
        for edge in edges:
            gone.discard(edge.name)
            touched |= self.put_edge(edge, listed=True)
        for name in gone:
            touched |= self.drop_edge(name)
        return touched

    def _unclaim(self, edge: EdgeNode | None) -> set[str]:
        """The others that claim the same device."""
        if edge is None:
            return set()
        rivals = self._claims.get(edge.device, set())
        rivals.discard(edge.name)
        if not rivals:
            self._claims.pop(edge.device, None)
        return set(rivals)

    # What the verifier says.

    def start_over(self) -> None:
        """The next pages are the verifier's whole state: what is not in them is no longer so."""
        self._reading = set()

    def take(self, results: Iterable[Result], *, more: bool, now: Moment) -> set[str]:
        """A page of the feed."""
        touched: set[str] = set()
        for result in results:
            held = self._held.get(result.device)
            new = hold(held, self._shared(result), now, self._policy)
            if self._reading is not None:
                self._reading.add(result.device)
            if new is not held:
                self._held[result.device] = new
                touched |= self._claims.get(result.device, set())
        self._contact.heard(now)
        if self._reading is not None and not more:
            for device in self._held.keys() - self._reading:
                del self._held[device]
                touched |= self._claims.get(device, set())
            self._reading = None
            if not self._complete:
                self._complete = True
                touched |= self._edges.keys()
        return touched

    def unreachable(self) -> None:
        """The verifier could not be asked."""
        self._contact.failed()

    def _shared(self, result: Result) -> Result:
        return replace(result, components=self._components.setdefault(result.components, result.components))

    # What follows.

    def decide(self, name: str, now: Moment) -> Actions:
        """What to write for a node, and when to look again."""
        edge, node = self._edges.get(name), self._nodes.get(name)
        judgement = self._judge(name, now)
        self._remember(name, now.steady_s + judgement.recheck_s)
        return decide(edge, node, judgement, now=now, policy=self._policy)

    def urgency(self, name: str, now: Moment) -> Urgency:
        """What it would cost to wait with a node: most if it has to lose its workloads."""
        state = self._judge(name, now).state
        if state is State.AFFIRMED:
            return Urgency.GAINED
        node = self._nodes.get(name)
        if state is State.CONTRAINDICATED and node is not None:
            there = {(one.key, one.effect) for one in node.taints}
            if any((one.key, one.effect) not in there for one in wanted_taints(state, self._policy)):
                return Urgency.CONTRAINDICATED
        return Urgency.LOST

    def _judge(self, name: str, now: Moment) -> Judgement:
        edge = self._edges.get(name)
        known = Knowledge(
            held=None if edge is None else self._held.get(edge.device),
            complete=self._complete,
            away=self._contact.away(now),
            rivals=() if edge is None else self._claims[edge.device] - {name},
        )
        return judge(edge, self._nodes.get(name), known, now=now, policy=self._policy)

    def _remember(self, name: str, at_s: float) -> None:
        if at_s == NEVER or name not in self._edges:
            self._due.pop(name, None)
            return
        if self._due.get(name) != at_s:
            self._due[name] = at_s
            heappush(self._heap, (at_s, name))
        # Each result leaves an entry behind that nobody waits for any more.
        if len(self._heap) > 2 * len(self._due) + 1024:
            self._heap = [(at_s, one) for one, at_s in self._due.items()]
            heapify(self._heap)

    def tick(self, now: Moment) -> set[str]:
        """Whom the time touches: whose result expires, and everybody if a clock was set or the verifier came back."""
        touched: set[str] = set()
        while self._heap and self._heap[0][0] <= now.steady_s:
            at_s, name = heappop(self._heap)
            if self._due.get(name) == at_s:
                del self._due[name]
                touched.add(name)
        offset_s = now.wall_s - now.steady_s
        stepped = self._offset_s is not None and abs(offset_s - self._offset_s) > _STEP_S
        if self._offset_s is None or stepped:
            self._offset_s = offset_s
        away = self._contact.away(now)
        if stepped or (self._was_away and not away):
            touched |= self._edges.keys()
        self._was_away = away
        return touched

    def everybody(self) -> set[str]:
        return self._edges.keys() | self._nodes.keys()

    # What is told.

    @property
    def complete(self) -> bool:
        """Whether the verifier's whole state was read."""
        return self._complete

    def feed_age_s(self, now: Moment) -> float:
        return self._contact.age_s(now)

    def received_s(self, name: str) -> float | None:
        """When the result that counts for a node came, by the clock that only runs."""
        edge = self._edges.get(name)
        held = None if edge is None else self._held.get(edge.device)
        return None if held is None else held.received_s

    def counts(self) -> Counter[State]:
        """How many EdgeNodes stand how, as their status says."""
        return Counter(edge.status.state for edge in self._edges.values() if edge.status is not None)


def _older(version: str, known: str) -> bool:
    """Versions grow with the store's revisions; what is no number is taken as it comes."""
    try:
        return int(version) < int(known)
    except ValueError:
        return False


def _weighs(node: Node) -> tuple[object, ...]:
    return (node.uid, node.attested, node.selected, node.taints)
