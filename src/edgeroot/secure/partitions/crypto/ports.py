"""What the key store needs of others: of the storage partition, and of a secure element."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from edgeroot.engine import EngineKey
from edgeroot.psa import KeyAttributes, Secret


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


class KeyElement(Protocol):
    """Key pairs in a secure element, by names that say the uid of the key's record. Every failure is a PsaError.

    COMMUNICATION_FAILURE and HARDWARE_FAILURE: nobody knows whether the call was carried out.
    """

    def generate(self, uid: int, attributes: KeyAttributes) -> Secret:
        """The new key's name. NOT_SUPPORTED for a key that the element does not have."""

    def destroy(self, name: bytes) -> None:
        """To destroy what is not there is no error."""

    def names(self) -> Collection[tuple[int, bytes]]:
        """Uids and names of all keys, whether they were finished or not."""

    def load(self, attributes: KeyAttributes, name: bytes) -> EngineKey:
        """What the element can do with the key."""
