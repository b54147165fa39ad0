from __future__ import annotations

import os

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgeroot.auth import PeerCredentials
from edgeroot.daemon.audit import AuditLog
from edgeroot.daemon.log_output import LogOutput
from edgeroot.daemon.metrics import AUTH_TYPES, BUCKET_BOUNDS_NS, OPCODES, STATUSES, CounterTable, Totals
from edgeroot.daemon.metrics_text import MetricsText, Snapshot
from edgeroot.daemon.observer import MeteredObserver
from edgeroot.service.call import Call, Door
from edgeroot.wire.framing import Request
from edgeroot.wire.opcodes import Opcode
from edgeroot.wire.operations import AuthType
from edgeroot.wire.status import ResponseStatus

MS_NS = 1_000_000
US_NS = 1_000


def totals(*tables: CounterTable) -> Totals:
    return Totals().plus(*tables)


def text(
    of: Totals,
    *,
    workers: int = 1,
    parked: int = 0,
    restarts: dict[str, int] | None = None,
    missing: dict[str, int] | None = None,
) -> str:
    return MetricsText(lambda: Snapshot(of, workers, parked, restarts or {}, missing or {}))().decode()


def samples(of: str) -> dict[tuple[str, ...], float]:
    """By name and label values, ``le`` last."""
    return {
        (sample.name, *(value for label, value in sorted(sample.labels.items(), key=lambda item: item[0] == "le"))): (
            sample.value
        )
        for family in text_string_to_metric_families(of)
        for sample in family.samples
    }


def test_every_operation_and_status_has_a_counter_of_its_own() -> None:
    table = CounterTable(1)
    counters = table.counters(0)
    expected = {}
    for number, opcode in enumerate(OPCODES):
        for status in STATUSES:
            count = number * len(STATUSES) + status.value % 97 + 1
            for _ in range(count % 5 + 1):
                counters.answered_outside(opcode, status)
            expected[opcode, status] = count % 5 + 1

    seen = totals(table)

    assert {(opcode, status): n for opcode in OPCODES for status, n in seen.answers(opcode).items()} == expected
    assert all(sum(seen.durations(opcode)[0]) == 0 for opcode in OPCODES)
    assert (seen.accepted, seen.refused, seen.jobs, seen.store_writes, seen.audit_lost) == (0, 0, 0, 0, 0)


def test_single_counters_do_not_touch_each_other() -> None:
    table = CounterTable(2)
    counters = table.counters(1)
    counters.accepted(7)
    for _ in range(2):
        counters.refused()
    for _ in range(3):
        counters.job()
    for _ in range(4):
        counters.store_write()
    counters.audit_lost(5)
    for auth_type in (1, 1, 3, 200):
        counters.authentication_failed(auth_type)

    seen = totals(table)

    assert (seen.accepted, seen.refused, seen.jobs, seen.store_writes, seen.audit_lost) == (7, 2, 3, 4, 5)
    assert [seen.authentication_failures(auth_type) for auth_type in AUTH_TYPES] == [1, 2, 0, 1, 0]
    assert all(not seen.answers(opcode) for opcode in OPCODES)


@pytest.mark.parametrize(
    ("duration_ns", "bucket"),
    [(0, 0), (20 * US_NS, 0), (20 * US_NS + 1, 1), (MS_NS, 5), (10_000 * MS_NS, 17), (10_000 * MS_NS + 1, 18)],
)
def test_a_bucket_holds_what_does_not_exceed_its_bound(duration_ns: int, bucket: int) -> None:
    table = CounterTable(1)
    table.counters(0).answered(Opcode.PSA_SIGN_HASH, ResponseStatus.SUCCESS, duration_ns)

    counts, sum_ns = totals(table).durations(Opcode.PSA_SIGN_HASH)

    assert [index for index, count in enumerate(counts) if count] == [bucket]
    assert sum_ns == duration_ns
    assert len(counts) == len(BUCKET_BOUNDS_NS) + 1


def test_workers_and_configurations_add_up() -> None:
    before, now = CounterTable(3), CounterTable(2)
    for table, worker in ((before, 0), (before, 2), (now, 1)):
        table.counters(worker).answered(Opcode.PING, ResponseStatus.SUCCESS, MS_NS)
    before.counters(2).answered(Opcode.PING, ResponseStatus.SUCCESS, MS_NS)  # a restarted worker counts on

    assert Totals().plus(before).plus(now).answers(Opcode.PING) == {ResponseStatus.SUCCESS: 4}
    assert totals(before, now).durations(Opcode.PING)[1] == 4 * MS_NS


def test_other_processes_see_what_a_worker_counts() -> None:
    table = CounterTable(1)
    pid = os.fork()
    if pid == 0:
        table.counters(0).job()
        os._exit(0)
    os.waitpid(pid, 0)

    assert totals(table).jobs == 1


def call(opcode: int, auth_type: int) -> Call:
    request = Request(0, 0, 0, 0, 0, auth_type, opcode, b"", b"", 36)
    return Call(request, PeerCredentials(pid=1, uid=2, gid=3), Door({}), 0)


@pytest.mark.parametrize(
    ("auth_type", "status", "failures"),
    [
        (AuthType.UNIX_PEER_CREDENTIALS, ResponseStatus.AUTHENTICATION_ERROR, {AuthType.UNIX_PEER_CREDENTIALS: 1}),
        (AuthType.JWT, ResponseStatus.AUTHENTICATOR_NOT_REGISTERED, {AuthType.JWT: 1}),
        (AuthType.DIRECT, ResponseStatus.INVALID_ENCODING, {AuthType.DIRECT: 1}),
        (77, ResponseStatus.AUTHENTICATOR_NOT_REGISTERED, {None: 1}),
        (AuthType.NO_AUTH, ResponseStatus.NOT_AUTHENTICATED, {}),
        (AuthType.DIRECT, ResponseStatus.PSA_ERROR_DOES_NOT_EXIST, {}),
    ],
)
def test_the_observer_tells_who_was_not_believed(
    auth_type: int, status: ResponseStatus, failures: dict[int | None, int]
) -> None:
    table = CounterTable(1)
    observe = MeteredObserver(None, table.counters(0))

    observe(call(Opcode.LIST_KEYS, auth_type), status, MS_NS)

    seen = totals(table)
    assert seen.answers(Opcode.LIST_KEYS) == {status: 1}
    assert {
        one: seen.authentication_failures(one) for one in AUTH_TYPES if seen.authentication_failures(one)
    } == failures


def test_the_observer_audits_as_ever_and_counts_lost_lines() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    table = CounterTable(1)
    observe = MeteredObserver(AuditLog(LogOutput(writing), limit_bytes=300), table.counters(0))
    try:
        for _ in range(4):
            observe(call(Opcode.DELETE_CLIENT, AuthType.DIRECT), ResponseStatus.SUCCESS, MS_NS)
        observe.flush()
        told = os.read(reading, 1 << 16).decode().splitlines()
    finally:
        os.close(reading)
        os.close(writing)

    assert totals(table).audit_lost == 3
    assert '"opcode":"DeleteClient"' in told[0]
    assert '"lines":3' in told[1]


def test_an_unknown_opcode_is_counted_as_such() -> None:
    table = CounterTable(1)
    table.counters(0).answered(0x1D, ResponseStatus.OPCODE_DOES_NOT_EXIST, MS_NS)

    assert totals(table).answers(None) == {ResponseStatus.OPCODE_DOES_NOT_EXIST: 1}


def test_the_text() -> None:
    table = CounterTable(1)
    counters = table.counters(0)
    counters.answered(Opcode.PSA_SIGN_HASH, ResponseStatus.SUCCESS, 300 * US_NS)
    counters.answered(Opcode.PSA_SIGN_HASH, ResponseStatus.PSA_ERROR_DOES_NOT_EXIST, 30 * US_NS)
    counters.authentication_failed(AuthType.UNIX_PEER_CREDENTIALS)
    counters.accepted(9)

    seen = samples(text(totals(table), workers=4, parked=5, restarts={"worker": 6}, missing={"tee": 7}))

    assert seen["edgeroot_requests_total", "PsaSignHash", "Success"] == 1
    assert seen["edgeroot_requests_total", "PsaSignHash", "PsaErrorDoesNotExist"] == 1
    below = {
        le: seen["edgeroot_request_duration_seconds_bucket", "PsaSignHash", le] for le in ("2e-05", "5e-05", "+Inf")
    }
    assert below == {"2e-05": 0, "5e-05": 1, "+Inf": 2}
    assert seen["edgeroot_request_duration_seconds_count", "PsaSignHash"] == 2
    assert seen["edgeroot_request_duration_seconds_sum", "PsaSignHash"] == pytest.approx(0.00033)
    assert seen["edgeroot_authentication_failures_total", "UnixPeerCredentials"] == 1
    assert seen["edgeroot_connections_accepted_total",] == 9
    assert (seen["edgeroot_workers",], seen["edgeroot_connections_parked",]) == (4, 5)
    assert seen["edgeroot_process_restarts_total", "worker"] == 6
    assert seen["edgeroot_keys_missing", "tee"] == 7
    assert not any("Ping" in key for key in seen)
