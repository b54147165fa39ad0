"""What an ATECC keeps without power: configuration, OTP and data zone, in memory that forks share.

The configuration zone (table 2-5) is read here bit by bit, independently of whoever reads it elsewhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import IntEnum
from mmap import mmap
from pathlib import Path
from typing import Final

CONFIG_BYTES: Final = 128
OTP_BYTES: Final = 64
SLOT_BYTES: Final = (*[36] * 8, 416, *[72] * 7)  # the data zone's slots
KEY_P256: Final = 4
KEY_AES: Final = 6
KEY_OTHER: Final = 7
_UNLOCKED: Final = 0x55
_AES_ENABLE: Final = 13
_SLOT_CONFIG: Final = 20
_LOCK_DATA: Final = 86
_LOCK_CONFIG: Final = 87
_SLOT_LOCKED: Final = 88
_CHIP_OPTIONS: Final = 90
_KEY_CONFIG: Final = 96


class Model(IntEnum):
    """The part; the value is the third byte of its revision."""

    ATECC508A = 0x50
    ATECC608A = 0x60

    @property
    def revision(self) -> bytes:
        return bytes([0, 0, self, 2 if self is Model.ATECC608A else 0])


def slot_config(
    *,
    read_key: int = 0,
    no_mac: bool = False,
    limited_use: bool = False,
    encrypt_read: bool = False,
    is_secret: bool = False,
    write_key: int = 0,
    write_config: int = 0,
) -> int:
    """Two bytes of SlotConfig."""
    low = read_key | no_mac << 4 | limited_use << 5 | encrypt_read << 6 | is_secret << 7
    return low | write_key << 8 | write_config << 12


def key_config(
    key_type: int,
    *,
    private: bool = False,
    pub_info: bool = False,
    lockable: bool = True,
    req_random: bool = False,
    req_auth: bool = False,
    auth_key: int = 0,
) -> int:
    """Two bytes of KeyConfig."""
    low = int(private) | pub_info << 1 | key_type << 2 | lockable << 5 | req_random << 6 | req_auth << 7
    return low | auth_key << 8


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot as its configuration says; ``start`` is where its data lie in the data zone."""

    config: int
    key: int
    is_locked: bool
    start: int
    size: int

    @property
    def read_key(self) -> int:
        """For private keys, what they may do: 1 external, 2 internal signatures, 4 ECDH, 8 its result stays inside."""
        return self.config & 0x0F

    @property
    def encrypt_read(self) -> bool:
        return bool(self.config & 0x40)

    @property
    def is_secret(self) -> bool:
        return bool(self.config & 0x80)

    @property
    def write_key(self) -> int:
        return self.config >> 8 & 0x0F

    @property
    def write_config(self) -> int:
        return self.config >> 12

    @property
    def is_private(self) -> bool:
        return bool(self.key & 1)

    @property
    def pub_info(self) -> bool:
        return bool(self.key & 2)

    @property
    def key_type(self) -> int:
        return self.key >> 2 & 7

    @property
    def lockable(self) -> bool:
        return bool(self.key & 0x20)

    @property
    def req_random(self) -> bool:
        return bool(self.key & 0x40)

    @property
    def req_auth(self) -> bool:
        return bool(self.key & 0x80)


class Zones:
    """The memory. It is shared with processes that are forked, as the part is shared by those on its bus."""

    def __init__(self, model: Model, serial_number: bytes, file: Path | None) -> None:
        """As delivered (nothing is locked, and no slot has a key), or as it was left in ``file``, if there is one."""
        size = CONFIG_BYTES + OTP_BYTES + sum(SLOT_BYTES)
        if file is None:
            self._memory = mmap(-1, size)
        else:
            with file.open("r+b" if file.exists() else "w+b") as opened:
                is_new = not opened.seek(0, os.SEEK_END)
                opened.truncate(size)
                self._memory = mmap(opened.fileno(), size)
            if not is_new:
                return
        config = bytearray(CONFIG_BYTES)
        config[:4], config[4:8], config[8:13] = serial_number[:4], model.revision, serial_number[4:]
        config[_AES_ENABLE] = int(model is Model.ATECC608A)
        config[14], config[16] = 1, 0xC0  # on I2C, at its usual address
        config[_LOCK_DATA], config[_LOCK_CONFIG] = _UNLOCKED, _UNLOCKED
        config[_SLOT_LOCKED : _SLOT_LOCKED + 2] = b"\xff\xff"
        self.write_config(0, bytes(config))

    @property
    def serial_number(self) -> bytes:
        config = self.config
        return config[:4] + config[8:13]

    @property
    def config(self) -> bytes:
        return self._memory[:CONFIG_BYTES]

    def write_config(self, offset: int, data: bytes) -> None:
        self._memory[offset : offset + len(data)] = data

    @property
    def otp(self) -> bytes:
        return self._memory[CONFIG_BYTES : CONFIG_BYTES + OTP_BYTES]

    def write_otp(self, offset: int, data: bytes) -> None:
        start = CONFIG_BYTES + offset
        self._memory[start : start + len(data)] = data

    @property
    def has_aes(self) -> bool:
        return bool(self._memory[_AES_ENABLE] & 1)

    @property
    def protects_agreements(self) -> bool:
        """ChipOptions of the ATECC608A: whether results of ECDH leave the part encrypted, or not at all."""
        return bool(self._memory[_CHIP_OPTIONS + 1] & 3)

    @property
    def is_config_locked(self) -> bool:
        return self._memory[_LOCK_CONFIG] != _UNLOCKED

    @property
    def is_data_locked(self) -> bool:
        return self._memory[_LOCK_DATA] != _UNLOCKED

    def lock_config(self) -> None:
        self._memory[_LOCK_CONFIG] = 0

    def lock_data(self) -> None:
        self._memory[_LOCK_DATA] = 0

    def lock_slot(self, number: int) -> None:
        self._memory[_SLOT_LOCKED + number // 8] &= ~(1 << number % 8) & 0xFF

    def set_slot(self, number: int, slot: int, key: int) -> None:
        """Configure a slot as the factory or whoever personalises the part does, before the zone is locked."""
        self.write_config(_SLOT_CONFIG + 2 * number, slot.to_bytes(2, "little"))
        self.write_config(_KEY_CONFIG + 2 * number, key.to_bytes(2, "little"))

    def slot(self, number: int) -> Slot:
        config = self.config
        slot, key = _SLOT_CONFIG + 2 * number, _KEY_CONFIG + 2 * number
        return Slot(
            int.from_bytes(config[slot : slot + 2], "little"),
            int.from_bytes(config[key : key + 2], "little"),
            not config[_SLOT_LOCKED + number // 8] >> number % 8 & 1,
            CONFIG_BYTES + OTP_BYTES + sum(SLOT_BYTES[:number]),
            SLOT_BYTES[number],
        )

    def read_slot(self, number: int) -> bytes:
        slot = self.slot(number)
        return self._memory[slot.start : slot.start + slot.size]

    def write_slot(self, number: int, offset: int, data: bytes) -> None:
        """What lies beyond the slot's end is dropped: the last block of a slot is not whole."""
        slot = self.slot(number)
        kept = data[: slot.size - offset]
        self._memory[slot.start + offset : slot.start + offset + len(kept)] = kept
