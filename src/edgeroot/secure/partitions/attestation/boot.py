"""What the boot tells this partition, and what it says as long as nothing measures the boot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    another. ``signers`` (RFC 9783 only) are the hashes of the keys that signed the measured components, by their names.
    """

    platform: str = "edgeroot.emulated-secure-world"
    lifecycle: int = Lifecycle.UNKNOWN
    signers: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.platform or not self.platform.isascii():
            raise ValueError("a platform's name is ASCII and not empty")
        if self.lifecycle & ~0xFF not in set(Lifecycle):
            raise ValueError(f"there is no lifecycle {self.lifecycle:#x}")
        for signer_id in self.signers.values():
            if len(signer_id) not in (32, 48, 64):
                raise ValueError(f"a signer id has 32, 48 or 64 bytes, not {len(signer_id)}")

    @property
    def legacy_implementation_id(self) -> bytes:
        return self.platform.encode()

    @property
    def implementation_id(self) -> bytes:
        return sha256(self.platform.encode()).digest()
