"""Key stores of upstream Parsec, looked at and never written.

Parsec's SQLite key info manager keeps rows of a table ``key_mapping``, its OnDisk manager a file
``<store>/<base64 application>/<provider id>/<base64 name>`` for each key. Upstream's own keys (authenticator 255, or
the folder ``parsec``, which base64 never spells) belong to no application and do not count.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from edgeroot.keystore.database import adopted_store, store_path_for
from edgeroot.keystore.records import KeyStoreError

INTERNAL_AUTHENTICATOR: Final = 255
INTERNAL_FOLDER: Final = "parsec"
_MAGIC: Final = b"SQLite format 3\0"


def refuse_unadopted(configured_path: Path, manager_type: str) -> None:
    """Raises KeyStoreError if a store of upstream with keys, which ours has not taken over, lies at the path.

    ``manager_type`` is the configuration's word for it and used in the message only; what lies there decides.
    """
    try:
        if adopted_store(store_path_for(configured_path)) is not None:
            return
        if configured_path.is_dir():
            count = _count_files(configured_path)
        elif configured_path.exists():
            count = _count_rows(configured_path)
        else:
            return
    except (OSError, sqlite3.Error) as error:
        raise KeyStoreError(
            f"what lies at {configured_path} ({manager_type}) may be a key store of upstream Parsec but cannot be "
            f"read ({error}): make it readable, or configure another path"
        ) from error
    if count:
        raise KeyStoreError(
            f"a key store of upstream Parsec with {count} key{'s' * (count != 1)} lies at {configured_path} "
            f"({manager_type}). edgeroot does not write into it: `edgeroot migrate` takes its keys over, or configure "
            "another path"
        )


def connect_upstream(path: Path) -> sqlite3.Connection:
    """A connection to upstream's database that changes nothing, not even beside the file. Raises sqlite3.Error."""
    # Immutable: no lock, no log, nothing appears beside the file. Where a log already lies there, it must be read.
    has_log = any(path.with_name(path.name + suffix).exists() for suffix in ("-wal", "-journal"))
    mode = "mode=ro" if has_log else "mode=ro&immutable=1"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _count_files(directory: Path) -> int:
    return sum(
        file.is_file()
        for application in directory.iterdir()
        if application.is_dir() and application.name != INTERNAL_FOLDER
        for provider in application.iterdir()
        if provider.is_dir() and provider.name.isdecimal()
        for file in provider.iterdir()
    )


def _count_rows(path: Path) -> int:
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return 0
    with closing(connect_upstream(path)) as connection:
        is_upstream = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'key_mapping'").fetchone()
        if is_upstream is None:
            return 0
        query = "SELECT count(*) FROM key_mapping WHERE authenticator_id <> ?"
        count: int = connection.execute(query, (INTERNAL_AUTHENTICATOR,)).fetchone()[0]
        return count
