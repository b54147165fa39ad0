"""What the key store needs of the storage partition."""

from __future__ import annotations

from typing import Protocol


class KeyStorage(Protocol):
    """Records under uids that are owner << 32 | id. Every failure is a PsaError.

    COMMUNICATION_FAILURE: nobody knows whether the call was carried out.
    """

    def set(self, uid: int, data: bytes) -> None:
        """Store a record where there is none. Until it returns, and after a failure, get() gives all of it or None."""

    def get(self, uid: int) -> bytes | None:
        """The record, or None if there is none."""

    def remove(self, uid: int) -> bool:
        """Whether there was a record."""

    def exists(self, uid: int) -> bool: ...
