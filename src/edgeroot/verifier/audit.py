"""The audit log's chain: every line is bound to all before it.

A line is JSON; its link is SHA-256 over the link before (32 zero bytes for the first) and the line. Who changes, drops
or moves a line breaks every link behind it. That the end was cut off shows only to who noted a link that was there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

from edgeroot.verifier.errors import VerifierError

START: Final = bytes(32)


def line_of(entry: Mapping[str, object]) -> str:
    """One line of JSON, the same for the same entry."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"))


def link(previous: bytes, line: str) -> bytes:
    return sha256(previous + line.encode()).digest()


def check_chain(rows: Iterable[tuple[int, str, bytes]], noted: bytes | None = None) -> tuple[int, bytes]:
    """How many lines there are, and the last link; VerifierError where the chain breaks.

    ``rows`` are numbers from 1, lines and links. ``noted`` is a link that must be among them.
    """
    count, last, seen = 0, START, noted is None
    for number, line, found in rows:
        count += 1
        last = link(last, line)
        if number != count:
            raise VerifierError(f"the audit log is broken: line {count} is missing")
        if found != last:
            raise VerifierError(f"the audit log is broken: line {number} or one before it was changed")
        seen = seen or last == noted
    if not seen:
        raise VerifierError("the audit log is whole as far as it goes, but the noted link is not in it: it was cut off")
    return count, last
