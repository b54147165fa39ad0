"""Slots: folders of the service, each with a socket, of which a container gets one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = "parsec.sock"
_MOST_DIGITS: Final = 6


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """The slot of a number, from 0."""

    number: int

    @property
    def folder_name(self) -> str:
        """Two digits, more from 100 on."""
        return f"{self.number:02d}"

    @property
    def device_id(self) -> str:
        return f"slot-{self.folder_name}"

    def folder(self, slot_directory: Path) -> Path:
        return slot_directory / self.folder_name

    def socket(self, slot_directory: Path) -> Path:
        return self.folder(slot_directory) / SOCKET_NAME


def first_slots(count: int) -> tuple[Slot, ...]:
    return tuple(Slot(number) for number in range(count))


def slots_named(names: Iterable[str]) -> tuple[Slot, ...]:
    """The slots whose folders have these names, in their order. Other names are nobody's, such as ``0`` and ``007``."""
    digits = [name for name in names if name.isascii() and name.isdigit() and len(name) <= _MOST_DIGITS]
    slots = {name: Slot(int(name)) for name in digits}
    return tuple(sorted(slot for name, slot in slots.items() if slot.folder_name == name))
