"""The list of slots that are taken, and by whom: an element has no place for it.

It is written before a key is made, and again only after the key's slot was overwritten. So a process that dies at any
moment leaves a slot that is listed and whose record the service will clean up, never one with a key and unlisted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edgeroot.psa import PsaError, PsaStatus

ID_BYTES: Final = 16
NAME_BYTES: Final = 16
_VERSION: Final = 1
_SLOTS: Final = 16


@dataclass(frozen=True, slots=True)
class Ledger:
    """``ledger_id`` is what tells one list from another; ``slots`` are by the names of keys."""

    ledger_id: bytes
    serial_number: bytes
    slots: Mapping[bytes, int]

    def to_text(self) -> str:
        listed = {str(slot): name.hex() for name, slot in sorted(self.slots.items(), key=lambda item: item[1])}
        content = {
            "version": _VERSION,
            "id": self.ledger_id.hex(),
            "serial_number": self.serial_number.hex(),
            "slots": listed,
        }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_text(cls, text: str) -> Ledger:
        """PsaError DATA_CORRUPT for anything that :meth:`to_text` does not write."""
        try:
            content = json.loads(text)
            slots = {bytes.fromhex(name): int(slot) for slot, name in content["slots"].items()}
            found = cls(bytes.fromhex(content["id"]), bytes.fromhex(content["serial_number"]), slots)
            is_right = content["version"] == _VERSION and len(found.ledger_id) == ID_BYTES
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PsaError(PsaStatus.DATA_CORRUPT, f"the list of slots is damaged: {error}") from error
        names = all(len(name) == NAME_BYTES and 0 <= slot < _SLOTS for name, slot in slots.items())
        if not is_right or not names or len(slots) != len(content["slots"]):
            raise PsaError(PsaStatus.DATA_CORRUPT, "the list of slots is damaged, or of another version")
        return found

    def with_slot(self, name: bytes, slot: int) -> Ledger:
        return Ledger(self.ledger_id, self.serial_number, {**self.slots, name: slot})

    def without(self, name: bytes) -> Ledger:
        return Ledger(self.ledger_id, self.serial_number, {n: slot for n, slot in self.slots.items() if n != name})

    def is_taken(self, slot: int) -> bool:
        return slot in self.slots.values()
