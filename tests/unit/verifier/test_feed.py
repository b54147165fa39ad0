"""The feed as the store tells it: nothing is missed, whatever happens meanwhile and to the store."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeroot.verifier.desk import revoke
from edgeroot.verifier.feed import NEVER_S, Change, Cursor, UnknownCursorError
from edgeroot.verifier.findings import ComponentVerdict, Findings, Match
from edgeroot.verifier.ports import FeedRecords, Revoked
from edgeroot.verifier.store import SqliteStorage, open_store
from edgeroot.verifier.store.schema import SCHEMA_VERSION
from edgeroot.verifier.trust import Status
from tests.unit.verifier.test_corim import BOOT, REST
from tests.unit.verifier.test_store_fleet import CHANGED, GOOD, LARGE, VERSION_1, endorse, judged, name, tables

SAID_OF_BOOT = ComponentVerdict(
    name=BOOT.name or "", match=Match.MATCHED, measurement=BOOT.measurement, signer_id=BOOT.signer_id, version="1.2.3"
)
RUNS_BOOT = Findings(GOOD.checks, (SAID_OF_BOOT, ComponentVerdict(name="PRoT", match=Match.MISSING)))


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteStorage]:
    with open_store(tmp_path / "fleet.db", create=True) as one:
        endorse(one, *range(1, 10))
        yield one


def attested(storage: SqliteStorage, number: int, at_s: int = 100, status: Status = Status.AFFIRMING) -> None:
    """As the desk does: with a line in the audit log."""
    with storage.transaction():
        storage.add_result(name(number), at_s=at_s, status=status, claims={"exp": at_s + 60}, findings=RUNS_BOOT)
        storage.log({"device": number, "at_s": at_s})


def read_all(records: FeedRecords, after: Cursor | None = None, limit: int = 2) -> tuple[list[Change], Cursor]:
    found: list[Change] = []
    while True:
        page = records.feed_page(after, limit)
        found += page.changes
        after = page.cursor
        if not page.more:
            return found, after


def numbers(changes: list[Change]) -> list[int]:
    return [int.from_bytes(one.device[1:]) for one in changes]


def test_what_a_change_says(storage: SqliteStorage) -> None:
    claims = {"exp": 160}
    with storage.transaction():
        storage.add_result(name(1), at_s=100, status=2, claims=claims, findings=RUNS_BOOT, lifecycle="secured")
    page = storage.feed_page(None, 10)
    assert page.changes == (
        Change(
            number=1,
            device=name(1),
            status=Status.AFFIRMING,
            reason="",
            evaluated_at_s=100,
            expires_at_s=160,
            lifecycle="secured",
            components=(SAID_OF_BOOT,),
        ),
    )
    assert not page.more
    judged(storage, 1, 200, Status.CONTRAINDICATED, CHANGED)
    (change,) = storage.feed_page(None, 10).changes
    assert (change.number, change.reason, change.expires_at_s) == (2, "BL was changed", 2_000)


def test_devices_come_in_the_order_of_their_last_change(storage: SqliteStorage) -> None:
    assert read_all(storage) == ([], Cursor(0, 0, bytes(16)))
    for number in (1, 2, 3, 2, 1, 1):
        attested(storage, number)
    changes, cursor = read_all(storage)
    assert numbers(changes) == [3, 2, 1]
    assert read_all(storage, cursor)[0] == []
    attested(storage, 1)
    assert numbers(read_all(storage, cursor)[0]) == [1], "the same device again, and nobody behind it"


def test_pages_miss_nothing_while_devices_change(storage: SqliteStorage) -> None:
    for number in range(1, 8):
        attested(storage, number, at_s=100)
    first = storage.feed_page(None, 3)
    assert (numbers(list(first.changes)), first.more) == ([1, 2, 3], True)
    for number in (2, 5, 8):
        attested(storage, number, at_s=200)
    rest, _ = read_all(storage, first.cursor)
    assert numbers(rest) == [4, 6, 7, 2, 5, 8]
    assert [one.evaluated_at_s for one in rest] == [100, 100, 100, 200, 200, 200]


def test_a_cursor_goes_on_after_a_restart(tmp_path: Path, storage: SqliteStorage) -> None:
    attested(storage, 1)
    _, cursor = read_all(storage)
    attested(storage, 2)
    with open_store(tmp_path / "fleet.db") as again:
        assert numbers(read_all(again, Cursor.parse(cursor.text()))[0]) == [2]


def test_a_cursor_of_a_history_that_was_undone_is_unknown(tmp_path: Path, storage: SqliteStorage) -> None:
    attested(storage, 1)
    _, before = read_all(storage)
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        storage._connection.backup(copy)
    copy.close()
    attested(storage, 2)
    _, after = read_all(storage)
    with open_store(tmp_path / "copy.db") as restored:
        assert read_all(restored, before)[0] == []
        with pytest.raises(UnknownCursorError, match="start over"):
            restored.feed_page(after, 10)
        attested(restored, 3)
        attested(restored, 4)
        with pytest.raises(UnknownCursorError, match="start over"):
            restored.feed_page(after, 10)
        assert numbers(read_all(restored, before)[0]) == [3, 4]


def test_cursors_of_nobodys_making(storage: SqliteStorage) -> None:
    attested(storage, 1)
    _, cursor = read_all(storage)
    link = cursor.link.hex()
    for text in (
        "",
        "1",
        "1-1",
        f"1-1-{link}-",
        f"-1-1-{link}",
        f"x-1-{link}",
        f"1-1-{link}00",
        f"{'9' * 19}-1-{link}",
    ):
        with pytest.raises(UnknownCursorError):
            Cursor.parse(text)
    for text in (f"2-1-{link}", f"1-2-{link}", f"1-0-{link}", f"1-1-{'0' * 32}", f"{'9' * 18}-1-{link}"):
        with pytest.raises(UnknownCursorError):
            storage.feed_page(Cursor.parse(text), 10)


def test_a_revoked_device_is_contraindicated_at_once(storage: SqliteStorage) -> None:
    attested(storage, 1)
    attested(storage, 2)
    _, cursor = read_all(storage)
    for number in (1, 3):
        revoke(storage, Revoked.DEVICE, name(number).hex(), "stolen", now_s=500)
    revoke(storage, Revoked.DEVICE, name(100).hex(), "nobody endorsed it", now_s=500)
    changes, cursor = read_all(storage, cursor)
    assert numbers(changes) == [1, 3], "one that was never heard of, too"
    for change in changes:
        assert (change.status, change.reason) == (Status.CONTRAINDICATED, "the device was revoked: stolen")
        assert (change.evaluated_at_s, change.expires_at_s) == (500, NEVER_S)
    attested(storage, 1, at_s=600, status=Status.CONTRAINDICATED)
    (change,) = read_all(storage, cursor)[0]
    assert (change.evaluated_at_s, change.expires_at_s) == (600, NEVER_S), "a result ends no revocation"


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (Revoked.MEASUREMENT, BOOT.measurement.hex()),
        (Revoked.SIGNER, BOOT.signer_id.hex()),
        (Revoked.VERSION, "BL=1.2.3"),
    ],
)
def test_whoever_runs_what_is_revoked_is_contraindicated_at_once(
    storage: SqliteStorage, kind: Revoked, named: str
) -> None:
    attested(storage, 1)
    judged(storage, 2, 100, Status.AFFIRMING, Findings())
    judged(storage, 3, 100, Status.CONTRAINDICATED, CHANGED)
    attested(storage, 4)
    _, cursor = read_all(storage)
    revoke(storage, Revoked.VERSION, "PRoT=9.9.9", "nobody runs it", now_s=500)
    assert read_all(storage, cursor)[0] == []
    revoke(storage, kind, named, "a hole", now_s=500)
    changes, cursor = read_all(storage, cursor)
    assert numbers(changes) == [1, 4]
    assert {(one.status, one.reason) for one in changes} == {
        (Status.CONTRAINDICATED, "BL (version 1.2.3) was revoked: a hole")
    }
    judged(storage, 1, 600, Status.AFFIRMING, Findings())
    (change,) = read_all(storage, cursor)[0]
    assert change.status is Status.AFFIRMING, "it runs something else now"


def test_a_component_of_another_signer_is_not_what_was_revoked(storage: SqliteStorage) -> None:
    alike = ComponentVerdict(name="BL", match=Match.MATCHED, measurement=REST.measurement, signer_id=b"\x0f" * 32)
    judged(storage, 1, 100, Status.AFFIRMING, Findings((), (alike,)))
    revoke(storage, Revoked.SIGNER, REST.signer_id.hex(), "known to all", now_s=500)
    (change,) = read_all(storage)[0]
    assert (change.number, change.status) == (1, Status.AFFIRMING)


def test_a_store_of_the_release_before_is_taken_over(tmp_path: Path, storage: SqliteStorage) -> None:
    for number, at_s in ((2, 100), (1, 200), (2, 300)):
        attested(storage, number, at_s=at_s)
    storage._execute("DROP TABLE feed")
    storage._execute(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
    storage.close()
    with open_store(tmp_path / "fleet.db") as taken_over:
        changes, cursor = read_all(taken_over)
        assert numbers(changes) == [1, 2], "a device without a result is not in it"
        assert [(one.evaluated_at_s, one.expires_at_s) for one in changes] == [(200, 2_000), (300, 2_100)]
        attested(taken_over, 1)
        assert numbers(read_all(taken_over, cursor)[0]) == [1]
    first = sqlite3.connect(tmp_path / "first.db")
    first.executescript(VERSION_1)
    first.close()
    with open_store(tmp_path / "first.db") as oldest:
        assert read_all(oldest)[0] == []
    assert tables(tmp_path / "first.db") == tables(tmp_path / "fleet.db")


def test_a_hundred_thousand_devices(tmp_path: Path, storage: SqliteStorage) -> None:
    """All of it within a second, on a busy machine; measured on an idle one: 30 ms."""
    with sqlite3.connect(tmp_path / "fleet.db") as other:
        other.execute(
            "INSERT INTO firmware SELECT value, CAST(value AS BLOB), x'07', '[]' FROM json_each('[2, 3, 4, 5]')"
        )
        other.execute(LARGE)
        other.execute("INSERT INTO feed SELECT device, instance_id, at_s, at_s + 60, '' FROM latest")
    other.close()
    began_s = time.perf_counter()
    for after in (None, Cursor(50_000, 0, bytes(16)), Cursor(99_990, 0, bytes(16))):
        assert storage.feed_page(after, 500).changes
    attested(storage, 1)
    took_s = time.perf_counter() - began_s
    assert took_s < 1
    plan = storage._execute("EXPLAIN QUERY PLAN SELECT change FROM feed WHERE change > 1 ORDER BY change LIMIT 9")
    assert "SEARCH feed USING INTEGER PRIMARY KEY" in plan.fetchone()[3]
