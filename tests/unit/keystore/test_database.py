from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edgeroot.keystore.database import check_store, connect_reader, connect_writer, create_store, store_path_for
from edgeroot.keystore.generation import Generations
from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyStoreError
from edgeroot.keystore.writer import Writer
from edgeroot.keystore.writes import Insert, Outcome, Remove, Result
from tests.unit.keystore.keystore_support import SLOTS, Store, record

PAGE_BYTES = 4096


def test_store_lies_beside_the_configured_path() -> None:
    assert store_path_for(Path("/var/lib/kim.sqlite3")) == Path("/var/lib/kim.sqlite3.edgeroot")
    assert store_path_for(Path("./mappings/")) == Path("mappings.edgeroot")


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_new_store_is_the_owners_alone(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "a" / "b" / "keys.edgeroot"
    before = os.umask(umask)
    try:
        create_store(path)
        writer = Writer.open(path, _generations())
    finally:
        os.umask(before)

    writer.apply([Insert(record())])
    modes = {p.relative_to(tmp_path).as_posix(): stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    writer.close()
    assert modes.pop("a") == modes.pop("a/b") == 0o700
    assert set(modes.values()) == {0o600}


def test_existing_store_is_kept(store: Store) -> None:
    store.apply([Insert(record())])
    create_store(store.path)

    assert store.reader.find(record().identity) == record()


def test_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    create_store(path)

    check_store(path)
    assert [p.name for p in path.parent.iterdir() if p.name.endswith(".new")] == []


def test_path_with_characters_of_a_uri(tmp_path: Path) -> None:
    path = tmp_path / "100% ?mode=memory#x.edgeroot"
    create_store(path)
    writer = Writer.open(path, _generations())

    assert writer.apply([Insert(record())]) == [Outcome(Result.DONE)]
    writer.close()
    assert path.stat().st_size > 0


def test_connections_are_durable_and_suspicious(path: Path) -> None:
    create_store(path)
    with closing(connect_writer(path)) as writer, closing(connect_reader(path)) as reader:
        pragmas = [_pragma(writer, name) for name in ("journal_mode", "synchronous", "trusted_schema")]
        assert pragmas == ["wal", 2, 0]
        assert _pragma(writer, "cell_size_check") == _pragma(reader, "cell_size_check") == 1
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM key")


def test_second_writer_is_refused(store: Store) -> None:
    writer = Writer.open(store.path, store.generations)
    with pytest.raises(KeyStoreError, match="two services cannot write one key store"):
        Writer.open(store.path, store.generations)
    writer.close()
    Writer.open(store.path, store.generations).close()


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(KeyStoreError, match="cannot be created"):
        create_store(tmp_path / "file" / "keys.edgeroot")


def _truncated(path: Path) -> None:
    os.truncate(path, PAGE_BYTES * 3 // 2)


def _garbage_header(path: Path) -> None:
    path.write_bytes(b"\xa5" * 100 + path.read_bytes()[100:])


def _all_but_empty(path: Path) -> None:
    path.write_bytes(b"x")


def _flipped_first_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:PAGE_BYTES] = bytes(byte ^ 0xFF for byte in content[100:PAGE_BYTES])
    path.write_bytes(content)


def _newer_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET value = 2 WHERE name = 'schema_version'")


def _no_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM meta")


def _no_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE key")


def _foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE meta (name, value)")
        connection.execute("INSERT INTO meta VALUES ('schema_version', 1)")


@pytest.mark.parametrize(
    "spoil",
    [
        _truncated,
        _garbage_header,
        _all_but_empty,
        _flipped_first_page,
        _newer_version,
        _no_version,
        _no_table,
        _foreign,
    ],
)
def test_what_is_not_our_store_is_refused_and_left_alone(path: Path, spoil: Callable[[Path], None]) -> None:
    _make_store_of(path, keys=200)
    spoil(path)
    before = path.read_bytes()

    create_store(path)
    for attempt in (lambda: Writer.open(path, _generations()), lambda: Reader.open(path)):
        with pytest.raises(KeyStoreError) as raised:
            attempt()
        assert str(path) in str(raised.value)
    assert path.read_bytes() == before


def test_newer_version_is_named(path: Path) -> None:
    create_store(path)
    _newer_version(path)

    with pytest.raises(KeyStoreError, match="schema version 2, this release knows 1"):
        check_store(path)


def test_damaged_page_found_later_is_reported_and_never_overwritten(path: Path) -> None:
    _make_store_of(path, keys=2000)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // PAGE_BYTES * PAGE_BYTES
    content[middle : middle + PAGE_BYTES] = bytes(byte ^ 0xFF for byte in content[middle : middle + PAGE_BYTES])
    path.write_bytes(content)

    reader, writer = Reader.open(path), Writer.open(path, _generations())
    answers = {_answer(reader, f"{number:04}") for number in range(2000)}
    assert "found" in answers
    (refusal,) = answers - {"found"}
    assert "damaged" in refusal
    assert "backup" in refusal
    with pytest.raises(KeyStoreError, match="damaged"):
        reader.list_keys(3, "1000")
    removed = writer.apply([Remove(record(f"{number:04}").identity, b"blob") for number in range(2000)])
    assert {outcome.result for outcome in removed} == {Result.FAILED}
    # From now on nothing is written, not even what would not meet the damage.
    assert writer.apply([Insert(record("new"))])[0].result is Result.FAILED
    reader.close()
    writer.close()
    assert path.read_bytes() == content


def _answer(reader: Reader, key_name: str) -> str:
    try:
        return "not found" if reader.find(record(key_name).identity) is None else "found"
    except KeyStoreError as error:
        return str(error)


def _make_store_of(path: Path, *, keys: int) -> None:
    create_store(path)
    writer = Writer.open(path, _generations())
    writer.apply([Insert(record(f"{number:04}", reference=bytes(100))) for number in range(keys)])
    writer.close()


def _generations() -> Generations:
    return Generations(bytearray(Generations.size_bytes(SLOTS)), SLOTS)


def _pragma(connection: sqlite3.Connection, name: str) -> object:
    value: object = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
