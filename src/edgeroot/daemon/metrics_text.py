"""The metrics as Prometheus reads them. What is said of each is also what ``docs/metrics.md`` says.

Imported only where metrics are on: the library takes a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from edgeroot import __version__
from edgeroot.daemon.control import Role
from edgeroot.daemon.metrics import AUTH_TYPES, BUCKET_BOUNDS_NS, OPCODES, Totals
from edgeroot.service.quotas import Limit
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.operations import AuthType

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_NS_PER_S: Final = 1e9
_BOUNDS: Final = [*(str(bound_ns / _NS_PER_S) for bound_ns in BUCKET_BOUNDS_NS), "+Inf"]
_ROLES: Final = ", ".join(role.value for role in Role)
_AUTH_NAMES: Final = {
    AuthType.DIRECT: "Direct",
    AuthType.JWT: "JWT",
    AuthType.UNIX_PEER_CREDENTIALS: "UnixPeerCredentials",
    AuthType.JWT_SVID: "JwtSvid",
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers at one moment.

    ``restarts`` counts the child processes started anew, by what they are; ``missing_keys`` what back ends have lost,
    by the provider's name.
    """

    totals: Totals
    workers: int
    parked_connections: int
    restarts: Mapping[str, int]
    missing_keys: Mapping[str, int]


class MetricsText:
    """Puts ``take()`` into words at each call."""

    def __init__(self, take: Callable[[], Snapshot]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_ServiceCollector(take))

    def __call__(self) -> bytes:
        return generate_latest(self._registry)


class _ServiceCollector(Collector):
    def __init__(self, take: Callable[[], Snapshot]) -> None:
        self._take = take

    def describe(self) -> list[Metric]:
        return []  # or registering would take a snapshot before there is anything to see

    def collect(self) -> Iterator[Metric]:
        snapshot = self._take()
        totals = snapshot.totals
        yield _requests(totals)
        yield _durations(totals)
        yield _authentication_failures(totals)
        yield CounterMetricFamily(
            "edgeroot_connections_accepted",
            "Connections taken from the listeners, refused ones included.",
            totals.accepted,
        )
        yield CounterMetricFamily(
            "edgeroot_connections_refused",
            "Connections closed at once, because their user had max_connections_per_user already.",
            totals.refused,
        )
        yield GaugeMetricFamily(
            "edgeroot_connections_parked",
            "Connections that wait for a byte: kept ones between two requests, and slow ones.",
            snapshot.parked_connections,
        )
        yield CounterMetricFamily(
            "edgeroot_helper_jobs",
            "Operations that take too long for a worker, such as generating an RSA key, and were handed to a helper.",
            totals.jobs,
        )
        yield CounterMetricFamily(
            "edgeroot_token_questions",
            "Requests that waited for the identity process to judge their token. A token is asked about again whenever "
            "its verdict is over.",
            totals.token_questions,
        )
        yield _beyond_quotas(totals)
        yield CounterMetricFamily("edgeroot_store_writes", "Changes handed to a store's writer.", totals.store_writes)
        yield CounterMetricFamily(
            "edgeroot_audit_lines_lost",
            "Audit lines that were dropped, because standard error took none for too long. Alert on it.",
            totals.audit_lost,
        )
        yield GaugeMetricFamily(
            "edgeroot_workers",
            "Worker processes. After a reload those that finish their last requests count too.",
            snapshot.workers,
        )
        restarts = CounterMetricFamily(
            "edgeroot_process_restarts",
            f"Processes ({_ROLES}) that ended unasked and were started anew. Alert on it.",
            labels=["role"],
        )
        for role, count in snapshot.restarts.items():
            restarts.add_metric([role], count)
        yield restarts
        missing = GaugeMetricFamily(
            "edgeroot_keys_missing",
            "Keys and objects that the store names and the back end has lost, by the last look at each. Alert on it.",
            labels=["provider"],
        )
        for provider, count in snapshot.missing_keys.items():
            missing.add_metric([provider], count)
        yield missing
        build = GaugeMetricFamily("edgeroot_build_info", "Always 1.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build


def _opcode_name(opcode: int | None) -> str:
    return "unknown" if opcode is None else Opcode(opcode).display_name


def _requests(totals: Totals) -> Metric:
    requests = CounterMetricFamily(
        "edgeroot_requests",
        "Answered requests. status is the protocol's name of the answer, Success among them. operation is unknown for "
        "what was no request or named no operation.",
        labels=["operation", "status"],
    )
    for opcode in OPCODES:
        for status, count in totals.answers(opcode).items():
            requests.add_metric([_opcode_name(opcode), status.display_name], count)
    return requests


def _durations(totals: Totals) -> Metric:
    durations = HistogramMetricFamily(
        "edgeroot_request_duration_seconds",
        "From the moment that a complete request is looked at to its answer, waiting for the store and for helpers "
        "included. Requests that were cut off or ran out of time have no duration.",
        labels=["operation"],
    )
    for opcode in OPCODES:
        counts, sum_ns = totals.durations(opcode)
        if any(counts):
            below = [sum(counts[: index + 1]) for index in range(len(counts))]
            buckets = list(zip(_BOUNDS, map(float, below), strict=True))
            durations.add_metric([_opcode_name(opcode)], buckets, sum_ns / _NS_PER_S)
    return durations


def _beyond_quotas(totals: Totals) -> Metric:
    beyond = CounterMetricFamily(
        "edgeroot_requests_beyond_quota",
        f"Requests refused because of their application's quota, by its key: {', '.join(Limit)}.",
        labels=["limit"],
    )
    for limit in Limit:
        beyond.add_metric([limit], totals.beyond_quota(limit))
    return beyond


def _authentication_failures(totals: Totals) -> Metric:
    failures = CounterMetricFamily(
        "edgeroot_authentication_failures",
        "Requests whose identity was not believed, or that came with an authenticator that is not accepted there.",
        labels=["authenticator"],
    )
    for auth_type in AUTH_TYPES:
        name = "unknown" if auth_type is None else _AUTH_NAMES[AuthType(auth_type)]
        failures.add_metric([name], totals.authentication_failures(auth_type))
    return failures
