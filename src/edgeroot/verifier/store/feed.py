"""The feed's table: each device that something is known of, under the number of its last change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from edgeroot.verifier.audit import START
from edgeroot.verifier.corim import ReferenceValue
from edgeroot.verifier.feed import NEVER_S, Change, Cursor, Page, UnknownCursorError, revocation_of
from edgeroot.verifier.findings import ComponentVerdict, Match, components_from_json
from edgeroot.verifier.trust import Status

# A change's number is the row's, so that what follows a change lies behind it in the file.
TABLE: Final = """
CREATE TABLE feed (change INTEGER PRIMARY KEY, instance_id BLOB NOT NULL UNIQUE, at_s INTEGER NOT NULL,
    expires_at_s INTEGER NOT NULL, lifecycle TEXT NOT NULL) STRICT
"""
_LAST: Final = "SELECT coalesce(max(change), 0) FROM feed"
# The number is one more than the highest before the row moves: it might be the row's own.
_MOVE: Final = """
INSERT INTO feed SELECT 1 + coalesce(max(change), 0), ?, ?, ?, ? FROM feed WHERE TRUE
ON CONFLICT (instance_id) DO UPDATE SET change = excluded.change, at_s = excluded.at_s,
    expires_at_s = excluded.expires_at_s, lifecycle = excluded.lifecycle
"""
_AGAIN: Final = "UPDATE feed SET change = 1 + (SELECT max(change) FROM feed) WHERE instance_id = ?"
_PAGE: Final = """
SELECT change, instance_id, feed.at_s, expires_at_s, lifecycle, status, why, firmware, reason
FROM feed JOIN latest USING (instance_id)
    LEFT JOIN revocation ON kind = 'device' AND name = lower(hex(instance_id))
WHERE change > ? ORDER BY change LIMIT ?
"""
_RUNNING: Final = "SELECT instance_id FROM latest WHERE firmware IN (SELECT value FROM json_each(?)) ORDER BY device"


class Reasons(Protocol):
    """Of :class:`edgeroot.verifier.ports.Knowledge` what the feed asks."""

    def components_of(self, implementation_id: bytes) -> set[ReferenceValue] | None: ...

    def component_revoked(self, reference: ReferenceValue) -> str | None: ...


class Feed:
    """Whoever writes has opened a transaction."""

    def __init__(self, connection: sqlite3.Connection, reasons: Reasons) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._reasons = reasons

    def judged(self, instance_id: bytes, *, at_s: int, expires_at_s: int, lifecycle: str) -> None:
        """The device has a new result."""
        self._execute(_MOVE, (instance_id, at_s, expires_at_s, lifecycle))

    def device_revoked(self, instance_id: bytes, at_s: int) -> None:
        """Known devices only: another one's revocation shows when it is heard of."""
        row = self._execute("SELECT lifecycle FROM feed WHERE instance_id = ?", (instance_id,)).fetchone()
        if row is not None or self._execute("SELECT 1 FROM latest WHERE instance_id = ?", (instance_id,)).fetchone():
            self.judged(instance_id, at_s=at_s, expires_at_s=NEVER_S, lifecycle=row[0] if row else "")

    def component_revoked(self) -> None:
        """Every device whose last result rests on something that is revoked now."""
        query = "SELECT number FROM firmware WHERE EXISTS (SELECT 1 FROM latest WHERE firmware = number)"
        reasons = self._revocations({row[0] for row in self._execute(query)})
        bad = [number for number, (_, reason) in reasons.items() if reason is not None]
        self._connection.executemany(_AGAIN, self._execute(_RUNNING, (str(bad),)).fetchall())

    def page(self, after: Cursor | None, limit: int) -> Page:
        """The changes behind a place, or from the beginning. UnknownCursorError."""
        with self._snapshot():
            if after is not None:
                self._check(after)
            rows = self._execute(_PAGE, (after.change if after else 0, limit + 1)).fetchall()
            shown = rows[:limit]
            firmware = self._revocations({row[7] for row in shown})
            changes = tuple(_change(row, *firmware[row[7]]) for row in shown)
            last = changes[-1].number if changes else after.change if after else 0
            return Page(changes=changes, cursor=Cursor.at(last, *self._audit_end()), more=len(rows) > limit)

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """What other processes write meanwhile is not seen: cursor and changes belong together."""
        self._execute("BEGIN")
        try:
            yield
        finally:
            self._execute("COMMIT")

    def _check(self, after: Cursor) -> None:
        row = self._execute("SELECT link FROM audit WHERE number = ?", (after.audit_line,)).fetchone()
        link = row[0] if row else START if after.audit_line == 0 else b""
        last = self._execute(_LAST).fetchone()[0]
        if Cursor.at(after.change, after.audit_line, link) != after or after.change > last:
            raise UnknownCursorError("the store has not had what the cursor stands for: start over without one")

    def _audit_end(self) -> tuple[int, bytes]:
        row = self._execute("SELECT number, link FROM audit ORDER BY number DESC LIMIT 1").fetchone()
        return row or (0, START)

    def _revocations(self, numbers: set[int]) -> dict[int, tuple[tuple[ComponentVerdict, ...], str | None]]:
        """Of these combinations what is in them, and why it is trusted no more."""
        query = """SELECT number, implementation_id, components FROM firmware
            WHERE number IN (SELECT value FROM json_each(?))"""
        any_revoked = self._execute("SELECT 1 FROM revocation WHERE kind != 'device' LIMIT 1").fetchone() is not None
        found: dict[int, tuple[tuple[ComponentVerdict, ...], str | None]] = {}
        references: dict[bytes, set[ReferenceValue]] = {}
        for number, implementation_id, text in self._execute(query, (str(sorted(numbers)),)).fetchall():
            components = components_from_json(text)
            reason = None
            if any_revoked:
                if implementation_id not in references:
                    references[implementation_id] = self._reasons.components_of(implementation_id) or set()
                reason = revocation_of(components, references[implementation_id], self._reasons.component_revoked)
            found[number] = components, reason
        return found


def _change(row: tuple[Any, ...], components: tuple[ComponentVerdict, ...], withdrawn: str | None) -> Change:
    """A revocation counts from when it was made, and not only from the next result."""
    number, device, at_s, expires_at_s, lifecycle, status, why, _, device_reason = row
    verdict, reason = Status(status), why
    if device_reason is not None:
        verdict, reason, expires_at_s = Status.CONTRAINDICATED, f"the device was revoked: {device_reason}", NEVER_S
    elif withdrawn is not None and verdict is not Status.CONTRAINDICATED:
        verdict, reason = Status.CONTRAINDICATED, withdrawn
    return Change(
        number=number,
        device=device,
        status=verdict,
        reason=reason,
        evaluated_at_s=at_s,
        expires_at_s=expires_at_s,
        lifecycle=lifecycle,
        components=tuple(one for one in components if one.match is not Match.MISSING),
    )
