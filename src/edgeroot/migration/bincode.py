"""Reading what Rust's bincode 1.3 writes by its default functions, as upstream's records are.

Integers have a fixed width and are little-endian, lengths are u64, the variant of an enum is a u32 (its place in the
declaration), and a struct is its fields one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from edgeroot.migration.errors import MigrationError

_T = TypeVar("_T")


class Reader:
    """Reads from the start of ``data``; MigrationError where it does not go on as it must."""

    def __init__(self, data: bytes) -> None:
        self._rest = memoryview(data)

    def integer(self, size_bytes: int) -> int:
        return int.from_bytes(self._take(size_bytes), "little")

    def boolean(self) -> bool:
        value = self.integer(1)
        if value > 1:
            raise MigrationError("the record is damaged: a truth value is neither 0 nor 1")
        return bool(value)

    def octets(self) -> bytes:
        """A ``Vec<u8>``."""
        return bytes(self._take(self.integer(8)))

    def variant(self, meanings: Sequence[_T]) -> _T:
        """What the variant of an enum means."""
        index = self.integer(4)
        if index >= len(meanings):
            raise MigrationError(f"the record is damaged, or of a newer release: there is no variant {index}")
        return meanings[index]

    def _take(self, size_bytes: int) -> memoryview:
        if size_bytes > len(self._rest):
            raise MigrationError("the record ends too early")
        taken, self._rest = self._rest[:size_bytes], self._rest[size_bytes:]
        return taken
