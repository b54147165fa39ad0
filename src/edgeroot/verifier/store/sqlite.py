"""The verifier's memory in one SQLite file, which several processes may have open.

A transaction is on the disk before it is acknowledged (WAL, ``synchronous=FULL``).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from edgeroot.verifier.audit import START, check_chain, line_of, link
from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.findings import NO_FINDINGS, Findings
from edgeroot.verifier.fleet import RESULT_LIFETIME_DEFAULT_S, Result
from edgeroot.verifier.ports import Revoked, Session, SessionStatus
from edgeroot.verifier.store.boots import Boots
from edgeroot.verifier.store.feed import Feed
from edgeroot.verifier.store.latest import Latest
from edgeroot.verifier.store.schema import prepare
from edgeroot.verifier.trust import Status

KEEP_RESULTS: Final = 1_000
"""So many of a device's results are kept. The audit log keeps a line of every one."""
_BUSY_TIMEOUT_S: Final = 5.0
_NUMBER_MAX: Final = (1 << 63) - 1
_REVOKED: Final = "SELECT reason FROM revocation WHERE kind = ? AND name = ?"
# At once, as evidence has many components; what is revoked by itself goes before what is with others.
_COMPONENT_REVOKED: Final = """
SELECT reason FROM revocation
WHERE (kind = ? AND name = ?) OR (kind = ? AND name = ?) OR (kind = ? AND name = ?) ORDER BY kind LIMIT 1
"""
_PRUNE: Final = """
DELETE FROM result WHERE number IN (SELECT number FROM result WHERE instance_id = ? ORDER BY number LIMIT ?)
"""


class SqliteStorage:
    """:class:`edgeroot.verifier.ports.Storage` and :class:`edgeroot.verifier.ports.FleetRecords`.

    And :class:`edgeroot.verifier.ports.FeedRecords`. Used by one thread at a time.
    """

    def __init__(self, connection: sqlite3.Connection, *, keep_results: int = KEEP_RESULTS) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._keep_results = keep_results
        self._latest = Latest(connection)
        self._feed = Feed(connection, self)
        self.feed_page = self._feed.page
        boots = Boots(connection)
        self.boot_seen, self.remember_boot = boots.seen, boots.remember
        self.fleet_counts = self._latest.counts
        self.fleet_device = self._latest.device
        self.fleet_devices = self._latest.devices
        self.fleet_firmware = self._latest.firmware

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._execute("ROLLBACK")
            raise
        self._execute("COMMIT")

    def key_of(self, instance_id: bytes) -> VerificationKey | None:
        row = self._device(instance_id)
        if row is None:
            return None
        key = load_der_public_key(row[1])
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise VerifierError(f"the store is damaged: the key of {instance_id.hex()} is not on an elliptic curve")
        return VerificationKey(implementation_id=row[0], instance_id=instance_id, key=key)

    def _device(self, instance_id: bytes) -> tuple[bytes, bytes] | None:
        query = "SELECT implementation_id, key FROM device WHERE instance_id = ?"
        row: tuple[bytes, bytes] | None = self._execute(query, (instance_id,)).fetchone()
        return row

    def components_of(self, implementation_id: bytes) -> set[ReferenceValue] | None:
        rows = self._execute(
            "SELECT measurement, signer_id, name, version FROM reference WHERE implementation_id = ?",
            (implementation_id,),
        )
        found = {
            ReferenceValue(measurement=measurement, signer_id=signer, name=name or None, version=version or None)
            for measurement, signer, name, version in rows
        }
        return found or None

    def device_revoked(self, instance_id: bytes) -> str | None:
        return self._reason(_REVOKED, Revoked.DEVICE, instance_id.hex())

    def component_revoked(self, reference: ReferenceValue) -> str | None:
        version = f"{reference.name or ''}={reference.version or ''}"
        names = (Revoked.MEASUREMENT, reference.measurement.hex(), Revoked.SIGNER, reference.signer_id.hex())
        return self._reason(_COMPONENT_REVOKED, *names, Revoked.VERSION, version)

    def _reason(self, query: str, *names: str) -> str | None:
        row = self._execute(query, names).fetchone()
        return None if row is None else str(row[0])

    def add_session(self, session: Session, *, remember_until_s: int) -> bool:
        added = self._execute("INSERT OR IGNORE INTO nonce VALUES (?, ?)", (session.nonce, remember_until_s)).rowcount
        if not added:
            return False
        self._execute("INSERT INTO session VALUES (?, ?, ?, ?, ?, ?, ?)", _session_row(session))
        self._count_sessions(1)
        return True

    def _count_sessions(self, more: int) -> None:
        """Kept beside them, because to count them takes as long as there are many."""
        if more:
            self._execute("UPDATE session_count SET sessions = sessions + ?", (more,))

    def session(self, session_id: str) -> Session | None:
        row = self._execute("SELECT * FROM session WHERE session_id = ?", (session_id,)).fetchone()
        if row is None:
            return None
        return Session(
            session_id=row[0],
            nonce=row[1],
            expires_at_s=row[2],
            status=SessionStatus(row[3]),
            media_type=row[4],
            evidence=row[5],
            result=row[6],
        )

    def complete_session(self, session: Session) -> None:
        self._execute(
            "UPDATE session SET status = ?, media_type = ?, evidence = ?, result = ? WHERE session_id = ?",
            (session.status, session.media_type, session.evidence, session.result, session.session_id),
        )

    def remove_session(self, session_id: str) -> None:
        self._count_sessions(-self._execute("DELETE FROM session WHERE session_id = ?", (session_id,)).rowcount)

    def forget_expired(self, now_s: int) -> None:
        self._count_sessions(-self._execute("DELETE FROM session WHERE expires_at_s <= ?", (now_s,)).rowcount)
        self._execute("DELETE FROM nonce WHERE until_s <= ?", (now_s,))

    def open_sessions(self) -> int:
        return int(self._execute("SELECT sessions FROM session_count").fetchone()[0])

    def add_result(
        self,
        instance_id: bytes,
        *,
        at_s: int,
        status: int,
        claims: Mapping[str, object],
        findings: Findings = NO_FINDINGS,
        lifecycle: str = "",
    ) -> None:
        added = self._execute(
            "INSERT INTO result (instance_id, at_s, status, claims, findings) VALUES (?, ?, ?, ?, ?)",
            (instance_id, at_s, status, json.dumps(claims), findings.to_json()),
        )
        number = int(added.lastrowid or 0)
        count = self._latest.judged(instance_id, number=number, at_s=at_s, status=status, findings=findings)
        expires_at_s = claims.get("exp")
        if not isinstance(expires_at_s, int):
            expires_at_s = at_s + RESULT_LIFETIME_DEFAULT_S
        self._feed.judged(instance_id, at_s=at_s, expires_at_s=expires_at_s, lifecycle=lifecycle)
        if count > self._keep_results:
            self._execute(_PRUNE, (instance_id, count - self._keep_results))
            self._latest.pruned(instance_id, self._keep_results)

    def results(self, instance_id: bytes) -> list[tuple[int, int]]:
        """When (seconds from 1970) the device was judged, and the status; the newest last."""
        query = "SELECT at_s, status FROM result WHERE instance_id = ? ORDER BY number"
        return [(row[0], row[1]) for row in self._execute(query, (instance_id,))]

    def fleet_history(self, instance_id: bytes, *, before: int | None, limit: int) -> list[Result]:
        query = """SELECT number, at_s, status, findings, claims FROM result
            WHERE instance_id = ? AND number < ? ORDER BY number DESC LIMIT ?"""
        last = _NUMBER_MAX if before is None else before
        return [
            Result(
                number=number,
                at_s=at_s,
                status=Status(status),
                findings=Findings.from_json(findings),
                claims=json.loads(claims),
            )
            for number, at_s, status, findings, claims in self._execute(query, (instance_id, last, limit))
        ]

    def fleet_references(self) -> dict[bytes, set[ReferenceValue]]:
        implementations = self._execute("SELECT DISTINCT implementation_id FROM reference ORDER BY 1").fetchall()
        return {one: self.components_of(one) or set() for (one,) in implementations}

    def add_endorsements(self, endorsements: Endorsements) -> None:
        for instance_id, one in endorsements.keys.items():
            der = one.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            known = self._device(instance_id)
            if known is not None and known != (one.implementation_id, der):
                raise VerifierError(f"device {instance_id.hex()} is endorsed already, and not the same way")
            self._execute("INSERT OR IGNORE INTO device VALUES (?, ?, ?)", (instance_id, one.implementation_id, der))
            self._latest.endorsed(instance_id, one.implementation_id)
        for implementation_id, references in endorsements.references.items():
            self._connection.executemany(
                "INSERT OR IGNORE INTO reference VALUES (?, ?, ?, ?, ?)",
                [
                    (implementation_id, one.measurement, one.signer_id, one.name or "", one.version or "")
                    for one in references
                ],
            )

    def revoke(self, kind: Revoked, name: str, reason: str, *, at_s: int) -> None:
        self._execute("REPLACE INTO revocation VALUES (?, ?, ?)", (kind, name, reason))
        if kind is Revoked.DEVICE:
            self._feed.device_revoked(bytes.fromhex(name), at_s)
        else:
            self._feed.component_revoked()

    def log(self, entry: Mapping[str, object]) -> None:
        row = self._execute("SELECT number, link FROM audit ORDER BY number DESC LIMIT 1").fetchone()
        number, last = row or (0, START)
        line = line_of(entry)
        self._execute("INSERT INTO audit VALUES (?, ?, ?)", (number + 1, line, link(last, line)))

    def check_audit(self, noted: bytes | None = None) -> tuple[int, bytes]:
        """As :func:`edgeroot.verifier.audit.check_chain`."""
        return check_chain(self._execute("SELECT number, line, link FROM audit ORDER BY number"), noted)


def _session_row(session: Session) -> tuple[object, ...]:
    return (
        session.session_id,
        session.nonce,
        session.expires_at_s,
        session.status,
        session.media_type,
        session.evidence,
        session.result,
    )


@contextmanager
def open_store(path: Path, *, create: bool = False, keep_results: int = KEEP_RESULTS) -> Iterator[SqliteStorage]:
    """The store; VerifierError if there is none (and none is to be made), if it is not ours, or if it fails."""
    try:
        if not create and not path.is_file():
            raise VerifierError(f"there is no verifier's store {path}: `edgeroot verifier serve` makes one")
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        storage = SqliteStorage(connection, keep_results=keep_results)
        try:
            prepare(connection, storage.transaction, path)
            yield storage
        finally:
            storage.close()
    except sqlite3.Error as error:
        raise VerifierError(f"the verifier's store {path} fails: {error}") from error
