"""The security life cycle of a device (PSA Security Model; numbers of RFC 9783, clause 4.3.1)."""

from __future__ import annotations

from enum import IntEnum


class Lifecycle(IntEnum):
    """Major security lifecycle states (RFC 9783, clause 4.3.1); the low byte of a claim is the platform's own."""

    UNKNOWN = 0x0000
    ASSEMBLY_AND_TEST = 0x1000
    PSA_ROT_PROVISIONING = 0x2000
    SECURED = 0x3000
    NON_PSA_ROT_DEBUG = 0x4000
    RECOVERABLE_PSA_ROT_DEBUG = 0x5000
    DECOMMISSIONED = 0x6000

    @property
    def words(self) -> str:
        """As it is said and written in policies and on command lines: ``non-psa-rot-debug``."""
        return self.name.lower().replace("_", "-")
