"""The tables, by the version that brought them. A new file goes through every step, so that all files are alike.

The file is ours if its header carries our application id; anything else at its place is refused and left as it is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.findings import Check, Findings
from edgeroot.verifier.fleet import RESULT_LIFETIME_DEFAULT_S
from edgeroot.verifier.store import boots, feed
from edgeroot.verifier.store.latest import Latest

_APPLICATION_ID: Final = 0x45445246  # "EDRF"
# Names and versions that are not said are empty texts: NULLs would never be equal.
_VERSION_1: Final = """
CREATE TABLE device (instance_id BLOB PRIMARY KEY, implementation_id BLOB NOT NULL, key BLOB NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TABLE reference (implementation_id BLOB NOT NULL, measurement BLOB NOT NULL, signer_id BLOB NOT NULL,
    name TEXT NOT NULL, version TEXT NOT NULL,
    PRIMARY KEY (implementation_id, measurement, signer_id, name, version)) STRICT, WITHOUT ROWID;
CREATE TABLE session (session_id TEXT PRIMARY KEY, nonce BLOB NOT NULL, expires_at_s INTEGER NOT NULL,
    status TEXT NOT NULL, media_type TEXT NOT NULL, evidence BLOB NOT NULL, result TEXT NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TABLE session_count (sessions INTEGER NOT NULL) STRICT;
INSERT INTO session_count VALUES (0);
CREATE INDEX session_expiry ON session (expires_at_s);
CREATE TABLE nonce (nonce BLOB PRIMARY KEY, until_s INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX nonce_expiry ON nonce (until_s);
CREATE TABLE result (number INTEGER PRIMARY KEY, instance_id BLOB NOT NULL, at_s INTEGER NOT NULL,
    status INTEGER NOT NULL, claims TEXT NOT NULL) STRICT;
CREATE INDEX result_device ON result (instance_id, number);
CREATE TABLE revocation (kind TEXT NOT NULL, name TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (kind, name))
    STRICT, WITHOUT ROWID;
CREATE TABLE audit (number INTEGER PRIMARY KEY, line TEXT NOT NULL, link BLOB NOT NULL) STRICT
"""
# `latest` has a row for each endorsed device. Its indices hold what lists are filtered by, so that whatever is asked
# reads an index from one end, and rows only of what it answers. A firmware is a combination of components that some
# device runs now: there are few, however many devices, and what is said of versions is worked out from them.
_VERSION_2: Final = """
ALTER TABLE result ADD COLUMN findings TEXT NOT NULL DEFAULT '{"checks":[],"components":[]}';
CREATE TABLE firmware (number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, implementation_id BLOB NOT NULL,
    components TEXT NOT NULL) STRICT;
CREATE TABLE latest (device INTEGER PRIMARY KEY, instance_id BLOB NOT NULL UNIQUE, at_s INTEGER NOT NULL,
    status INTEGER NOT NULL, result INTEGER NOT NULL, results INTEGER NOT NULL, failed INTEGER NOT NULL,
    why TEXT NOT NULL, firmware INTEGER NOT NULL) STRICT;
CREATE INDEX latest_seen ON latest (at_s, instance_id, status, firmware);
CREATE INDEX latest_status ON latest (status, at_s, instance_id, firmware);
CREATE INDEX latest_firmware ON latest (firmware, status)
"""
_SOME_RESULTS: Final = "SELECT number, claims FROM result WHERE number > ? ORDER BY number LIMIT 1000"


def _to_1(connection: sqlite3.Connection) -> None:
    _run(connection, _VERSION_1)


def _to_2(connection: sqlite3.Connection) -> None:
    """What was kept is taken over: checks from the claims, each device's last result. Components were not kept."""
    _run(connection, _VERSION_2)
    done = 0
    while rows := connection.execute(_SOME_RESULTS, (done,)).fetchall():
        told = [(Findings(tuple(_checks(json.loads(claims)))).to_json(), number) for number, claims in rows]
        connection.executemany("UPDATE result SET findings = ? WHERE number = ?", told)
        done = rows[-1][0]
    latest = Latest(connection)
    for instance_id, implementation_id in connection.execute("SELECT instance_id, implementation_id FROM device"):
        latest.endorsed(instance_id, implementation_id)
    last = "SELECT instance_id, max(number), count(*) FROM result GROUP BY instance_id"
    for instance_id, number, count in connection.execute(last).fetchall():
        query = "SELECT at_s, status, findings FROM result WHERE number = ?"
        at_s, status, findings = connection.execute(query, (number,)).fetchone()
        latest.judged(
            instance_id,
            number=number,
            at_s=at_s,
            status=status,
            findings=Findings.from_json(findings),
            more_results=count,
        )


def _checks(claims: dict[str, Any]) -> Iterator[Check]:
    for submodule in claims.get("submods", {}).values():
        for one in submodule.get("ear.veraison.policy-claims", {}).get("checks", []):
            yield Check(str(one["check"]), bool(one["passed"]), str(one["words"]))


def _to_3(connection: sqlite3.Connection) -> None:
    _run(connection, boots.TABLE)


def _to_4(connection: sqlite3.Connection) -> None:
    """Last results in their order. Those of before did not say when they expire, nor apart which life cycle it was."""
    _run(connection, feed.TABLE)
    fill = """INSERT INTO feed SELECT row_number() OVER (ORDER BY result), instance_id, at_s, at_s + ?, ''
        FROM latest WHERE result > 0"""
    connection.execute(fill, (RESULT_LIFETIME_DEFAULT_S,))


_STEPS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (_to_1, _to_2, _to_3, _to_4)
SCHEMA_VERSION: Final = len(_STEPS)


def prepare(
    connection: sqlite3.Connection, transaction: Callable[[], AbstractContextManager[None]], path: Path
) -> None:
    """Make the tables in an empty file, or bring an older one up to date, all at once. VerifierError."""
    if not _pragma(connection, "schema_version"):
        connection.execute("PRAGMA journal_mode = WAL")
        with transaction():
            if not _pragma(connection, "schema_version"):
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                _take_steps(connection)
    if _pragma(connection, "application_id") != _APPLICATION_ID:
        raise VerifierError(f"{path} is no verifier's store: give another path")
    if 0 < _pragma(connection, "user_version") < SCHEMA_VERSION:
        with transaction():
            _take_steps(connection)
    version = _pragma(connection, "user_version")
    if version != SCHEMA_VERSION:
        raise VerifierError(f"the verifier's store {path} has version {version}; this release knows {SCHEMA_VERSION}")
    connection.execute("PRAGMA synchronous = FULL")


def _take_steps(connection: sqlite3.Connection) -> None:
    """Those that the file has not had; another process may have taken them meanwhile."""
    for step in _STEPS[_pragma(connection, "user_version") :]:
        step(connection)
    connection.execute(f"PRAGMA user_version = {max(SCHEMA_VERSION, _pragma(connection, 'user_version'))}")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _run(connection: sqlite3.Connection, statements: str) -> None:
    """In the transaction that is open: ``executescript`` would end it."""
    for statement in statements.split(";"):
        connection.execute(statement)
