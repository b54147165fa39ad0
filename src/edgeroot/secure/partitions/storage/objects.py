"""PSA secure storage over the log: what each call means, and with which status it is refused (PSA Secure Storage 1.0).

Statuses are the reference implementation's. Unlike there, setting an object that exists replaces it in one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgeroot.abi.storage import CreateFlags, SupportFlags
from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.storage.record import LOST, Head
from edgeroot.secure.partitions.storage.store import ObjectLog, Owner, Slot

# As a number: of a flag, ~ gives the other known flags and forgets the unknown ones.
_ALL_FLAGS: Final = int(CreateFlags.WRITE_ONCE | CreateFlags.NO_CONFIDENTIALITY | CreateFlags.NO_REPLAY_PROTECTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What one source may store in one service."""

    max_objects: int = 4096
    max_bytes: int = 16 << 20
    max_object_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Info:
    """``psa_storage_info_t``."""

    capacity_bytes: int
    size_bytes: int
    flags: int


class Objects:
    """The objects of one service. Every failure is a PsaError."""

    def __init__(self, log: ObjectLog, service: int, quota: Quota | None = None) -> None:
        self._log = log
        self._service = service
        self._quota = quota or Quota()

    def set(self, source_id: int, uid: int, data: bytes, flags: int) -> None:
        """NOT_PERMITTED if there is a write-once object, INSUFFICIENT_STORAGE beyond the quota."""
        slot = self._slot(source_id, uid)
        if flags & ~_ALL_FLAGS:
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"storage flags {flags:#x}")
        before = self._replaceable(slot)
        self._require_room(slot.owner, before, len(data))
        self._log.set(slot, data, flags=flags, capacity_bytes=len(data))

    def get(self, source_id: int, uid: int, offset: int, size_bytes: int) -> bytes:
        """At most so many bytes from this offset; INVALID_ARGUMENT for one behind the end, which itself is none."""
        slot = self._slot(source_id, uid)
        head = self._existing(slot)
        if offset > head.size_bytes:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the offset is behind the object's end")
        return self._log.read(slot)[offset : offset + size_bytes]

    def get_info(self, source_id: int, uid: int) -> Info:
        head = self._existing(self._slot(source_id, uid))
        return Info(head.capacity_bytes, head.size_bytes, head.flags)

    def remove(self, source_id: int, uid: int) -> None:
        """NOT_PERMITTED for a write-once object."""
        slot = self._slot(source_id, uid)
        if self._replaceable(slot) is None:
            raise PsaError(PsaStatus.DOES_NOT_EXIST)
        self._log.remove(slot)

    def create(self, source_id: int, uid: int, capacity_bytes: int, flags: int) -> None:
        """An empty object with room for ``set_extended``; ALREADY_EXISTS, NOT_SUPPORTED for a write-once one."""
        slot = self._slot(source_id, uid)
        if flags & ~_ALL_FLAGS or flags & CreateFlags.WRITE_ONCE:
            raise PsaError(
                PsaStatus.NOT_SUPPORTED, f"storage flags {flags:#x} for an object that is to be written later"
            )
        if self._log.find(slot) is not None:
            raise PsaError(PsaStatus.ALREADY_EXISTS)
        self._require_room(slot.owner, None, capacity_bytes)
        self._log.set(slot, b"", flags=flags, capacity_bytes=capacity_bytes)

    def set_extended(self, source_id: int, uid: int, offset: int, data: bytes) -> None:
        """Write a part, without leaving a gap; INVALID_ARGUMENT for a gap and beyond the capacity."""
        slot = self._slot(source_id, uid)
        head = self._existing(slot)
        if head.flags & CreateFlags.WRITE_ONCE:
            raise PsaError(PsaStatus.NOT_PERMITTED, "the object is write-once")
        if offset > head.size_bytes or offset + len(data) > head.capacity_bytes:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the part leaves a gap or does not fit")
        before = self._log.read(slot)
        content = Secret(before[:offset] + data + before[offset + len(data) :])
        self._log.set(slot, content, flags=head.flags, capacity_bytes=head.capacity_bytes)

    def get_support(self) -> int:
        return SupportFlags.SET_EXTENDED

    def _slot(self, source_id: int, uid: int) -> Slot:
        if uid == 0:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the uid 0 is reserved")
        return Slot(Owner(self._service, source_id), uid)

    def _existing(self, slot: Slot) -> Head:
        head = self._log.find(slot)
        if head is None:
            raise PsaError(PsaStatus.DOES_NOT_EXIST)
        if head.kind == LOST:
            raise PsaError(PsaStatus.DATA_CORRUPT, "the object was changed outside of this service")
        return head

    def _replaceable(self, slot: Slot) -> Head | None:
        head = self._log.find(slot)
        if head is not None and head.flags & CreateFlags.WRITE_ONCE:
            raise PsaError(PsaStatus.NOT_PERMITTED, "the object is write-once")
        return head

    def _require_room(self, owner: Owner, before: Head | None, size_bytes: int) -> None:
        quota = self._quota
        count, total_bytes = self._log.usage(owner)
        if before is not None:
            count, total_bytes = count - 1, total_bytes - before.capacity_bytes
        if (
            size_bytes > quota.max_object_bytes
            or count >= quota.max_objects
            or total_bytes + size_bytes > quota.max_bytes
        ):
            raise PsaError(PsaStatus.INSUFFICIENT_STORAGE, "the caller has no room for this object")
