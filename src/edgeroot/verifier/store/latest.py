"""How each device stands, kept up to date with every result, so that nobody has to look through all results."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, Final

from edgeroot.verifier.findings import ComponentVerdict, Findings, Match, components_from_json, components_to_json
from edgeroot.verifier.fleet import Device, Firmware, Selection, Standing
from edgeroot.verifier.trust import Status

_WHY_CHARACTERS: Final = 200
_SHORT_PREFIX_DIGITS: Final = 8
"""Up to here it is faster to walk the list until enough devices have the prefix than to sort all that have it."""
_SELECT: Final = """
SELECT instance_id, (SELECT implementation_id FROM firmware WHERE number = latest.firmware), at_s, status, result,
    results, failed, why, firmware
FROM latest WHERE """
_ADD: Final = """
INSERT INTO latest (instance_id, at_s, status, result, results, failed, why, firmware)
VALUES (?, 0, 0, 0, 0, 0, '', ?)
"""
_ADD_FIRMWARE: Final = "INSERT INTO firmware (digest, implementation_id, components) VALUES (?, ?, ?)"


class Latest:
    """The tables ``latest`` and ``firmware``. Whoever writes has opened a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def endorsed(self, instance_id: bytes, implementation_id: bytes) -> None:
        """The device is one of the fleet from now on, though nothing was heard of it."""
        known = self._execute("SELECT 1 FROM latest WHERE instance_id = ?", (instance_id,)).fetchone()
        if known is None:
            self._add(instance_id, self._firmware_of(implementation_id, ()))

    def judged(
        self, instance_id: bytes, *, number: int, at_s: int, status: int, findings: Findings, more_results: int = 1
    ) -> int:
        """Result ``number`` is the device's last one. How many results of it are kept now."""
        query = """SELECT firmware, results, implementation_id FROM latest JOIN firmware ON number = firmware
            WHERE instance_id = ?"""
        before, results, implementation_id = self._execute(query, (instance_id,)).fetchone() or (0, 0, b"")
        firmware = self._firmware_of(implementation_id, findings.components)
        if not before:
            self._add(instance_id, firmware)
        self._execute(
            """UPDATE latest SET at_s = ?, status = ?, result = ?, results = ?, failed = ?, why = ?, firmware = ?
                WHERE instance_id = ?""",
            (
                at_s,
                status,
                number,
                results + more_results,
                len(findings.failed()),
                findings.why()[:_WHY_CHARACTERS],
                firmware,
                instance_id,
            ),
        )
        if before and before != firmware:
            unused = "DELETE FROM firmware WHERE number = ? AND NOT EXISTS (SELECT 1 FROM latest WHERE firmware = ?)"
            self._execute(unused, (before, before))
        return int(results + more_results)

    def pruned(self, instance_id: bytes, results: int) -> None:
        """So many results of the device are kept now."""
        self._execute("UPDATE latest SET results = ? WHERE instance_id = ?", (results, instance_id))

    def _add(self, instance_id: bytes, firmware: int) -> None:
        self._execute(_ADD, (instance_id, firmware))

    def _firmware_of(self, implementation_id: bytes, components: tuple[ComponentVerdict, ...]) -> int:
        """The number of this combination, which gets one if it is new."""
        text = components_to_json(tuple(map(_told_apart, components)))
        digest = sha256(len(implementation_id).to_bytes(4) + implementation_id + text.encode()).digest()
        row = self._execute("SELECT number FROM firmware WHERE digest = ?", (digest,)).fetchone()
        if row is not None:
            return int(row[0])
        return int(self._execute(_ADD_FIRMWARE, (digest, implementation_id, text)).lastrowid or 0)

    def counts(self, seen_after_s: int) -> dict[Standing, int]:
        """How many devices stand how."""
        found = dict.fromkeys(Standing, 0)
        query = "SELECT status, count(*) FROM latest INDEXED BY latest_status WHERE at_s > ? GROUP BY status"
        for status, count in self._execute(query, (max(seen_after_s, 0),)):
            found[Standing[Status(status).name]] = count
        query = "SELECT count(*) FROM latest WHERE at_s <= ?"
        found[Standing.NOT_SEEN] = self._execute(query, (max(seen_after_s, 0),)).fetchone()[0]
        return found

    def device(self, instance_id: bytes) -> Device | None:
        row = self._execute(_SELECT + "instance_id = ?", (instance_id,)).fetchone()
        return None if row is None else _device(row)

    def devices(self, selection: Selection, seen_after_s: int) -> list[Device]:
        """At most ``limit``, those seen last first. VerifierError for a prefix that is none."""
        conditions, values = _conditions(selection, max(seen_after_s, 0))
        order = "at_s, instance_id" if selection.before is not None else "at_s DESC, instance_id DESC"
        query = " ".join([_SELECT, " AND ".join(conditions) or "TRUE", "ORDER BY", order, "LIMIT ?"])
        found = [_device(row) for row in self._execute(query, (*values, selection.limit))]
        return found[::-1] if selection.before is not None else found

    def firmware(self) -> Iterator[Firmware]:
        """Every combination that a device runs, or that is endorsed to be heard of."""
        counts: dict[int, tuple[int, int]] = {}
        query = "SELECT firmware, status, count(*) FROM latest GROUP BY firmware, status"
        for number, status, count in self._execute(query):
            devices, failed = counts.get(number, (0, 0))
            counts[number] = (devices + count, failed + (count if status == Status.CONTRAINDICATED else 0))
        query = "SELECT number, implementation_id, components FROM firmware ORDER BY number"
        for number, implementation_id, components in self._execute(query):
            devices, failed = counts.get(number, (0, 0))
            yield Firmware(
                number=number,
                implementation_id=implementation_id,
                components=components_from_json(components),
                devices=devices,
                failed=failed,
            )


def _told_apart(one: ComponentVerdict) -> ComponentVerdict:
    """What of a component makes a combination another one.

    Of kinds that nobody knows only the name: what is measured there may be each device's own, and there are to be few
    combinations, however many devices.
    """
    return ComponentVerdict(name=one.name, match=one.match) if one.match is Match.EXTRA else one


def _conditions(selection: Selection, seen_after_s: int) -> tuple[list[str], list[object]]:
    """Of a WHERE clause, with the values for its question marks."""
    found: list[tuple[str, tuple[object, ...]]] = []
    if selection.standing is not None and selection.standing.status is None:
        found.append(("at_s <= ?", (seen_after_s,)))
    elif selection.standing is not None:
        found.append(("status = ? AND at_s > ?", (selection.standing.status, seen_after_s)))
    if selection.prefix:
        # The sign keeps SQLite from the index of all names.
        column = "+instance_id" if len(selection.prefix) <= _SHORT_PREFIX_DIGITS else "instance_id"
        found.append((f"{column} BETWEEN ? AND ?", selection.id_range()))
    if selection.firmware is not None:
        numbers = str(sorted(selection.firmware))
        found.append(("firmware IN (SELECT value FROM json_each(?))", (numbers,)))
    place = selection.before or selection.after
    if place is not None:
        compared = ">" if selection.before is not None else "<"
        found.append((f"(at_s, instance_id) {compared} (?, ?)", (place.at_s, place.instance_id)))
    return [one for one, _ in found], [value for _, values in found for value in values]


def _device(row: tuple[Any, ...]) -> Device:
    return Device(
        instance_id=row[0],
        implementation_id=row[1],
        at_s=row[2],
        status=Status(row[3]),
        result=row[4],
        results=row[5],
        failed=row[6],
        why=row[7],
        firmware=row[8],
    )
