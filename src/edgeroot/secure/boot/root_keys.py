"""The root keys of a device, each in a slot of its own: whose images run, and whose run no more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

SLOTS: Final = 4
"""How many root keys a device has room for."""


@dataclass(frozen=True, slots=True)
class KeySlot:
    """``key_hash`` is the SHA-256 of the key as images hold it, which names it as their signer."""

    number: int
    key_hash: bytes
    is_revoked: bool = False


@dataclass(frozen=True, slots=True)
class RootKeys:
    """All slots that hold a key, in their order."""

    slots: tuple[KeySlot, ...]

    @classmethod
    def of(cls, *key_hashes: bytes) -> Self:
        """These, none of which is revoked."""
        return cls(tuple(KeySlot(number, one) for number, one in enumerate(key_hashes)))

    def find(self, key_hash: bytes) -> KeySlot | None:
        """The slot of this key, revoked or not."""
        return next((one for one in self.slots if one.key_hash == key_hash), None)

    def without(self, number: int) -> RootKeys:
        """What they are once that one is revoked."""
        return RootKeys(
            tuple(KeySlot(one.number, one.key_hash, one.is_revoked or one.number == number) for one in self.slots)
        )

    def describe(self) -> list[dict[str, object]]:
        """Every slot, for whoever asks how the device stands."""
        held = {one.number: one for one in self.slots}
        return [_describe(number, held.get(number)) for number in range(SLOTS)]

    def encode(self) -> list[tuple[int, str, bool]]:
        """For JSON, and for :meth:`decode`."""
        return [(one.number, one.key_hash.hex(), one.is_revoked) for one in self.slots]

    @classmethod
    def decode(cls, values: Iterable[tuple[int, str, bool]]) -> Self:
        return cls(tuple(KeySlot(number, bytes.fromhex(key_hash), revoked) for number, key_hash, revoked in values))


def _describe(number: int, slot: KeySlot | None) -> dict[str, object]:
    if slot is None:
        return {"slot": number, "hash": None, "state": "blank"}
    return {"slot": number, "hash": slot.key_hash.hex(), "state": "revoked" if slot.is_revoked else "trusted"}
