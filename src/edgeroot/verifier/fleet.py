"""The fleet as people look at it: how each device stands now, and pages of them. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.findings import ComponentVerdict, Findings
from edgeroot.verifier.trust import Status

WINDOW_DEFAULT_S: Final = 86_400
"""For how long a device counts as seen after its last result."""
RESULT_LIFETIME_DEFAULT_S: Final = 1_800
"""For how long a result may be relied on."""
MAX_ID_BYTES: Final = 64
_NEVER_S: Final = 0


class Standing(StrEnum):
    """Of a device now: the ``ear.status`` of its last result, unless that is too old or there is none."""

    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"
    NONE = "none"
    NOT_SEEN = "not-seen"

    @property
    def status(self) -> Status | None:
        """The status that it is made of; None for what was not seen."""
        return None if self is Standing.NOT_SEEN else Status[self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """An endorsed device and its last result. ``at_s`` counts from 1970; 0, and no ``result``: there is none.

    ``why`` is the first check that failed, in words, and ``failed`` how many did. ``firmware`` numbers what it runs.
    """

    instance_id: bytes
    implementation_id: bytes
    at_s: int
    status: Status
    result: int
    results: int
    failed: int
    why: str
    firmware: int

    def standing(self, seen_after_s: int) -> Standing:
        return Standing[self.status.name] if self.at_s > max(seen_after_s, _NEVER_S) else Standing.NOT_SEEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One verdict of a device's history. Numbers rise with time."""

    number: int
    at_s: int
    status: Status
    findings: Findings
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """A combination of components that devices of one implementation run, and how many do; none: not reported.

    Of components whose kind nobody knows it has the name only.

    ``failed`` are those among them whose last result is contraindicated.
    """

    number: int
    implementation_id: bytes
    components: tuple[ComponentVerdict, ...]
    devices: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A place between two devices in the list, which has those seen last first."""

    at_s: int
    instance_id: bytes

    @classmethod
    def parse(cls, text: str) -> Place:
        """VerifierError for what :meth:`text` did not write."""
        at_s, dash, name = text.partition("-")
        try:
            if not dash or not at_s.isascii() or not at_s.isdecimal() or len(at_s) > 15 or len(name) > 2 * MAX_ID_BYTES:
                raise ValueError(text)
            return cls(int(at_s), bytes.fromhex(name))
        except ValueError as error:
            raise VerifierError("the place in the list is none that a list has named") from error

    def text(self) -> str:
        return f"{self.at_s}-{self.instance_id.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which devices, and which part of their list: after or before a place, or from the top.

    ``prefix`` is the beginning of the instance id in hexadecimal; ``firmware`` None means whatever they run.
    """

    standing: Standing | None = None
    prefix: str = ""
    firmware: frozenset[int] | None = None
    after: Place | None = None
    before: Place | None = None
    limit: int = 50

    def id_range(self) -> tuple[bytes, bytes]:
        """The first and the last instance id with the prefix; VerifierError if that is not hexadecimal."""
        odd = len(self.prefix) % 2
        try:
            if not self.prefix.isalnum() or len(self.prefix) > 2 * MAX_ID_BYTES:
                raise ValueError(self.prefix)
            first = bytes.fromhex(self.prefix + "0" * odd)
            return first, bytes.fromhex(self.prefix + "f" * odd) + b"\xff" * MAX_ID_BYTES
        except ValueError as error:
            raise VerifierError("an instance id begins with hexadecimal digits") from error
