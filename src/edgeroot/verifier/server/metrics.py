"""What the verifier counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest


class Metrics:
    """In a registry of its own: whoever embeds the application keeps theirs."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "edgeroot_verifier_requests",
            "Requests by what they asked for and how they were answered",
            ["operation", "status"],
            registry=self._registry,
        )
        self.results = Counter(
            "edgeroot_verifier_results", "Attestation results by ear.status", ["status"], registry=self._registry
        )
        self.seconds = Histogram(
            "edgeroot_verifier_request_seconds",
            "From a request's head to its answer",
            ["operation"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
            registry=self._registry,
        )

    def text(self) -> bytes:
        return generate_latest(self._registry)
