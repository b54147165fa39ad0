"""A store whose writer can die between any two statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from edgeroot.keystore.database import connect_writer, create_store
from edgeroot.keystore.generation import Generations
from edgeroot.keystore.lease import FileLock
from edgeroot.keystore.reader import Reader
from edgeroot.keystore.records import KeyIdentity, KeyRecord
from edgeroot.keystore.writer import Writer
from edgeroot.keystore.writes import Outcome, Write
from edgeroot.testing.keystore_kit import ATTRIBUTES

SLOTS = 64
PROVIDER = "mbed-crypto-provider"


class Crash(BaseException):
    """The process ended here."""


class MortalConnection:
    """A writer's connection that lets so many more statements through and then ends the process."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.statements_left = -1

    @property
    def in_transaction(self) -> bool:
        return self.statements_left != 0 and self.connection.in_transaction

    def execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        cursor = self.connection.execute(statement, values)
        self.statements_left -= 1
        if self.statements_left == 0:
            raise Crash
        return cursor

    def close(self) -> None:
        self.connection.close()


class Store:
    """A writer and a reader over one file."""

    writer: Writer
    mortal: MortalConnection

    def __init__(self, path: Path) -> None:
        self.path = path
        create_store(path)
        self.generations = Generations(bytearray(Generations.size_bytes(SLOTS)), SLOTS)
        self._open()
        self.reader = Reader.open(path)

    def _open(self) -> None:
        self.mortal = MortalConnection(connect_writer(self.path))
        lock = FileLock.acquire(self.path.with_name("lock"))
        self.writer = Writer(cast(sqlite3.Connection, self.mortal), self.generations, self.path, lock)
        self.writer.start()

    def apply(self, batch: Sequence[Write]) -> list[Outcome]:
        return self.writer.apply(batch)

    def reopen(self) -> None:
        self.writer.close()
        self._open()

    def close(self) -> None:
        self.reader.close()
        self.writer.close()


def record(key_name: str = "key", *, reference: bytes = b"blob", provider: str = PROVIDER) -> KeyRecord:
    return KeyRecord(KeyIdentity(3, "1000", provider, key_name), reference, ATTRIBUTES[0])
