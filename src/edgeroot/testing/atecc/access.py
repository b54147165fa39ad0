"""Reading and writing the zones (data sheet: commands Read, Write, PrivWrite, Lock and UpdateExtra)."""

from __future__ import annotations

import hashlib
from typing import Final

from edgeroot.testing.atecc import curve
from edgeroot.testing.atecc.packets import Command, Status, StatusError, crc16
from edgeroot.testing.atecc.state import Volatile
from edgeroot.testing.atecc.zones import CONFIG_BYTES, KEY_P256, OTP_BYTES, SLOT_BYTES, Slot, Zones

_CONFIG, _OTP, _DATA = 0, 1, 2
_ENCRYPTED: Final = 0x40
_WHOLE_BLOCK: Final = 0x80
_BLOCK: Final = 32
_WORD: Final = 4
_MAC_BYTES: Final = 32
_READ_ONLY_CONFIG: Final = 16  # bytes 0 to 15 are the factory's
_LOCK_WORD: Final = 84  # UserExtra, Selector and the two locks, which commands of their own change
_WRITE_ENCRYPTED: Final = 0b0100
_WRITE_NEVER: Final = 0b1010  # any of these bits without the one for encryption
_IGNORE_SUMMARY: Final = 0x80


def read(zones: Zones, command: Command) -> bytes:
    """The Read command: a word or a block. Private keys and secrets never leave in the clear."""
    zone, size = command.param1 & 3, _size(command)
    if zone == _CONFIG:
        return _part(zones.config, _config_offset(command, CONFIG_BYTES), size)
    if zone == _OTP:
        return _part(zones.otp, _config_offset(command, OTP_BYTES), size)
    number, offset = _slot_offset(command)
    slot = zones.slot(number)
    if not zones.is_data_locked or slot.is_private or slot.is_secret or slot.encrypt_read:
        raise StatusError(Status.EXECUTION_ERROR)
    return _part(zones.read_slot(number).ljust(-(-slot.size // _BLOCK) * _BLOCK, b"\0"), offset, size)


def write(zones: Zones, volatile: Volatile, command: Command) -> bytes:
    """The Write command: a word or a block, in the clear or encrypted under TempKey, as the slot's WriteConfig says."""
    zone, size = command.param1 & 3, _size(command)
    expected = size + (_MAC_BYTES if command.param1 & _ENCRYPTED else 0)
    if len(command.data) != expected:
        raise StatusError(Status.PARSE_ERROR)
    if zone == _CONFIG:
        return _write_config(zones, _config_offset(command, CONFIG_BYTES), command.data)
    if zone == _OTP:
        if not zones.is_config_locked or zones.is_data_locked:
            raise StatusError(Status.EXECUTION_ERROR)
        zones.write_otp(_config_offset(command, OTP_BYTES), command.data)
        return bytes([Status.SUCCESS])
    number, offset = _slot_offset(command)
    slot = zones.slot(number)
    if not zones.is_config_locked or slot.is_private or slot.is_locked or (slot.is_secret and size == _WORD):
        raise StatusError(Status.EXECUTION_ERROR)
    data = command.data
    if not zones.is_data_locked:
        if size != _BLOCK or command.param1 & _ENCRYPTED:
            raise StatusError(Status.EXECUTION_ERROR)
    elif command.param1 & _ENCRYPTED:
        data = _decrypted(zones, volatile, slot, command)
    elif slot.write_config & (_WRITE_ENCRYPTED | _WRITE_NEVER):
        raise StatusError(Status.EXECUTION_ERROR)
    zones.write_slot(number, offset, data)
    return bytes([Status.SUCCESS])


def priv_write(zones: Zones, volatile: Volatile, command: Command) -> bytes:
    """The PrivWrite command: a private key of 36 bytes, the first four of them zero, and its MAC."""
    if len(command.data) != 36 + _MAC_BYTES or command.param2 >= len(SLOT_BYTES):
        raise StatusError(Status.PARSE_ERROR)
    slot = zones.slot(command.param2)
    if not zones.is_config_locked or not slot.is_private or slot.key_type != KEY_P256 or slot.is_locked:
        raise StatusError(Status.EXECUTION_ERROR)
    if command.param1 & _ENCRYPTED:
        padded = _decrypted(zones, volatile, slot, command)
    elif zones.is_data_locked:
        raise StatusError(Status.EXECUTION_ERROR)
    else:
        padded = command.data[:36]
    if any(padded[:4]) or not curve.is_key(padded[4:]):
        raise StatusError(Status.ECC_FAULT)
    zones.write_slot(command.param2, 0, padded)
    return bytes([Status.SUCCESS])


def lock(zones: Zones, command: Command) -> bytes:
    """The Lock command: configuration, data and OTP, or a single slot; the summary is the CRC over what is locked."""
    what = command.param1 & 3
    if what == 0:
        if zones.is_config_locked:
            raise StatusError(Status.EXECUTION_ERROR)
        _check_summary(command, zones.config)
        zones.lock_config()
    elif what == 1:
        if not zones.is_config_locked or zones.is_data_locked:
            raise StatusError(Status.EXECUTION_ERROR)
        _check_summary(command, b"".join(zones.read_slot(n) for n in range(len(SLOT_BYTES))) + zones.otp)
        zones.lock_data()
    elif what == 2:
        number = command.param1 >> 2 & 0x0F
        slot = zones.slot(number)
        if not zones.is_config_locked or not slot.lockable or slot.is_locked:
            raise StatusError(Status.EXECUTION_ERROR)
        zones.lock_slot(number)
    else:
        raise StatusError(Status.PARSE_ERROR)
    return bytes([Status.SUCCESS])


def update_extra(zones: Zones, command: Command) -> bytes:
    """The UpdateExtra command: UserExtra (mode 0) or Selector (mode 1), which when locked change only from zero."""
    if command.param1 > 1 or command.param2 > 0xFF:
        raise StatusError(Status.PARSE_ERROR)
    offset = _LOCK_WORD + command.param1
    if zones.is_config_locked and zones.config[offset]:
        raise StatusError(Status.EXECUTION_ERROR)
    zones.write_config(offset, bytes([command.param2]))
    return bytes([Status.SUCCESS])


def _decrypted(zones: Zones, volatile: Volatile, slot: Slot, command: Command) -> bytes:
    """What an encrypted write carries, if GenDig has mixed the write key into TempKey before."""
    temp_key, volatile.temp_key = volatile.temp_key, None
    if (
        not slot.write_config & _WRITE_ENCRYPTED
        or temp_key is None
        or not temp_key.is_random
        or temp_key.gendig_slot != slot.write_key
    ):
        raise StatusError(Status.EXECUTION_ERROR)
    sealed, mac = command.data[:-_MAC_BYTES], command.data[-_MAC_BYTES:]
    stream = temp_key.value + hashlib.sha256(temp_key.value).digest()
    plain = bytes(one ^ other for one, other in zip(sealed, stream, strict=False))
    head = bytes([command.opcode, command.param1]) + command.param2.to_bytes(2, "little")
    serial = zones.serial_number
    zeros = bytes(57 - len(plain))  # 25 for a block of 32 bytes, 21 for a private key of 36
    if mac != hashlib.sha256(temp_key.value + head + serial[8:] + serial[:2] + zeros + plain).digest():
        raise StatusError(Status.MISCOMPARE)
    return plain


def _write_config(zones: Zones, offset: int, data: bytes) -> bytes:
    end = offset + len(data)
    touches_locks = offset < _LOCK_WORD + _WORD and end > _LOCK_WORD
    if zones.is_config_locked or offset < _READ_ONLY_CONFIG or touches_locks:
        raise StatusError(Status.EXECUTION_ERROR)
    zones.write_config(offset, data)
    return bytes([Status.SUCCESS])


def _size(command: Command) -> int:
    if command.param1 & 3 > _DATA:
        raise StatusError(Status.PARSE_ERROR)
    return _BLOCK if command.param1 & _WHOLE_BLOCK else _WORD


def _config_offset(command: Command, zone_bytes: int) -> int:
    """Address encoding: word in bits 0 to 2, block in bits 3 and 4; a block's address has no word."""
    offset = (command.param2 & 0x1F) * _WORD
    if command.param1 & _WHOLE_BLOCK:
        offset -= offset % _BLOCK
    if command.param2 > 0x1F or offset + _size(command) > zone_bytes:
        raise StatusError(Status.PARSE_ERROR)
    return offset


def _slot_offset(command: Command) -> tuple[int, int]:
    """Address encoding: word in bits 0 to 2, slot in bits 3 to 6, block from bit 8 on."""
    number, block = command.param2 >> 3 & 0x0F, command.param2 >> 8
    offset = block * _BLOCK + (0 if command.param1 & _WHOLE_BLOCK else (command.param2 & 7) * _WORD)
    if offset >= SLOT_BYTES[number]:
        raise StatusError(Status.PARSE_ERROR)
    return number, offset


def _part(memory: bytes, offset: int, size: int) -> bytes:
    return memory[offset : offset + size]


def _check_summary(command: Command, locked: bytes) -> None:
    if not command.param1 & _IGNORE_SUMMARY and command.param2.to_bytes(2, "little") != crc16(locked):
        raise StatusError(Status.EXECUTION_ERROR)
