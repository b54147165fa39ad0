"""Which memory is shared with whom: the life of a handle from FFA_MEM_SHARE to FFA_MEM_RECLAIM (DEN0077A, clause 11).

Pure: it decides, and never sees the memory. ``memory`` is whatever the manager keeps for a handle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from edgeroot.abi.ffa import FfaError

_FIRST_HANDLE: Final = (1 << 45) | 1  # bit 45: allocated by the manager of the secure world, as OP-TEE does
_MemoryT = TypeVar("_MemoryT")


class RefusedError(Exception):
    """A call is refused with an FF-A error code."""

    def __init__(self, code: FfaError, detail: str) -> None:
        super().__init__(f"{code.name}: {detail}")
        self.code = code


@dataclass(slots=True)
class Share(Generic[_MemoryT]):
    """One shared region. ``owner`` identifies the owner's connection: a region ends with it."""

    handle: int
    source_id: int
    owner: object
    receiver_id: int
    page_count: int
    memory: _MemoryT
    borrowers: set[object] = field(default_factory=set)


class Shares(Generic[_MemoryT]):
    """All shared regions."""

    def __init__(self) -> None:
        self._shares: dict[int, Share[_MemoryT]] = {}
        self._next = _FIRST_HANDLE

    def share(
        self, *, source_id: int, owner: object, receiver_id: int, page_count: int, memory: _MemoryT, limit: int
    ) -> int:
        """The new handle. NO_MEMORY if the source shares ``limit`` regions with this receiver already."""
        held = sum(one.source_id == source_id and one.receiver_id == receiver_id for one in self._shares.values())
        if held >= limit:
            raise RefusedError(FfaError.NO_MEMORY, f"endpoint {source_id:#06x} shares {held} regions already")
        handle = self._next
        self._next += 1
        self._shares[handle] = Share(handle, source_id, owner, receiver_id, page_count, memory)
        return handle

    def retrieve(self, handle: int, *, source_id: int, receiver_id: int, borrower: object) -> Share[_MemoryT]:
        """The region for its receiver. INVALID_PARAMETERS unless it was shared by this source with this receiver."""
        share = self._shares.get(handle)
        if share is None or share.receiver_id != receiver_id or share.source_id != source_id:
            raise RefusedError(FfaError.INVALID_PARAMETERS, "there is no such handle for this receiver and sender")
        share.borrowers.add(borrower)
        return share

    def relinquish(self, handle: int, *, borrower: object) -> None:
        """The receiver gives the region back. INVALID_PARAMETERS if it does not have it."""
        share = self._shares.get(handle)
        if share is None or borrower not in share.borrowers:
            raise RefusedError(FfaError.INVALID_PARAMETERS, "the handle was not retrieved")
        share.borrowers.discard(borrower)

    def reclaim(self, handle: int, *, owner: object) -> Share[_MemoryT]:
        """The owner takes the region back. DENIED while somebody has it, INVALID_PARAMETERS for another's region."""
        share = self._shares.get(handle)
        if share is None or share.owner is not owner:
            raise RefusedError(FfaError.INVALID_PARAMETERS, "the handle is not the caller's")
        if share.borrowers:
            raise RefusedError(FfaError.DENIED, "the receiver has not relinquished the region")
        del self._shares[handle]
        return share

    def forget(self, connection: object) -> list[Share[_MemoryT]]:
        """A connection has ended: what it borrowed is given back, what it owned is gone. Returns the latter."""
        gone = [share for share in self._shares.values() if share.owner is connection]
        for share in gone:
            del self._shares[share.handle]
        for share in self._shares.values():
            share.borrowers.discard(connection)
        return gone

    def held_for(self, receiver_id: int) -> int:
        """How many regions are shared with a receiver."""
        return sum(share.receiver_id == receiver_id for share in self._shares.values())
