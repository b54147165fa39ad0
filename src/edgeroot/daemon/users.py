"""The users that a worker has met, and their bounds."""

from __future__ import annotations

from typing import Final

from edgeroot.daemon.shared import UserTable

_EVERYBODY: Final = 0


class User:
    """One user at one listener, as this worker sees it; counts reach over all workers."""

    __slots__ = ("_connections", "_table", "_waiting", "_worker", "max_connections", "max_waiting", "uid")

    def __init__(
        self, table: UserTable, row: int, worker: int, *, uid: int, max_connections: int, max_waiting: int
    ) -> None:
        self._table = table
        self._connections = table.connections_at(row)
        self._waiting = table.waiting_at(row)
        self._worker = worker
        self.uid = uid
        self.max_connections = max_connections
        self.max_waiting = max_waiting

    @property
    def may_connect(self) -> bool:
        return self._table.total(self._connections) < self.max_connections

    @property
    def may_wait(self) -> bool:
        return self._table.total(self._waiting) < self.max_waiting

    def add_connections(self, amount: int) -> None:
        self._table.add(self._connections + self._worker, amount)

    def add_waiting(self, amount: int) -> None:
        self._table.add(self._waiting + self._worker, amount)


class Users:
    """All users of one listener.

    They are not ``told_apart`` where all are one: at a slot, whose processes may run as any user, and those of other
    slots as the same.
    """

    def __init__(
        self,
        table: UserTable,
        *,
        listener: int,
        worker: int,
        max_connections: int,
        max_waiting: int,
        told_apart: bool = True,
    ) -> None:
        self._told_apart = told_apart
        self._table = table
        self._listener = listener
        self._worker = worker
        self.max_connections = max_connections
        self._max_waiting = max_waiting
        self._users: dict[int, User] = {}

    def get(self, uid: int) -> User:
        if not self._told_apart:
            uid = _EVERYBODY
        user = self._users.get(uid)
        if user is None:
            row = self._table.claim(self._listener, uid)
            user = self._users[uid] = User(
                self._table,
                row,
                self._worker,
                uid=uid,
                max_connections=self.max_connections,
                max_waiting=self._max_waiting,
            )
        return user
