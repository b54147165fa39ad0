"""The feed: how each device stands, in the order in which that was found out, for those who follow it. Values only.

Every result moves its device to the end, so a reader who goes on behind the last change that it has read misses no
device, whatever changes meanwhile, and reads each one's newest state only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from edgeroot.verifier.corim import ReferenceValue
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.findings import ComponentVerdict, Match
from edgeroot.verifier.trust import Status

NEVER_S: Final = 253_402_300_799
"""The end of the year 9999: what is revoked stays so. RFC 5280, clause 4.1.2.5, says as much of certificates."""
_LINK_BYTES: Final = 16
_DIGITS_MAX: Final = 18


class UnknownCursorError(VerifierError):
    """The cursor is of another store, or of a history that this one has not had: its reader has to start over."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the feed: behind a change, and where the audit log ended then.

    A store that was restored from a copy has the same changes again, with others' contents. Its audit log tells: each
    link is bound to all that happened before.
    """

    change: int
    audit_line: int
    link: bytes

    @classmethod
    def at(cls, change: int, audit_line: int, link: bytes) -> Cursor:
        return cls(change, audit_line, link[:_LINK_BYTES])

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """UnknownCursorError for what :meth:`text` did not write."""
        parts = text.split("-")
        try:
            if len(parts) != 3 or len(parts[2]) != 2 * _LINK_BYTES:
                raise ValueError(text)
            return cls(_number(parts[0]), _number(parts[1]), bytes.fromhex(parts[2]))
        except ValueError as error:
            raise UnknownCursorError("the cursor is none that a verifier gave out: start over without it") from error

    def text(self) -> str:
        return f"{self.change}-{self.audit_line}-{self.link.hex()}"


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > _DIGITS_MAX:
        raise ValueError(text)
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A device as it stands since change ``number``. Times count from 1970.

    ``lifecycle`` is empty if the evidence says nothing of it. ``components`` are those that the device reported.
    """

    number: int
    device: bytes
    status: Status
    reason: str
    evaluated_at_s: int
    expires_at_s: int
    lifecycle: str
    components: tuple[ComponentVerdict, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A part of the feed. ``more``: there are further changes already."""

    changes: tuple[Change, ...]
    cursor: Cursor
    more: bool


def revocation_of(
    components: Iterable[ComponentVerdict],
    references: Iterable[ReferenceValue],
    reason: Callable[[ReferenceValue], str | None],
) -> str | None:
    """In words, why a verdict that rests on these components holds no more; None if it does."""
    known = list(references)
    for one in components:
        if one.match is not Match.MATCHED:
            continue
        for reference in known:
            if _is_what_matched(reference, one) and (why := reason(reference)) is not None:
                return f"{one.name}{f' (version {one.version})' if one.version else ''} was revoked: {why}"
    return None


def _is_what_matched(reference: ReferenceValue, one: ComponentVerdict) -> bool:
    return (
        (reference.measurement, reference.signer_id) == (one.measurement, one.signer_id)
        and reference.name in (None, one.name)
        and reference.version in (None, one.version)
    )
