"""What the verifier asks of whoever remembers for it, and what is remembered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey
from edgeroot.verifier.feed import Cursor, Page
from edgeroot.verifier.findings import NO_FINDINGS, Findings
from edgeroot.verifier.fleet import Device, Firmware, Result, Selection, Standing


class Revoked(StrEnum):
    """What can be revoked, and by what it is named."""

    DEVICE = "device"
    """The instance id in hexadecimal."""
    MEASUREMENT = "measurement"
    """A component's measurement in hexadecimal."""
    SIGNER = "signer"
    """The key that signed components, by the hash that tokens name it with, in hexadecimal."""
    VERSION = "version"
    """A component's type and version, ``PRoT=1.2.3``."""


class Boot(StrEnum):
    """How a boot seed compares with those that a device has sent before, in words."""

    FIRST = "it is the first boot of the device that is known"
    LAST = "the device was not restarted since the last attestation"
    NEW = "the device was restarted since the last attestation"
    EARLIER = "the device is back in an earlier boot"


class Knowledge(Protocol):
    """What a piece of evidence is judged by."""

    def key_of(self, instance_id: bytes) -> VerificationKey | None:
        """The device's attestation key."""

    def components_of(self, implementation_id: bytes) -> set[ReferenceValue] | None:
        """What the implementation may run; None if nobody says so."""

    def device_revoked(self, instance_id: bytes) -> str | None:
        """Why the device is trusted no more; None if it is."""

    def component_revoked(self, reference: ReferenceValue) -> str | None:
        """Why the component is trusted no more; None if it is."""

    def boot_seen(self, instance_id: bytes, boot_seed: bytes) -> Boot | None:
        """What is remembered of the device's boots; None if nothing ever is."""


class SessionStatus(StrEnum):
    """Of a challenge-response session, as Veraison calls them."""

    WAITING = "waiting"
    COMPLETE = "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A challenge and what came of it. ``expires_at_s`` counts from 1970."""

    session_id: str
    nonce: bytes
    expires_at_s: int
    status: SessionStatus = SessionStatus.WAITING
    media_type: str = ""
    evidence: bytes = b""
    result: str = ""


class Storage(Knowledge, Protocol):
    """A store that keeps what it has acknowledged. Changes happen in a transaction: all of it or nothing is kept."""

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is on the disk when the block ends, and nothing of it if the block raises."""

    def add_session(self, session: Session, *, remember_until_s: int) -> bool:
        """False, and nothing changed, if the nonce was used before and is remembered still."""

    def session(self, session_id: str) -> Session | None: ...

    def complete_session(self, session: Session) -> None: ...

    def remove_session(self, session_id: str) -> None: ...

    def forget_expired(self, now_s: int) -> None:
        """Remove expired sessions and nonces."""

    def open_sessions(self) -> int: ...

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
        """The device's newest result, which expires with its claim ``exp``. The oldest may be forgotten for it."""

    def remember_boot(self, instance_id: bytes, boot_seed: bytes) -> None:
        """The latest if it was never seen before; an earlier one stays where it was."""

    def add_endorsements(self, endorsements: Endorsements) -> None:
        """VerifierError if a device is known with another key."""

    def revoke(self, kind: Revoked, name: str, reason: str, *, at_s: int) -> None:
        """At once in the feed, too: of the device, or of every device whose last result rests on what is named."""

    def log(self, entry: Mapping[str, object]) -> None:
        """Append a line to the audit log."""


class FleetRecords(Knowledge, Protocol):
    """What is told of the fleet to those who look at it. Times are seconds from 1970.

    A device counts as seen if its last result is younger than ``seen_after_s``.
    """

    def fleet_counts(self, seen_after_s: int) -> Mapping[Standing, int]:
        """How many devices stand how."""

    def fleet_devices(self, selection: Selection, seen_after_s: int) -> Sequence[Device]:
        """Those seen last first. VerifierError for a prefix that is none."""

    def fleet_device(self, instance_id: bytes) -> Device | None: ...

    def fleet_history(self, instance_id: bytes, *, before: int | None, limit: int) -> Sequence[Result]:
        """The newest first, from below number ``before``."""

    def fleet_firmware(self) -> Iterable[Firmware]:
        """Every combination of components that devices run now."""

    def fleet_references(self) -> Mapping[bytes, set[ReferenceValue]]:
        """What each implementation may run."""


class FeedRecords(Protocol):
    """How devices stand, for those who follow it."""

    def feed_page(self, after: Cursor | None, limit: int) -> Page:
        """The changes behind a place, at most ``limit``; from the first without one. UnknownCursorError."""
