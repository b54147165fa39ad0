"""The one process that changes the store: a batch of writes in, one commit, their outcomes out."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from edgeroot.keystore import statements as sql
from edgeroot.keystore.database import connect_writer, described, is_damage, is_no_space, store_errors
from edgeroot.keystore.generation import Generations
from edgeroot.keystore.lease import FileLock
from edgeroot.keystore.records import KeyIdentity, KeyRecord, KeyState
from edgeroot.keystore.statements import key_columns, stored_key
from edgeroot.keystore.writes import (
    Claim,
    Commit,
    Finish,
    Insert,
    Mark,
    Outcome,
    Release,
    Remove,
    RemoveClient,
    Replace,
    Reserve,
    Result,
    SetProviderState,
    Unmark,
    Write,
)

DONE: Final = Outcome(Result.DONE)
ALREADY_EXISTS: Final = Outcome(Result.ALREADY_EXISTS)
DOES_NOT_EXIST: Final = Outcome(Result.DOES_NOT_EXIST)
CONFLICT: Final = Outcome(Result.CONFLICT)
TOO_MANY: Final = Outcome(Result.TOO_MANY)


class Writer:
    """Applies batches. It holds the store's writer lock, so a second service cannot write the same store.

    A store found damaged is not written any more, lest the damage spread: every later write fails until the process
    is started anew over a store in order.
    """

    def __init__(self, connection: sqlite3.Connection, generations: Generations, path: Path, lock: FileLock) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._generations = generations
        self._path = path
        self._lock = lock
        self._touched: list[int] = []  # a slot as often as it was changed, so that the counter tells the number
        self._damage: str | None = None
        self._appliers: Final[Mapping[type[Write], Callable[[Any], Outcome]]] = {
            Insert: self._insert,
            Remove: self._remove,
            Reserve: self._reserve,
            Commit: self._commit,
            Release: self._release,
            Mark: self._mark,
            Unmark: self._unmark,
            Finish: self._finish,
            Replace: self._replace,
            RemoveClient: self._remove_client,
            SetProviderState: self._set_provider_state,
            Claim: self._claim,
        }

    @classmethod
    def open(cls, path: Path, generations: Generations) -> Self:
        """Raises KeyStoreError if the store cannot be used or another process writes it."""
        lock = FileLock.acquire(path.with_name(path.name + ".lock"))
        try:
            return cls(connect_writer(path), generations, path, lock)
        except BaseException:
            lock.release()
            raise

    def start(self) -> None:
        """To be called once before the first batch: the last writer may have ended between a commit and its notice."""
        self._generations.raise_all()

    def close(self) -> None:
        """Leaves one file without a log behind if no reader has it open."""
        with store_errors(self._path):
            self._connection.close()
        self._lock.release()

    def apply(self, batch: Sequence[Write]) -> list[Outcome]:
        """One transaction, on the disk when this returns. The outcomes are in the order of the writes.

        A later write sees what an earlier one of the batch did. If the store cannot take the batch, nothing of it is
        stored and every outcome is NO_SPACE or FAILED; the next batch may succeed.
        """
        if self._damage is not None:
            return [Outcome(Result.FAILED, self._damage)] * len(batch)
        self._touched.clear()
        try:
            self._execute("BEGIN IMMEDIATE")
            outcomes = [self._appliers[type(write)](write) for write in batch]
            self._announce()
            self._execute("COMMIT")
        except (sqlite3.Error, ValueError) as error:
            outcomes = [self._failed(error)] * len(batch)
        finally:
            # On every way out: also a commit that failed may have become visible for a moment.
            if self._connection.in_transaction:
                self._roll_back()
            self._announce()
        return outcomes

    def _failed(self, error: sqlite3.Error | ValueError) -> Outcome:
        detail = described(self._path, error)
        if is_damage(error):
            self._damage = detail
        return Outcome(Result.NO_SPACE if is_no_space(error) else Result.FAILED, detail)

    def _roll_back(self) -> None:
        try:
            self._execute("ROLLBACK")
        except sqlite3.Error as error:
            self._damage = described(self._path, error)

    def _announce(self) -> None:
        for slot in self._touched:
            self._generations.raise_(slot)

    def _touch(self, identity: KeyIdentity) -> None:
        self._touched.append(self._generations.slot(identity))

    def _changed(
        self, identity: KeyIdentity, statement: str, values: tuple[object, ...], otherwise: Outcome
    ) -> Outcome:
        if self._execute(statement, values).rowcount == 0:
            return otherwise
        self._touch(identity)
        return DONE

    def _add(self, record: KeyRecord, state: KeyState, holder: str | None, max_keys: int) -> Outcome:
        columns = key_columns(record.identity)
        if max_keys and self._execute(sql.HAS, (*columns[:2], max_keys - 1)).fetchone() is not None:
            return TOO_MANY if self._execute(sql.LOOK_UP, columns).fetchone() is None else ALREADY_EXISTS
        values = (*columns, int(state), holder, bytes(record.attributes), record.reference)
        return self._changed(record.identity, sql.ADD, values, ALREADY_EXISTS)

    def _insert(self, write: Insert) -> Outcome:
        return self._add(write.record, KeyState.LIVE, None, write.max_keys)

    def _reserve(self, write: Reserve) -> Outcome:
        return self._add(write.record, KeyState.RESERVED, write.holder, write.max_keys)

    def _remove(self, write: Remove) -> Outcome:
        columns = key_columns(write.identity)
        outcome = self._changed(write.identity, sql.REMOVE, (*columns, write.reference), CONFLICT)
        if outcome is CONFLICT and self._execute(sql.IS_LIVE, columns).fetchone() is None:
            return DOES_NOT_EXIST
        return outcome

    def _commit(self, write: Commit) -> Outcome:
        values = (write.reference, bytes(write.attributes), *key_columns(write.identity), write.holder)
        return self._changed(write.identity, sql.COMMIT, values, CONFLICT)

    def _release(self, write: Release) -> Outcome:
        return self._changed(write.identity, sql.RELEASE, (*key_columns(write.identity), write.holder), CONFLICT)

    def _mark(self, write: Mark) -> Outcome:
        rows = self._execute(sql.MARK, (write.holder, *key_columns(write.identity))).fetchall()
        if not rows:
            return DOES_NOT_EXIST
        self._touch(write.identity)
        return Outcome(Result.DONE, stored=(stored_key(rows[0]),))

    def _unmark(self, write: Unmark) -> Outcome:
        return self._changed(write.identity, sql.UNMARK, (*key_columns(write.identity), write.holder), CONFLICT)

    def _finish(self, write: Finish) -> Outcome:
        return self._changed(write.identity, sql.FINISH, (*key_columns(write.identity), write.holder), CONFLICT)

    def _replace(self, write: Replace) -> Outcome:
        columns = key_columns(write.identity)
        is_live = self._execute(sql.IS_LIVE, columns).fetchone() is not None
        values = (write.new_reference, *columns, write.old_reference)
        return self._changed(write.identity, sql.REPLACE, values, CONFLICT if is_live else DOES_NOT_EXIST)

    def _remove_client(self, write: RemoveClient) -> Outcome:
        columns = (write.authenticator, write.application.encode(), write.provider.encode())
        names = self._execute(sql.REMOVE_CLIENT, columns).fetchall()
        for (name,) in names:
            self._touch(KeyIdentity(write.authenticator, write.application, write.provider, name.decode()))
        return Outcome(Result.DONE, count=len(names))

    def _set_provider_state(self, write: SetProviderState) -> Outcome:
        self._execute(sql.SET_PROVIDER_STATE, (write.provider.encode(), write.state))
        return DONE

    def _claim(self, write: Claim) -> Outcome:
        values = (write.next_holder, *key_columns(write.identity), write.holder)
        return self._changed(write.identity, sql.CLAIM, values, CONFLICT)
