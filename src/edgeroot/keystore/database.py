"""The file of the store: where it lies, how it is made, how it is opened, and what is refused.

The file is SQLite's. It is ours if its header carries our application id and its ``meta`` table a schema version that
we know; anything else at its place is refused and left as it is. Nothing here reads more than a few pages, however
many keys there are. SQLite's connections do not survive a fork: every process opens its own.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from edgeroot.keystore.records import KeyStoreError

SCHEMA_VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 5.0
_APPLICATION_ID: Final = 0x45444752  # "EDGR"
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100
_APPLICATION_ID_OFFSET: Final = 68  # "Database File Format", clause 1.3
_NO_SPACE_CODES: Final = frozenset({sqlite3.SQLITE_FULL})
_DAMAGE_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

# Text is stored as UTF-8 in BLOB columns: compared byte by byte, and NUL is a character like any other.
_SCHEMA: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID",
    (
        "CREATE TABLE key ("
        " authenticator INTEGER NOT NULL, application BLOB NOT NULL, provider BLOB NOT NULL, key_name BLOB NOT NULL,"
        " state INTEGER NOT NULL CHECK (state IN (0, 1, 2)), holder TEXT CHECK ((holder IS NULL) = (state = 0)),"
        " attributes BLOB NOT NULL CHECK (length(attributes) = 14), reference BLOB NOT NULL,"
        " PRIMARY KEY (authenticator, application, provider, key_name)) STRICT, WITHOUT ROWID"
    ),
    "CREATE INDEX key_pending ON key (holder) WHERE state <> 0",
    "CREATE TABLE provider_state (provider BLOB PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID",
)


def store_path_for(configured_path: Path) -> Path:
    """Our own file beside the place that an upstream configuration names, which we never write."""
    return configured_path.with_name(configured_path.name + ".edgeroot")


def create_store(path: Path) -> None:
    """Makes an empty store unless something lies at ``path``; that is left alone unless it is an empty file.

    The store appears complete or not at all: it is made under another name and then linked. Missing parents are made
    with mode 0700. Raises KeyStoreError.
    """
    try:
        if path.exists() and (not path.is_file() or path.stat().st_size > 0):
            return
        _make_parents(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        os.close(handle)
        fresh = Path(name)
        try:
            _initialise(fresh)
            _put_in_place(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise KeyStoreError(f"the key store {path} cannot be created: {error}") from error


def check_store(path: Path) -> None:
    """Raises KeyStoreError, having changed nothing, unless the file is a store that this version can use."""
    _check_header(path)
    with store_errors(path), closing(_connect(path, "ro")) as connection:
        row = connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
        version = row[0] if row else None
        if version != SCHEMA_VERSION:
            raise KeyStoreError(
                f"the key store {path} has schema version {version!r}, this release knows {SCHEMA_VERSION}: "
                "use a release that knows it, or configure another path"
            )
        connection.execute("SELECT authenticator, state FROM key LIMIT 0")


def adopted_store(path: Path) -> str | None:
    """The store of upstream that ours took over, as its ``meta`` table notes it; None if there is none, or no store."""
    if not path.exists():
        return None
    check_store(path)
    with store_errors(path), closing(_connect(path, "ro")) as connection:
        row = connection.execute("SELECT value FROM meta WHERE name = 'adopted'").fetchone()
        return None if row is None else str(row[0])


def adopt(path: Path, source: str) -> None:
    """Note in our store which one of upstream's it has taken over. Raises KeyStoreError."""
    with store_errors(path), closing(connect_writer(path)) as connection:
        connection.execute("INSERT INTO meta VALUES ('adopted', ?) ON CONFLICT (name) DO NOTHING", (source,))


def connect_writer(path: Path) -> sqlite3.Connection:
    """A connection for the one writer: every commit is on the disk when it returns. Raises KeyStoreError."""
    check_store(path)
    with store_errors(path):
        connection = _connect(path, "rw")
        # What is deleted is overwritten; a destroyed key does not stay readable in the file.
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA synchronous = FULL")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise KeyStoreError(f"the file system of {path} cannot hold a write-ahead log; choose a local one")
        return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that can only read. Raises KeyStoreError."""
    check_store(path)
    with store_errors(path):
        connection = _connect(path, "ro")
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA cache_size = -8192")
        return connection


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turns SQLite's errors, and the ValueErrors of records that do not decode, into KeyStoreError."""
    try:
        yield
    except (sqlite3.Error, ValueError) as error:
        raise KeyStoreError(described(path, error)) from error


def described(path: Path, error: sqlite3.Error | ValueError) -> str:
    """What is wrong with which file, and what to do."""
    if is_damage(error):
        return (
            f"the key store {path} is damaged ({error}): stop the service, keep a copy of the file and of its -wal, "
            "and put a backup in their place"
        )
    if is_no_space(error):
        return f"no space is left for the key store {path}"
    return f"the key store {path} cannot be used: {error}"


def is_damage(error: sqlite3.Error | ValueError) -> bool:
    return isinstance(error, ValueError) or _primary_code(error) in _DAMAGE_CODES


def is_no_space(error: sqlite3.Error | ValueError) -> bool:
    return isinstance(error, sqlite3.Error) and _primary_code(error) in _NO_SPACE_CODES


def _primary_code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _initialise(path: Path) -> None:
    with closing(_connect(path, "rw")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO meta VALUES ('schema_version', ?)", (SCHEMA_VERSION,))
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")


def _put_in_place(fresh: Path, path: Path) -> None:
    _sync(fresh)
    if path.exists():
        fresh.replace(path)
    else:
        # Unlike a rename, a link never replaces a store that another process put there in the meantime.
        with suppress(FileExistsError):
            os.link(fresh, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_parents(directory: Path) -> None:
    if directory.is_dir():
        return
    _make_parents(directory.parent)
    # Path.mkdir(parents=True) would give the intermediate ones the mode of the umask.
    directory.mkdir(mode=0o700, exist_ok=True)


def _check_header(path: Path) -> None:
    """Before SQLite opens it: SQLite would take an empty file for a database and touch one that it can recover."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise KeyStoreError(f"the key store {path} cannot be opened: {error}") from error
    application_id = int.from_bytes(header[_APPLICATION_ID_OFFSET : _APPLICATION_ID_OFFSET + 4], "big")
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC) or application_id != _APPLICATION_ID:
        raise KeyStoreError(
            f"{path} is not a key store of edgeroot, or its beginning is damaged; it is left as it is: "
            "put a backup in its place or configure another path"
        )
