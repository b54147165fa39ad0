"""The words of a verdict: attestation results as draft-ietf-rats-ear and draft-ietf-rats-ar4si have them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Final

NONE: Final = 0
APPROVED: Final = 2
APPROVED_BOOT: Final = 3
"""Of executables: what was loaded at boot is known."""
DOUBTED: Final = 32
"""Of identity: draft-ietf-rats-ar4si has no value of its own for a doubt, so it is the first of the warnings."""
CONFIGURATION_UNAVAILABLE: Final = 36
"""Of configuration: elements of it that matter for security cannot be judged."""
UNRECOGNIZED: Final = 97
CRYPTOGRAPHY_FAILED: Final = 99
CONTRAINDICATED: Final = 96
_WARNING: Final = 32


class Status(IntEnum):
    """``ear.status``: the tier of the worst claim."""

    NONE = 0
    AFFIRMING = 2
    WARNING = 32
    CONTRAINDICATED = 96

    @classmethod
    def of(cls, value: int) -> Status:
        """The tier that a claim's value belongs to."""
        if value >= CONTRAINDICATED:
            return cls.CONTRAINDICATED
        if value >= _WARNING:
            return cls.WARNING
        return cls.AFFIRMING if value >= APPROVED else cls.NONE


@dataclass(slots=True)
class TrustVector:
    """``ear.trustworthiness-vector``, as far as a PSA token or a quote says anything. 0: nothing was found out."""

    instance_identity: int = NONE
    configuration: int = NONE
    executables: int = NONE
    hardware: int = NONE

    def claims(self) -> dict[str, int]:
        """By the names that JSON has."""
        return {name.replace("_", "-"): value for name, value in asdict(self).items()}

    def status(self) -> Status:
        """Affirming only if everything was found good; otherwise the tier of the worst."""
        values = list(asdict(self).values())
        worst = Status.of(max(values))
        if worst is Status.AFFIRMING and NONE in values:
            return Status.NONE
        return worst
