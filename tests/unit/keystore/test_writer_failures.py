"""A full disk and other failures of the file system: refused whole, and over when the cause is over."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edgeroot.keystore.writes import Insert, Remove, Result, Write
from tests.support.requirements import require_root
from tests.unit.keystore.keystore_support import Store, record

BIG = bytes(100_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    require_root("mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not let root mount: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


@contextmanager
def no_file_may_grow_beyond(limit_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_full_disk_refuses_the_batch_and_keeps_the_rest(small_disk: Path) -> None:
    store = Store(small_disk / "keys.edgeroot")
    store.apply([Insert(record("kept"))])
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))

    outcomes = store.apply([Insert(record("lost", reference=BIG)), Insert(record("lost too"))])
    assert [outcome.result for outcome in outcomes] == [Result.NO_SPACE] * 2
    assert "no space" in outcomes[0].detail
    _assert_only(store, "kept")

    filler.unlink()
    _assert_usable(store)
    store.close()


def test_failing_file_system_refuses_the_batch_and_keeps_the_rest(store: Store) -> None:
    store.apply([Insert(record("kept"))])
    with no_file_may_grow_beyond(40_000):
        outcomes = store.apply([Insert(record("lost")), Insert(record("lost too", reference=BIG))])
        assert [outcome.result for outcome in outcomes] == [Result.FAILED] * 2
        assert str(store.path) in outcomes[0].detail
        _assert_only(store, "kept")
    _assert_usable(store)


def test_store_locked_by_another_program_is_usable_later(store: Store) -> None:
    store.mortal.connection.execute("PRAGMA busy_timeout = 1")
    with _locked(store.path):
        assert store.apply([Insert(record())])[0].result is Result.FAILED
    _assert_usable(store)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


def _assert_only(store: Store, *key_names: str) -> None:
    assert [listing.identity.key_name for listing in store.reader.list_keys(3, "1000")] == list(key_names)


def _assert_usable(store: Store) -> None:
    batch: list[Write] = [Insert(record("again", reference=BIG)), Remove(record("again").identity, BIG)]
    assert [outcome.result for outcome in store.apply(batch)] == [Result.DONE] * 2
