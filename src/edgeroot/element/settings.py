"""Which element, on which bus, and which of its slots: the keys of a configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

_SLOTS: Final = 16
_TEST_DEVICES: Final = ("always-fail", "always-success", "fail-unimplemented")
_MAX_U8: Final = 0xFF
_MAX_U16: Final = 0xFFFF
_MAX_BAUD: Final = 1_000_000


class DeviceType(Enum):
    """The parts; the value is how the configuration calls them."""

    ATECC508A = "atecc508a"
    ATECC608A = "atecc608a"


@dataclass(frozen=True, slots=True)
class ElementSettings:
    """Upstream's keys of ``CryptoAuthLib``, with defaults where upstream has none, and ours.

    ValueError for what cannot work.
    """

    device_type: str = field(
        metadata={
            "meaning": '`"atecc508a"` or `"atecc608a"` (for the ATECC608B, too). Another part than the one that is '
            "there is refused, by name."
        }
    )
    iface_type: str = field(metadata={"meaning": '`"i2c"`.'})
    wake_delay: int = field(default=1500, metadata={"meaning": "Microseconds from waking the element to its answer."})
    rx_retries: int = field(default=20, metadata={"meaning": "How often the library tries to wake the element."})
    slave_address: int = field(
        default=0xC0,
        metadata={
            "meaning": "The element's address as the library counts it: the bus's seven bits and a zero behind them, "
            "so 192 (0xC0) for the address 0x60 that `i2cdetect` shows."
        },
    )
    bus: int = field(default=1, metadata={"meaning": "The number in `/dev/i2c-1`."})
    baud: int = field(
        default=100_000,
        metadata={
            "meaning": "The bus's rate. Linux sets it elsewhere (in the device tree), and the library is told 100000 "
            "at most: at a higher rate it would not wake the element."
        },
    )
    slots: str = field(
        default="",
        metadata={
            "meaning": 'The slots that the service may use, such as `"2-4, 9"`.',
            "otherwise": "all",
            "ours": True,
        },
    )

    def __post_init__(self) -> None:
        if self.device_type in _TEST_DEVICES or self.iface_type == "test-interface":
            raise ValueError(
                "upstream's devices and interfaces for tests are not offered: name the element that is there"
            )
        if self.device_type not in {one.value for one in DeviceType}:
            raise ValueError(f'device_type must be "atecc508a" or "atecc608a", not "{self.device_type}"')
        if self.iface_type != "i2c":
            raise ValueError(f'iface_type must be "i2c", not "{self.iface_type}"')
        for name, most in (
            ("wake_delay", _MAX_U16),
            ("rx_retries", _MAX_U8),
            ("slave_address", _MAX_U8),
            ("bus", _MAX_U8),
            ("baud", _MAX_BAUD),
        ):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be between 0 and {most}")
        if self.slave_address & 1 or not self.slave_address:
            message = "slave_address has the seven bits of the bus's address and a zero behind them, as 0xC0 for 0x60"
            raise ValueError(message)
        parse_slots(self.slots)

    @property
    def node(self) -> Path:
        """The device node of the bus."""
        return Path(f"/dev/i2c-{self.bus}")

    @property
    def device(self) -> DeviceType:
        return DeviceType(self.device_type)


def parse_slots(text: str) -> frozenset[int]:
    """The slots that a list such as "0, 2-4" names, all of them for an empty one; ValueError for any other text."""
    if not text.strip():
        return frozenset(range(_SLOTS))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdecimal() and int(end) < _SLOTS for end in ends) or int(ends[0]) > int(
            ends[1]
        ):
            raise ValueError('slots must be a list of numbers from 0 to 15 such as "0, 2-4"')
        found.update(range(int(ends[0]), int(ends[1]) + 1))
    return frozenset(found)
