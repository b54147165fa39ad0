"""The supervisor's side of the metrics: totals that outlive each configuration, and the endpoint that shows them."""

from __future__ import annotations

import selectors
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from edgeroot.daemon.config import MetricsConfig
from edgeroot.daemon.control import Role
from edgeroot.daemon.metrics import CounterTable, Totals
from edgeroot.daemon.metrics_endpoint import Door, MetricsEndpoint


@dataclass(frozen=True, slots=True)
class Present:
    """The processes as they are now. ``tables`` are the counters of all configurations that still have workers."""

    tables: tuple[CounterTable, ...]
    workers: int
    parked_connections: int
    all_ready: bool
    missing_keys: Mapping[str, int]


class MetricsKeeper:
    """Off until :meth:`serve` is called with a configuration; what costs anything is imported then."""

    def __init__(self, selector: selectors.BaseSelector, look: Callable[[], Present]) -> None:
        self._selector = selector
        self._look = look
        self._past = Totals()
        self._restarts = Counter(dict.fromkeys(Role, 0))
        self._endpoint: MetricsEndpoint | None = None

    def open_door(self, config: MetricsConfig | None) -> Door | None:
        """A door for :meth:`serve`, or None if the present one stays or none is wanted. ListenError."""
        if config is None or (self._endpoint is not None and self._endpoint.config == config):
            return None
        return Door.open(config)

    def serve(self, config: MetricsConfig | None, door: Door | None) -> None:
        """Serve ``config`` from now on, at the door that was opened for it."""
        if self._endpoint is not None and self._endpoint.config != config:
            self._endpoint.close()
            self._endpoint = None
        if config is None or door is None:
            return
        from edgeroot.daemon.metrics_text import CONTENT_TYPE, MetricsText, Snapshot

        def snapshot() -> Snapshot:
            present = self._look()
            return Snapshot(
                totals=self._past.plus(*present.tables),
                workers=present.workers,
                parked_connections=present.parked_connections,
                restarts={role.value: count for role, count in self._restarts.items()},
                missing_keys=present.missing_keys,
            )

        self._endpoint = MetricsEndpoint(
            config,
            door,
            self._selector,
            render=MetricsText(snapshot),
            content_type=CONTENT_TYPE,
            healthy=lambda: self._look().all_ready,
        )

    def retire(self, table: CounterTable | None) -> None:
        """Keep what the workers of a configuration that is over have counted."""
        if table is not None:
            self._past = self._past.plus(table)

    def count_restart(self, role: Role) -> None:
        self._restarts[role] += 1

    def bounded(self, timeout_s: float | None) -> float | None:
        """How long the supervisor may wait, at most ``timeout_s``."""
        if self._endpoint is None or self._endpoint.next_s() == float("inf"):
            return timeout_s
        due_s = max(0.0, self._endpoint.next_s() - monotonic())
        return due_s if timeout_s is None else min(timeout_s, due_s)

    def expire(self) -> None:
        if self._endpoint is not None:
            self._endpoint.expire(monotonic())

    def release(self) -> None:
        """In a forked child: let go of the descriptors."""
        if self._endpoint is not None:
            self._endpoint.release()

    def close(self) -> None:
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None
