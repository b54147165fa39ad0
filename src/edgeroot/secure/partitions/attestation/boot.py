"""What the boot tells this partition, and what it says as long as nothing measures the boot."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from edgeroot.evidence import Lifecycle, write_measurements

# No boot stage has measured anything: one component whose name and all-zero digest say so. No image has this digest, so
# no reference value will ever match it by accident.
UNMEASURED_EVENT_LOG: Final = write_measurements({"UNMEASURED": bytes(32)})
# The event log does not say who signed what. Zero is nobody's hash, so no policy takes it for a signer.
NO_SIGNER_ID: Final = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSettings:
    """What tokens say about the platform.

    ``platform`` names the implementation, in ASCII. The legacy profile carries it as it is; RFC 9783 wants 32 bytes and
    gets its SHA-256. ``lifecycle`` stays UNKNOWN, which no relying party should trust, until a boot stage vouches for
    another. ``signer_id`` (RFC 9783 only) is the hash of the key that signed the measured components.
    """

    platform: str = "edgeroot.emulated-secure-world"
    lifecycle: int = Lifecycle.UNKNOWN
    signer_id: bytes = NO_SIGNER_ID

    def __post_init__(self) -> None:
        if not self.platform or not self.platform.isascii():
            raise ValueError("a platform's name is ASCII and not empty")
        if self.lifecycle & ~0xFF not in set(Lifecycle):
            raise ValueError(f"there is no lifecycle {self.lifecycle:#x}")
        if len(self.signer_id) not in (32, 48, 64):
            raise ValueError(f"a signer id has 32, 48 or 64 bytes, not {len(self.signer_id)}")

    @property
    def legacy_implementation_id(self) -> bytes:
        return self.platform.encode()

    @property
    def implementation_id(self) -> bytes:
        return sha256(self.platform.encode()).digest()
