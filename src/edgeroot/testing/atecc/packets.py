"""Packets on the bus: count, content, CRC; and the statuses of answers (data sheet: security command packets)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_POLYNOMIAL: Final = 0x8005
_SHORTEST_COMMAND: Final = 7  # count, opcode, param1, param2, CRC
_OVERHEAD: Final = 3


class Status(IntEnum):
    """A part's answer of one byte (data sheet: status/error codes)."""

    SUCCESS = 0x00
    MISCOMPARE = 0x01
    PARSE_ERROR = 0x03
    ECC_FAULT = 0x05
    EXECUTION_ERROR = 0x0F
    AFTER_WAKE = 0x11
    CRC_ERROR = 0xFF


class StatusError(Exception):
    """A command ends with this status and without an effect."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass(frozen=True, slots=True)
class Command:
    """A command's parts: opcode, the two parameters, and the data behind them."""

    opcode: int
    param1: int
    param2: int
    data: bytes


def crc16(data: bytes) -> bytes:
    """The two bytes that follow: polynomial 0x8005, bits of each byte from the lowest, register from zero."""
    register = 0
    for byte in data:
        for bit in range(8):
            feedback = (byte >> bit & 1) ^ register >> 15
            register = register << 1 & 0xFFFF ^ (_POLYNOMIAL if feedback else 0)
    return register.to_bytes(2, "little")


def answer(data: bytes) -> bytes:
    framed = bytes([len(data) + _OVERHEAD]) + data
    return framed + crc16(framed)


def command_of(packet: bytes) -> Command:
    """StatusError as the part says it: a wrong count or CRC is a communication error, too short a parse error."""
    if not packet or packet[0] != len(packet) or packet[-2:] != crc16(packet[:-2]):
        raise StatusError(Status.CRC_ERROR)
    if len(packet) < _SHORTEST_COMMAND:
        raise StatusError(Status.PARSE_ERROR)
    return Command(packet[1], packet[2], int.from_bytes(packet[3:5], "little"), packet[5:-2])
