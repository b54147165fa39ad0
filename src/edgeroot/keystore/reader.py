"""Looking keys up: one connection that cannot write, in every process that needs one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from edgeroot.keystore import statements as sql
from edgeroot.keystore.database import connect_reader, described, store_errors
from edgeroot.keystore.records import KeyIdentity, KeyListing, KeyRecord, KeyStoreError, StoredKey, attributes_of
from edgeroot.keystore.statements import key_columns, stored_key
from edgeroot.psa import KeyAttributes


class Reader:
    """Every method raises KeyStoreError if the file cannot be read. Only live keys are seen, unless a method says more.

    To be opened after forking, and used by the thread that opened it.
    """

    __slots__ = ("_connection", "_execute", "path")

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._execute = connection.execute
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        return cls(connect_reader(path), path)

    def close(self) -> None:
        self._connection.close()

    def find(self, identity: KeyIdentity) -> KeyRecord | None:
        columns = key_columns(identity)
        try:
            row = self._execute(sql.FIND, columns).fetchone()
            return None if row is None else KeyRecord(identity, row[0], attributes_of(row[1]))
        except (sqlite3.Error, ValueError) as error:
            raise KeyStoreError(described(self.path, error)) from error

    def look_up(self, identity: KeyIdentity) -> StoredKey | None:
        """The record in whatever state it is."""
        columns = key_columns(identity)
        with store_errors(self.path):
            row = self._execute(sql.LOOK_UP, columns).fetchone()
            return None if row is None else stored_key(row)

    def exists_any_state(self, identity: KeyIdentity) -> bool:
        """Whether the name is taken."""
        return self.look_up(identity) is not None

    def list_keys(self, authenticator: int, application: str, limit: int | None = None) -> list[KeyListing]:
        """In the order of provider, then name, both compared by their UTF-8 bytes."""
        columns = (authenticator, application.encode(), -1 if limit is None else limit)
        with store_errors(self.path):
            return [
                KeyListing(
                    KeyIdentity(authenticator, application, provider.decode(), key_name.decode()),
                    attributes_of(attributes),
                )
                for provider, key_name, attributes in self._execute(sql.LIST, columns)
            ]

    def list_page(
        self, authenticator: int, application: str, provider: str, *, after: str | None, limit: int
    ) -> list[tuple[str, KeyAttributes]]:
        """Up to ``limit`` live keys of one provider, by name; from the first one, or from behind ``after``."""
        owner = (authenticator, application.encode(), provider.encode())
        with store_errors(self.path):
            if after is None:
                rows = self._execute(sql.FIRST_PAGE, (*owner, limit))
            else:
                rows = self._execute(sql.NEXT_PAGE, (*owner, after.encode(), limit))
            return [(key_name.decode(), attributes_of(attributes)) for key_name, attributes in rows]

    def count_keys(self, authenticator: int, application: str) -> int:
        columns = (authenticator, application.encode())
        with store_errors(self.path):
            count: int = self._execute(sql.COUNT, columns).fetchone()[0]
            return count

    def list_applications(self, authenticator: int | None = None) -> list[str]:
        """Whoever has at least one key, sorted by UTF-8 bytes, of one authenticator or of all."""
        with store_errors(self.path):
            if authenticator is not None:
                found = set(self._applications(authenticator))
            else:
                found = {application for number in self._authenticators() for application in self._applications(number)}
            return [application.decode() for application in sorted(found)]

    def _authenticators(self) -> Iterator[int]:
        row = self._execute(sql.NEXT_AUTHENTICATOR, (-1,)).fetchone()
        while row[0] is not None:
            yield row[0]
            row = self._execute(sql.NEXT_AUTHENTICATOR, row).fetchone()

    def _applications(self, authenticator: int) -> Iterator[bytes]:
        row = self._execute(sql.FIRST_APPLICATION, (authenticator,)).fetchone()
        while row is not None:
            yield row[0]
            row = self._execute(sql.NEXT_APPLICATION, (authenticator, row[0])).fetchone()

    def provider_state(self, provider: str) -> bytes | None:
        columns = (provider.encode(),)
        with store_errors(self.path):
            row = self._execute(sql.PROVIDER_STATE, columns).fetchone()
            return None if row is None else row[0]

    def pending(self, holder: str) -> list[StoredKey]:
        """What this holder has reserved or marked."""
        with store_errors(self.path):
            return [stored_key(row) for row in self._execute(sql.PENDING, (holder,))]

    def pending_of_provider(self, holder: str, provider: str, *, limit: int) -> list[StoredKey]:
        """So many at most of what this holder has reserved or marked of one provider."""
        with store_errors(self.path):
            columns = (holder, provider.encode(), limit)
            return [stored_key(row) for row in self._execute(sql.PENDING_OF_PROVIDER, columns)]

    def pending_holders(self) -> list[str]:
        """Everybody who has reserved or marked something."""
        with store_errors(self.path):
            return [row[0] for row in self._execute(sql.PENDING_HOLDERS)]
