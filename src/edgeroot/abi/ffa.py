"""Messages of the Firmware Framework for Arm (DEN0077A): eight registers, function ids, errors, partition discovery.

Registers are w0 to w7, unsigned 32 bits. Encoded they are 32 bytes, little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final, NamedTuple
from uuid import UUID

_REGISTERS: Final = Struct("<8I")
_UUID_WORDS: Final = Struct("<4I")
_U32: Final = 0xFFFFFFFF
_INFO_1_0: Final = Struct("<HHI")
_INFO_1_1: Final = Struct("<HHI16s")
_NIL_OCTETS: Final = bytes(16)

VERSION_1_0: Final = 0x0001_0000
VERSION_1_1: Final = 0x0001_0001

NORMAL_WORLD_ID: Final = 0
"""The primary virtual machine, or the operating system where there is no hypervisor."""
FIRST_SECURE_ID: Final = 0x8000


class FunctionId(IntEnum):
    """What is in w0. Functions that exist in both widths have the width in their name; bit 30 says 64."""

    ERROR = 0x84000060
    SUCCESS_32 = 0x84000061
    SUCCESS_64 = 0xC4000061
    INTERRUPT = 0x84000062
    VERSION = 0x84000063
    FEATURES = 0x84000064
    RX_RELEASE = 0x84000065
    RXTX_MAP_32 = 0x84000066
    RXTX_MAP_64 = 0xC4000066
    RXTX_UNMAP = 0x84000067
    PARTITION_INFO_GET = 0x84000068
    ID_GET = 0x84000069
    MSG_WAIT = 0x8400006B
    YIELD = 0x8400006C
    RUN = 0x8400006D
    MSG_SEND_DIRECT_REQ_32 = 0x8400006F
    MSG_SEND_DIRECT_REQ_64 = 0xC400006F
    MSG_SEND_DIRECT_RESP_32 = 0x84000070
    MSG_SEND_DIRECT_RESP_64 = 0xC4000070
    MEM_DONATE_32 = 0x84000071
    MEM_DONATE_64 = 0xC4000071
    MEM_LEND_32 = 0x84000072
    MEM_LEND_64 = 0xC4000072
    MEM_SHARE_32 = 0x84000073
    MEM_SHARE_64 = 0xC4000073
    MEM_RETRIEVE_REQ_32 = 0x84000074
    MEM_RETRIEVE_REQ_64 = 0xC4000074
    MEM_RETRIEVE_RESP = 0x84000075
    MEM_RELINQUISH = 0x84000076
    MEM_RECLAIM = 0x84000077
    MEM_FRAG_RX = 0x8400007A
    MEM_FRAG_TX = 0x8400007B
    NORMAL_WORLD_RESUME = 0x8400007C
    NOTIFICATION_BITMAP_CREATE = 0x8400007D
    NOTIFICATION_BITMAP_DESTROY = 0x8400007E
    NOTIFICATION_BIND = 0x8400007F
    NOTIFICATION_UNBIND = 0x84000080
    NOTIFICATION_SET = 0x84000081
    NOTIFICATION_GET = 0x84000082
    NOTIFICATION_INFO_GET = 0x84000083
    RX_ACQUIRE = 0x84000084
    SPM_ID_GET = 0x84000085
    MSG_SEND2 = 0x84000086
    SECONDARY_EP_REGISTER = 0xC4000087
    MEM_PERM_GET = 0x84000088
    MEM_PERM_SET = 0x84000089
    CONSOLE_LOG = 0x8400008A
    PARTITION_INFO_GET_REGS = 0xC400008B
    MSG_SEND_DIRECT_REQ2 = 0xC400008D
    MSG_SEND_DIRECT_RESP2 = 0xC400008E


class FfaError(IntEnum):
    """What is in w2 of FFA_ERROR, as a signed number."""

    NOT_SUPPORTED = -1
    INVALID_PARAMETERS = -2
    NO_MEMORY = -3
    BUSY = -4
    INTERRUPTED = -5
    DENIED = -6
    RETRY = -7
    ABORTED = -8
    NO_DATA = -9


class Message(NamedTuple):
    """Eight registers."""

    w0: int
    w1: int = 0
    w2: int = 0
    w3: int = 0
    w4: int = 0
    w5: int = 0
    w6: int = 0
    w7: int = 0

    def encode(self) -> bytes:
        """32 bytes; struct.error for a register that is not an unsigned 32-bit number."""
        return _REGISTERS.pack(*self)

    @classmethod
    def decode(cls, data: bytes) -> Message:
        """ValueError unless there are 32 bytes."""
        if len(data) != _REGISTERS.size:
            raise ValueError(f"a message has {_REGISTERS.size} bytes, not {len(data)}")
        return cls._make(_REGISTERS.unpack(data))

    @property
    def sender(self) -> int:
        """Of a direct message."""
        return self.w1 >> 16

    @property
    def receiver(self) -> int:
        """Of a direct message."""
        return self.w1 & 0xFFFF


def direct_request(sender: int, receiver: int, words: Sequence[int]) -> Message:
    """FFA_MSG_SEND_DIRECT_REQ of 32 bits; ``words`` are w3 to w7."""
    return Message(FunctionId.MSG_SEND_DIRECT_REQ_32, sender << 16 | receiver, 0, *words)


def direct_response(sender: int, receiver: int, words: Sequence[int]) -> Message:
    """FFA_MSG_SEND_DIRECT_RESP of 32 bits; ``sender`` is who answers."""
    return Message(FunctionId.MSG_SEND_DIRECT_RESP_32, sender << 16 | receiver, 0, *words)


def error(code: FfaError) -> Message:
    return Message(FunctionId.ERROR, 0, code & _U32)


def success(*words: int) -> Message:
    """FFA_SUCCESS of 32 bits; ``words`` are from w2 on."""
    return Message(FunctionId.SUCCESS_32, 0, *words)


def signed(word: int) -> int:
    """A register as a signed 32-bit number."""
    return word - (1 << 32) if word >> 31 else word


def uuid_words(uuid: UUID) -> tuple[int, int, int, int]:
    """A UUID in four registers: its octets in the order of RFC 9562, each four loaded little-endian."""
    first, second, third, fourth = _UUID_WORDS.unpack(uuid.bytes)
    return first, second, third, fourth


def uuid_from_words(words: Sequence[int]) -> UUID:
    """The reverse of :func:`uuid_words`, for four registers."""
    return UUID(bytes=_UUID_WORDS.pack(*words))


class PartitionProperties(IntFlag):
    """Properties in a partition information descriptor. Bits 5:4, the type, are zero: a PE endpoint."""

    RECEIVES_DIRECT_REQUESTS = 1 << 0
    SENDS_DIRECT_REQUESTS = 1 << 1
    INDIRECT_MESSAGES = 1 << 2
    RECEIVES_NOTIFICATIONS = 1 << 3
    VM_CREATED_MESSAGES = 1 << 6
    VM_DESTROYED_MESSAGES = 1 << 7
    AARCH64 = 1 << 8
    RECEIVES_DIRECT_REQUESTS_2 = 1 << 9
    SENDS_DIRECT_REQUESTS_2 = 1 << 10


class PartitionInfo(NamedTuple):
    """A partition information descriptor: 24 bytes in FF-A 1.1, 8 in 1.0, which has no UUID."""

    id: int
    execution_contexts: int
    properties: int
    uuid: UUID = UUID(int=0)

    def encode(self, version: int = VERSION_1_1) -> bytes:
        if version < VERSION_1_1:
            return _INFO_1_0.pack(self.id, self.execution_contexts, self.properties)
        return _INFO_1_1.pack(self.id, self.execution_contexts, self.properties, self.uuid.bytes)

    @classmethod
    def decode_all(cls, data: bytes, version: int = VERSION_1_1) -> list[PartitionInfo]:
        """The descriptors that FFA_PARTITION_INFO_GET left in the RX buffer; ValueError for part of one."""
        layout = _INFO_1_0 if version < VERSION_1_1 else _INFO_1_1
        if len(data) % layout.size:
            raise ValueError(f"{len(data)} bytes are no whole number of descriptors of {layout.size}")
        return [
            cls(endpoint_id, contexts, properties, UUID(bytes=octets[0] if octets else _NIL_OCTETS))
            for endpoint_id, contexts, properties, *octets in layout.iter_unpack(data)
        ]
