"""The boot seeds of each device's last boots (RFC 9783, clause 4.3.1), to tell a restart from a step back."""

from __future__ import annotations

import sqlite3
from typing import Final

from edgeroot.verifier.ports import Boot

REMEMBERED: Final = 64
"""So many of each device. An older one is new again."""
TABLE: Final = """
CREATE TABLE boot (number INTEGER PRIMARY KEY, instance_id BLOB NOT NULL, boot_seed BLOB NOT NULL,
    UNIQUE (instance_id, boot_seed)) STRICT
"""
_FORGET: Final = """
DELETE FROM boot WHERE instance_id = ? AND number <=
    (SELECT number FROM boot WHERE instance_id = ? ORDER BY number DESC LIMIT 1 OFFSET ?)
"""


class Boots:
    """:meth:`edgeroot.verifier.ports.Knowledge.boot_seen` and :meth:`edgeroot.verifier.ports.Storage.remember_boot`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def seen(self, instance_id: bytes, boot_seed: bytes) -> Boot:
        query = "SELECT boot_seed FROM boot WHERE instance_id = ? ORDER BY number DESC"
        seeds = [row[0] for row in self._execute(query, (instance_id,))]
        if boot_seed in seeds:
            return Boot.LAST if boot_seed == seeds[0] else Boot.EARLIER
        return Boot.NEW if seeds else Boot.FIRST

    def remember(self, instance_id: bytes, boot_seed: bytes) -> None:
        insert = "INSERT OR IGNORE INTO boot (instance_id, boot_seed) VALUES (?, ?)"
        if self._execute(insert, (instance_id, boot_seed)).rowcount:
            self._execute(_FORGET, (instance_id, instance_id, REMEMBERED))
