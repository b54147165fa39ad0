"""What the controller counts. Names are stable: dashboards and alerts go by them."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from edgeroot.edge.controller.records import State

_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)


class Metrics:
    """One registry of its own. No name of a node or device is a label: 5,000 nodes are 5,000 time series."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        prefix = "edgeroot_controller_"
        self.nodes = Gauge(f"{prefix}nodes", "EdgeNodes by state.", ["state"], registry=registry)
        self.to_label = Histogram(
            f"{prefix}result_to_label_seconds",
            "From a result's arrival to the node's label and taints, where they change.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.feed_age = Gauge(f"{prefix}feed_age_seconds", "Since the verifier was heard.", registry=registry)
        self.queue = Gauge(f"{prefix}queue", "Nodes that wait for their turn.", registry=registry)
        self.leading = Gauge(f"{prefix}leading", "1 if this replica is the one that writes.", registry=registry)
        self.writes = Counter(f"{prefix}api_writes", "Writes that the API server took.", ["kind"], registry=registry)
        self.errors = Counter(f"{prefix}errors", "What went wrong, by where.", ["where"], registry=registry)
        self.results = Counter(f"{prefix}results", "Results read from the feed.", registry=registry)
        for state in State:
            self.nodes.labels(state)
        for kind in ("node", "status", "event"):
            self.writes.labels(kind)
        for where in ("feed", "list", "write", "lease", "event"):
            self.errors.labels(where)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
