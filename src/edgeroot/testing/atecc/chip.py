"""The part: its answers to what is written to it, and its states (data sheet: I2C interface, security commands)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from edgeroot.testing.atecc import access, curve
from edgeroot.testing.atecc.packets import Command, Status, StatusError, answer, command_of
from edgeroot.testing.atecc.state import Hashing, TempKey, Volatile
from edgeroot.testing.atecc.zones import KEY_AES, KEY_OTHER, KEY_P256, Model, Slot, Zones

_RESET, _SLEEP, _IDLE, _COMMAND = 0, 1, 2, 3  # word addresses (data sheet, I2C interface)
_SERIAL_NUMBER: Final = bytes.fromhex("0123456789abcdefee")  # its first two bytes and the last are every part's
_OK: Final = bytes([Status.SUCCESS])
_NOT_YET_RANDOM: Final = b"\xff\xff\0\0" * 8  # what Random gives before the configuration is locked
_EXTERNAL_SIGNATURES, _AGREEMENT, _RESULT_STAYS = 1, 4, 8
_GENKEY_ALLOWED: Final = 0b0010
_MESSAGE_BUFFER: Final = 0x20  # in the mode of Sign and Verify: the message is in the buffer (ATECC608A)
_PUBLIC_KEY_OFFSETS: Final = (4, 40)  # X and Y in a slot for a public key, each behind four bytes


class Atecc:
    """An ATECC508A or ATECC608A. ``zones`` is what it keeps, to be configured before use."""

    def __init__(self, model: Model, serial_number: bytes = _SERIAL_NUMBER, file: Path | None = None) -> None:
        """``file`` is where its memory is kept beyond this process."""
        self.model = model
        self.zones = Zones(model, serial_number, file)
        self.opcodes: list[int] = []
        """The commands that this process has had carried out, in their order."""
        self._volatile = Volatile()
        self._is_awake = False
        self._output = b""
        self._read_from = 0
        commands: dict[int, Callable[[Command], bytes]] = {
            0x02: lambda command: access.read(self.zones, command),
            0x12: lambda command: access.write(self.zones, self._volatile, command),
            0x15: self._gen_dig,
            0x16: self._nonce,
            0x17: lambda command: access.lock(self.zones, command),
            0x1B: self._random,
            0x20: lambda command: access.update_extra(self.zones, command),
            0x30: self._info,
            0x40: self._gen_key,
            0x41: self._sign,
            0x43: self._ecdh,
            0x45: self._verify,
            0x46: lambda command: access.priv_write(self.zones, self._volatile, command),
            0x47: self._sha,
        }
        if model is Model.ATECC608A:
            commands[0x51] = self._aes
        self._commands: Final = commands

    # The bus

    @property
    def is_awake(self) -> bool:
        return self._is_awake

    def wake(self) -> None:
        """SDA was low for long enough: the part says that it is there, and by this only once."""
        if not self._is_awake:
            self._is_awake = True
            self._give(bytes([Status.AFTER_WAKE]))

    def write(self, data: bytes) -> bool:
        """What the host writes to the part's address; False for no acknowledgement, as from a part that sleeps."""
        if not self._is_awake or not data:
            return self._is_awake
        match data[0]:
            case 0:  # the address counter goes back to the answer's beginning
                self._read_from = 0
            case 1:
                self._is_awake, self._volatile = False, Volatile()
            case 2:
                self._is_awake = False
            case 3:
                self._give(self.execute(data[1:]))
        return True

    def read(self, size: int) -> bytes:
        """What the host reads; less than it wants, or nothing, is no acknowledgement or a line that stays high."""
        if not self._is_awake:
            return b""
        part = self._output[self._read_from : self._read_from + size]
        self._read_from += len(part)
        return part

    def _give(self, data: bytes) -> None:
        self._output, self._read_from = answer(data), 0

    def execute(self, packet: bytes) -> bytes:
        """A command packet's answer, without its frame."""
        try:
            command = command_of(packet)
            handler = self._commands.get(command.opcode)
            if handler is None:
                raise StatusError(Status.PARSE_ERROR)
            self.opcodes.append(command.opcode)
            return handler(command)
        except StatusError as error:
            return bytes([error.status])

    # Commands

    def _info(self, command: Command) -> bytes:
        """The revision, or whether a slot has a valid private key."""
        if command.param1 == 0:
            return self.model.revision
        if command.param1 == 1:
            return bytes([curve.is_key(self._private_key(command.param2)), 0, 0, 0])
        raise StatusError(Status.PARSE_ERROR)

    def _random(self, command: Command) -> bytes:
        """32 bytes, whatever the mode says of the seed."""
        if command.param1 > 1 or command.param2 or command.data:
            raise StatusError(Status.PARSE_ERROR)
        return os.urandom(32) if self.zones.is_config_locked else _NOT_YET_RANDOM

    def _nonce(self, command: Command) -> bytes:
        """TempKey from random numbers of both sides, or passed through (mode 3), on the ATECC608A also to a buffer."""
        mode = command.param1 & 3
        if mode == 3:
            return self._pass_through(command)
        if mode == 2 or command.param2 or len(command.data) != 20:
            raise StatusError(Status.PARSE_ERROR)
        own = os.urandom(32) if self.zones.is_config_locked else _NOT_YET_RANDOM
        mixed = hashlib.sha256(own + command.data + bytes([0x16, command.param1, 0])).digest()
        self._volatile.temp_key = TempKey(mixed, is_random=True)
        return own

    def _pass_through(self, command: Command) -> bytes:
        if command.param2 or len(command.data) != 32:
            raise StatusError(Status.PARSE_ERROR)
        target = command.param1 & 0xC0
        if target and self.model is not Model.ATECC608A:
            raise StatusError(Status.PARSE_ERROR)
        if target == 0x40:
            self._volatile.message = command.data
        elif target == 0:
            self._volatile.temp_key = TempKey(command.data, is_random=False)
        else:
            raise StatusError(Status.PARSE_ERROR)
        return _OK

    def _gen_dig(self, command: Command) -> bytes:
        """A slot's content is mixed into TempKey. With NoMac the host gives what stands for the command."""
        slot = self._slot(command.param2)
        temp_key = self._volatile.temp_key
        if command.param1 != 2:
            raise StatusError(Status.PARSE_ERROR)
        if temp_key is None or slot.is_private or (slot.req_random and not temp_key.is_random):
            raise StatusError(Status.EXECUTION_ERROR)
        head = bytes([0x15, 2]) + command.param2.to_bytes(2, "little")
        if slot.config & 0x10:
            if len(command.data) != 4:
                raise StatusError(Status.PARSE_ERROR)
            head = command.data
        serial = self.zones.serial_number
        stored = self.zones.read_slot(command.param2)[:32]
        mixed = hashlib.sha256(stored + head + serial[8:] + serial[:2] + bytes(25) + temp_key.value).digest()
        self._volatile.temp_key = TempKey(mixed, temp_key.is_random, command.param2)
        return _OK

    def _gen_key(self, command: Command) -> bytes:
        """Make a private key (mode 4), or give a private key's public key (mode 0)."""
        slot = self._slot(command.param2)
        if command.param1 not in (0, 4):
            raise StatusError(Status.PARSE_ERROR)
        if not self.zones.is_config_locked or not slot.is_private or slot.key_type != KEY_P256:
            raise StatusError(Status.EXECUTION_ERROR)
        if command.param1 == 4:
            if slot.is_locked or (self.zones.is_data_locked and not slot.write_config & _GENKEY_ALLOWED):
                raise StatusError(Status.EXECUTION_ERROR)
            self.zones.write_slot(command.param2, 0, bytes(4) + curve.new_key())
        elif not slot.pub_info:
            raise StatusError(Status.EXECUTION_ERROR)
        return curve.public_of(self._private_key(command.param2))

    def _sign(self, command: Command) -> bytes:
        """Of what Nonce passed through (external); internally generated messages are not made here."""
        slot = self._slot(command.param2)
        if command.param1 & ~_MESSAGE_BUFFER != 0x80 or command.data:
            raise StatusError(Status.PARSE_ERROR)
        allowed = slot.is_private and slot.key_type == KEY_P256 and slot.read_key & _EXTERNAL_SIGNATURES
        if not self.zones.is_data_locked or not allowed or slot.req_auth:
            raise StatusError(Status.EXECUTION_ERROR)
        return curve.sign(self._private_key(command.param2), self._message(command.param1))

    def _verify(self, command: Command) -> bytes:
        """By a public key that the host gives (mode 2) or that is in a slot (mode 0)."""
        mode = command.param1 & 7
        signature, rest = command.data[:64], command.data[64:]
        if mode == 2:
            if command.param2 != KEY_P256 or len(rest) != 64:
                raise StatusError(Status.PARSE_ERROR)
            point = rest
        elif mode == 0 and not rest and len(signature) == 64:
            slot = self._slot(command.param2)
            if slot.is_private or slot.key_type != KEY_P256:
                raise StatusError(Status.EXECUTION_ERROR)
            stored = self.zones.read_slot(command.param2)
            point = b"".join(stored[offset : offset + 32] for offset in _PUBLIC_KEY_OFFSETS)
        else:
            raise StatusError(Status.PARSE_ERROR)
        if not curve.verifies(point, self._message(command.param1), signature):
            raise StatusError(Status.MISCOMPARE)
        return _OK

    def _message(self, mode: int) -> bytes:
        """The message for Sign and Verify, which is used up by it."""
        if mode & _MESSAGE_BUFFER:
            message, self._volatile.message = self._volatile.message, None
        else:
            temp_key, self._volatile.temp_key = self._volatile.temp_key, None
            message = None if temp_key is None or temp_key.is_random else temp_key.value
        if message is None:
            raise StatusError(Status.EXECUTION_ERROR)
        return message

    def _ecdh(self, command: Command) -> bytes:
        """The result leaves in the clear, or stays in the next slot where the configuration says so."""
        slot = self._slot(command.param2)
        if command.param1 or len(command.data) != 64:
            raise StatusError(Status.PARSE_ERROR)
        allowed = slot.is_private and slot.key_type == KEY_P256 and slot.read_key & _AGREEMENT
        if not self.zones.is_data_locked or not allowed or slot.req_auth or self.zones.protects_agreements:
            raise StatusError(Status.EXECUTION_ERROR)
        shared = curve.agree(self._private_key(command.param2), command.data)
        if not slot.read_key & _RESULT_STAYS:
            return shared
        if command.param2 & 1:
            raise StatusError(Status.EXECUTION_ERROR)
        self.zones.write_slot(command.param2 | 1, 0, shared)
        return _OK

    def _sha(self, command: Command) -> bytes:
        """SHA-256 and HMAC. A block of 64 bytes at a time; the last one, with the end, is shorter."""
        mode, hmac_end = command.param1 & 7, 2 if self.model is Model.ATECC608A else 5
        if mode == 0:
            self._volatile.hashing = Hashing(None)
            return _OK
        if mode == 4:
            slot = self._slot(command.param2)
            if not self.zones.is_data_locked or slot.is_private or slot.key_type != KEY_OTHER or slot.req_auth:
                raise StatusError(Status.EXECUTION_ERROR)
            self._volatile.hashing = Hashing(self.zones.read_slot(command.param2)[:32])
            return _OK
        hashing = self._volatile.hashing
        if hashing is None or len(command.data) != command.param2:
            raise StatusError(Status.PARSE_ERROR)
        if mode == 1 and command.param2 == 64:
            hashing.update(command.data)
            return _OK
        if mode != (hmac_end if hashing.is_hmac else 2) or command.param2 > 63:
            raise StatusError(Status.PARSE_ERROR)
        hashing.update(command.data)
        self._volatile.hashing = None
        return hashing.digest()

    def _aes(self, command: Command) -> bytes:
        """ATECC608A, AES: a block encrypted (mode 0) or decrypted (1), or a multiplication in GCM's field (3)."""
        if not self.zones.has_aes:
            raise StatusError(Status.EXECUTION_ERROR)
        mode, key_block = command.param1 & 7, command.param1 >> 6
        if mode == 3 and len(command.data) == 32:
            return multiplied(command.data[:16], command.data[16:])
        if mode > 1 or len(command.data) != 16:
            raise StatusError(Status.PARSE_ERROR)
        slot = self._slot(command.param2)
        if not self.zones.is_data_locked or slot.key_type != KEY_AES or slot.req_auth:
            raise StatusError(Status.EXECUTION_ERROR)
        key = self.zones.read_slot(command.param2)[16 * key_block : 16 * key_block + 16]
        cipher = Cipher(algorithms.AES(key), modes.ECB())
        context = cipher.decryptor() if mode else cipher.encryptor()
        return context.update(command.data)

    def _slot(self, number: int) -> Slot:
        if number > 15:
            raise StatusError(Status.PARSE_ERROR)
        return self.zones.slot(number)

    def _private_key(self, number: int) -> bytes:
        self._slot(number)
        return self.zones.read_slot(number)[4:36]


def multiplied(one: bytes, other: bytes) -> bytes:
    """NIST SP 800-38D §6.3, the product of two blocks."""
    x, v, z = int.from_bytes(one, "big"), int.from_bytes(other, "big"), 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            z ^= v
        v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
    return z.to_bytes(16, "big")
