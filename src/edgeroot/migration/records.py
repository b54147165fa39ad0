"""The records of upstream's key info managers: which key of which client is where. Nothing is ever written there."""

from __future__ import annotations

import sqlite3
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeroot.keystore.upstream import INTERNAL_AUTHENTICATOR, INTERNAL_FOLDER, connect_upstream
from edgeroot.migration.bincode import Reader
from edgeroot.migration.errors import MigrationError

_RECORD_VERSIONS: Final = (1, 1)
_SCHEMA_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class UpstreamRecord:
    """A key as upstream has written it down; ``key_id`` and ``attributes`` are still encoded.

    ``provider`` is the name of the provider in a record of SQLite's, and the number of its type in one on disk, where
    ``authenticator`` and ``provider_uuid`` are None: they were never written.
    """

    authenticator: int | None
    application: str
    provider: str | int
    provider_uuid: str | None
    key_name: str
    key_id: bytes
    attributes: bytes


def read_records(path: Path) -> list[UpstreamRecord]:
    """Every application's keys in a store, a file of SQLite's or a folder. MigrationError if it is no such store."""
    try:
        if path.is_dir():
            return sorted(_on_disk(path), key=lambda one: (one.application, str(one.provider), one.key_name))
        if path.is_file():
            return _in_database(path)
    except (OSError, sqlite3.Error) as error:
        raise MigrationError(f"{path} cannot be read: {error}") from error
    raise MigrationError(f"there is no store of upstream's at {path}")


def _in_database(path: Path) -> list[UpstreamRecord]:
    with closing(connect_upstream(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not {"kim_metadata", "key_mapping"} <= tables:
            raise MigrationError(f"{path} is no store of upstream's: it has not both of its tables")
        row = connection.execute("SELECT int_value FROM kim_metadata WHERE id = 'schema_version'").fetchone()
        if row is None or row[0] != _SCHEMA_VERSION:
            raise MigrationError(f"{path} has not upstream's schema version {_SCHEMA_VERSION}")
        rows = connection.execute(
            "SELECT authenticator_id, application_name, provider_name, provider_uuid, key_name, key_id, key_attributes,"
            " key_id_version, key_attributes_version FROM key_mapping WHERE authenticator_id <> ?"
            " ORDER BY authenticator_id, application_name, key_name",
            (INTERNAL_AUTHENTICATOR,),
        ).fetchall()
    for *_, key_id_version, attributes_version in rows:
        if (key_id_version, attributes_version) != _RECORD_VERSIONS:
            raise MigrationError(f"{path} has records of versions that this release does not know")
    return [UpstreamRecord(*row[:7]) for row in rows]


def _on_disk(path: Path) -> Iterator[UpstreamRecord]:
    for application in path.iterdir():
        if not application.is_dir() or application.name == INTERNAL_FOLDER:
            continue
        for provider in application.iterdir():
            if not (provider.is_dir() and provider.name.isdecimal()):
                continue
            for file in provider.iterdir():
                key_id, attributes = _key_info(file.read_bytes())
                yield UpstreamRecord(
                    None, _decoded(application), int(provider.name), None, _decoded(file), key_id, attributes
                )


def _key_info(data: bytes) -> tuple[bytes, bytes]:
    """The struct ``KeyInfo``: the provider's id of the key, and behind it the attributes.

    Of a file that ends before them nothing: that is the one key's trouble, and found when it is read further.
    """
    try:
        key_id = Reader(data).octets()
    except MigrationError:
        return b"", b""
    return key_id, data[8 + len(key_id) :]


def _decoded(path: Path) -> str:
    try:
        return b64decode(path.name, b"-_", validate=True).decode()
    except (Base64Error, UnicodeDecodeError) as error:
        raise MigrationError(f"the name of {path} is not base64 of a text, as upstream's are") from error
