from __future__ import annotations

import os
import sqlite3
from base64 import urlsafe_b64encode
from contextlib import closing
from pathlib import Path

import pytest

from edgeroot.keystore.database import create_store, store_path_for
from edgeroot.keystore.records import KeyStoreError
from edgeroot.keystore.upstream import refuse_unadopted

# Parsec's SQLite key info manager, schema version 1.
UPSTREAM_SCHEMA = """
CREATE TABLE kim_metadata (id TEXT NOT NULL PRIMARY KEY, int_value INTEGER NOT NULL);
INSERT INTO kim_metadata VALUES ('schema_version', 1);
CREATE TABLE key_mapping (
  authenticator_id INTEGER NOT NULL, application_name TEXT NOT NULL, key_name TEXT NOT NULL,
  provider_uuid TEXT NOT NULL, provider_name TEXT NOT NULL, key_id BLOB NOT NULL, key_id_version INTEGER NOT NULL,
  key_attributes BLOB NOT NULL, key_attributes_version INTEGER NOT NULL,
  PRIMARY KEY (authenticator_id, application_name, key_name));
"""
UUID = "1c1139dc-ad7c-47dc-ad6b-db6fdb466552"


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Path:
    path = tmp_path / "sqlite-key-info-manager.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(UPSTREAM_SCHEMA)
    _add_row(path, 255, "parsec", "RootKey")
    return path


@pytest.fixture
def disk_store(tmp_path: Path) -> Path:
    path = tmp_path / "mappings"
    _add_file(path, "parsec", "tpmRootKeyTPM")
    return path


def test_nothing_there(tmp_path: Path) -> None:
    refuse_unadopted(tmp_path / "missing.sqlite3", "SQLite")
    refuse_unadopted(tmp_path, "OnDisk")


def test_upstreams_own_keys_do_not_count(sqlite_store: Path, disk_store: Path) -> None:
    refuse_unadopted(sqlite_store, "SQLite")
    refuse_unadopted(disk_store, "OnDisk")


def test_sqlite_store_with_keys_is_refused_and_left_alone(sqlite_store: Path) -> None:
    _add_row(sqlite_store, 3, "1000", "a")
    _add_row(sqlite_store, 3, "parsec", "b")
    before = sqlite_store.read_bytes()

    with pytest.raises(KeyStoreError, match=r"with 2 keys .* \(SQLite\).*`edgeroot migrate`.*another path") as raised:
        refuse_unadopted(sqlite_store, "SQLite")
    assert str(sqlite_store) in str(raised.value)
    assert sqlite_store.read_bytes() == before
    assert list(sqlite_store.parent.iterdir()) == [sqlite_store]


def test_sqlite_store_in_a_directory_that_cannot_be_written(sqlite_store: Path) -> None:
    _add_row(sqlite_store, 3, "1000", "a")
    sqlite_store.parent.chmod(0o500)
    try:
        with pytest.raises(KeyStoreError, match="with 1 key lies"):
            refuse_unadopted(sqlite_store, "SQLite")
    finally:
        sqlite_store.parent.chmod(0o700)


def test_rows_still_in_a_log_count(sqlite_store: Path) -> None:
    with closing(sqlite3.connect(sqlite_store, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        _insert(connection, 3, "1000", "a")
        with pytest.raises(KeyStoreError, match="with 1 key lies"):
            refuse_unadopted(sqlite_store, "SQLite")


def test_disk_store_with_keys_is_refused_and_left_alone(disk_store: Path) -> None:
    for name in ("a", "b"):
        _add_file(disk_store, _base64("1000"), "1", _base64(name))
    _add_file(disk_store, _base64("1001"), "3", _base64("a"))

    with pytest.raises(KeyStoreError, match=r"with 3 keys .* \(OnDisk\)"):
        refuse_unadopted(disk_store, "OnDisk")
    assert sum(len(files) for _, _, files in os.walk(disk_store)) == 4


def test_empty_folders_hold_no_keys(disk_store: Path) -> None:
    (disk_store / _base64("1000") / "1").mkdir(parents=True)

    refuse_unadopted(disk_store, "OnDisk")


def test_our_own_store_without_the_note_does_not_stand_for_adoption(disk_store: Path) -> None:
    _add_file(disk_store, _base64("1000"), "1", _base64("a"))
    ours = store_path_for(disk_store)
    create_store(ours)
    with pytest.raises(KeyStoreError, match="with 1 key"):
        refuse_unadopted(disk_store, "OnDisk")

    with closing(sqlite3.connect(ours)) as connection, connection:
        connection.execute("INSERT INTO meta VALUES ('adopted', ?)", (str(disk_store),))
    refuse_unadopted(disk_store, "OnDisk")


def test_database_of_somebody_else_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite3"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE cats (name)")

    refuse_unadopted(path, "SQLite")
    path.write_bytes(b"not a database")
    refuse_unadopted(path, "SQLite")


def test_damaged_store_is_refused(sqlite_store: Path) -> None:
    content = sqlite_store.read_bytes()
    sqlite_store.write_bytes(content[:100] + bytes(byte ^ 0xFF for byte in content[100:]))

    with pytest.raises(KeyStoreError, match="cannot be read"):
        refuse_unadopted(sqlite_store, "SQLite")


def _add_row(path: Path, authenticator: int, application: str, key_name: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        _insert(connection, authenticator, application, key_name)


def _insert(connection: sqlite3.Connection, authenticator: int, application: str, key_name: str) -> None:
    row = (authenticator, application, key_name, UUID, "mbed-crypto-provider", b"\1\0\0\0", 1, b"", 1)
    connection.execute("INSERT INTO key_mapping VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _add_file(directory: Path, *parts: str) -> None:
    path = directory.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\4" + bytes(45))


def _base64(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode()
