"""What an element can be used for, by its configuration zone (ATECC508A data sheet, table 2-5 and what follows).

A slot is of use here if a key can be made or written there and cannot be read. What other slots depend on is left
alone.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from edgeroot.element.settings import DeviceType
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaError, PsaStatus

CONFIG_BYTES: Final = 128
PAIR: Final = KeyType.ecc_key_pair(EccFamily.SECP_R1)
PUBLIC: Final = PAIR.public_of_pair
ECDSA: Final = Algorithm.ecdsa(Hash.SHA_256)
_REVISIONS: Final = {0x50: DeviceType.ATECC508A, 0x60: DeviceType.ATECC608A}  # the third byte
_AES_ENABLE: Final = 13
_COUNT_MATCH: Final = 18  # this and the next three, and the options: of the ATECC608
_USE_LOCK: Final = 68
_VOLATILE_KEY: Final = 69
_SECURE_BOOT: Final = 70
_CHIP_OPTIONS: Final = 90
_SLOT_CONFIG: Final = 20
_LOCK_VALUE: Final = 86
_LOCK_CONFIG: Final = 87
_SLOT_LOCKED: Final = 88
_KEY_CONFIG: Final = 96
_UNLOCKED: Final = 0x55
_SLOTS: Final = 16
_FIRST_LARGE_SLOT: Final = 8  # from there on a slot has room for a public key
_KEY_P256, _KEY_AES, _KEY_OTHER = 4, 6, 7
_SIGNS, _AGREES, _RESULT_STAYS = 1, 4, 8
_WRITE_ALWAYS, _GENKEY, _ENCRYPTED = 0b0000, 0b0010, 0b0100


class Role(Enum):
    """What kind of key a slot can have."""

    PAIR = auto()
    PUBLIC = auto()
    AES = auto()
    HMAC = auto()


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot that the service can use. ``write_key`` names the slot whose key encrypts what is written there."""

    number: int
    role: Role
    is_locked: bool
    can_generate: bool
    can_write: bool
    can_sign: bool
    can_agree: bool
    write_key: int | None

    def fits(self, attributes: KeyAttributes, *, generates: bool, imports: bool) -> bool:
        """Whether a key with these attributes can be made here, in one of the ways."""
        if self.is_locked or not ((generates and self.can_generate) or (imports and self.can_write)):
            return False
        return self.suits(attributes)

    def suits(self, attributes: KeyAttributes) -> bool:
        """Whether a key with these attributes can be used here, however it came."""
        if self.role is not _ROLES.get(attributes.key_type):
            return False
        if self.role is not Role.PAIR or attributes.algorithm == Algorithm.NONE:
            return True
        return self.can_agree if attributes.algorithm == Algorithm.ECDH else self.can_sign

    @property
    def rights(self) -> int:
        """How many: a key gets the slot that has the fewest beside those that it needs."""
        return self.can_sign + self.can_agree + self.can_write + self.can_generate


@dataclass(frozen=True, slots=True)
class Part:
    """An element as it is configured."""

    device: DeviceType
    serial_number: bytes
    is_locked: bool
    has_aes: bool
    slots: tuple[Slot, ...]

    @classmethod
    def read(cls, revision: bytes, config: bytes, *, allowed: Collection[int], access_keys: Collection[int]) -> Part:
        """``allowed`` are the slots that the service may use, ``access_keys`` those whose keys it knows.

        PsaError NOT_SUPPORTED for a part of another kind, DATA_INVALID for what is no configuration zone.
        """
        device = _REVISIONS.get(revision[2]) if len(revision) == 4 else None
        if device is None:
            message = f"revision {revision.hex()} is neither an ATECC508A nor an ATECC608"
            raise PsaError(PsaStatus.NOT_SUPPORTED, message)
        if len(config) != CONFIG_BYTES:
            raise PsaError(PsaStatus.DATA_INVALID, f"the configuration zone has {len(config)} bytes")
        has_aes = device is DeviceType.ATECC608A and bool(config[_AES_ENABLE] & 1)
        raw = [_RawSlot.read(number, config) for number in range(_SLOTS)]
        needed = frozenset(access_keys).union(*(one.needs for one in raw))
        gives_agreed = True
        if device is DeviceType.ATECC608A:
            needed |= _needed_by_the_part(config)
            gives_agreed = not config[_CHIP_OPTIONS + 1] & 0b11  # ECDH protection: the result leaves in the clear
        slots = (one.usable(access_keys, has_aes=has_aes) for one in raw if one.number in set(allowed) - needed)
        return cls(
            device=device,
            serial_number=config[:4] + config[8:13],
            is_locked=config[_LOCK_CONFIG] != _UNLOCKED and config[_LOCK_VALUE] != _UNLOCKED,
            has_aes=has_aes,
            slots=tuple(replace(slot, can_agree=slot.can_agree and gives_agreed) for slot in slots if slot is not None),
        )


def _needed_by_the_part(config: bytes) -> frozenset[int]:
    """What an ATECC608 as a whole has a use for: counters, use lock, volatile keys, secure boot, the bus."""
    found = set()
    if config[_COUNT_MATCH] & 1:
        found.add(config[_COUNT_MATCH] >> 4)
    if config[_USE_LOCK] & 0x0F:
        found.add(config[_USE_LOCK] >> 4)
    if config[_VOLATILE_KEY] & 0x80:
        found.add(config[_VOLATILE_KEY] & 0x0F)
    if config[_SECURE_BOOT] & 0b11:
        found.update((config[_SECURE_BOOT + 1] & 0x0F, config[_SECURE_BOOT + 1] >> 4))
    if config[_CHIP_OPTIONS] & 0b10:
        found.add(config[_CHIP_OPTIONS + 1] >> 4)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _RawSlot:
    number: int
    config: int
    key: int
    is_locked: bool

    @classmethod
    def read(cls, number: int, config: bytes) -> _RawSlot:
        slot, key = (start + 2 * number for start in (_SLOT_CONFIG, _KEY_CONFIG))
        return cls(
            number,
            int.from_bytes(config[slot : slot + 2], "little"),
            int.from_bytes(config[key : key + 2], "little"),
            not config[_SLOT_LOCKED + number // 8] >> number % 8 & 1,
        )

    @property
    def _is_private(self) -> bool:
        return bool(self.key & 1)

    @property
    def _key_type(self) -> int:
        return self.key >> 2 & 7

    @property
    def _read_key(self) -> int:
        """For private keys, what they may do."""
        return self.config & 0x0F

    @property
    def _encrypt_read(self) -> bool:
        return bool(self.config & 0x40)

    @property
    def _write_config(self) -> int:
        return self.config >> 12

    @property
    def _write_key(self) -> int:
        return self.config >> 8 & 0x0F

    @property
    def needs(self) -> frozenset[int]:
        """The slots that this one depends on: keys for its encryption and authorisation, where its result goes."""
        found = set()
        if self._write_config & _ENCRYPTED:
            found.add(self._write_key)
        if self.key & 0x80:  # ReqAuth
            found.add(self.key >> 8 & 0x0F)
        if self._is_private:
            if self._read_key & _RESULT_STAYS:
                found.add(self.number | 1)
        elif self._encrypt_read:
            found.add(self._read_key)
        return frozenset(found - {self.number})

    def usable(self, access_keys: Collection[int], *, has_aes: bool) -> Slot | None:
        """What the service can use it for, None for nothing."""
        role = self._role(has_aes=has_aes)
        if role is None or self.config & 0x20 or self.key & 0x1080:  # LimitedUse; ReqAuth, PersistentDisable
            return None
        encrypts = bool(self._write_config & _ENCRYPTED) and self._write_key in access_keys and role is not Role.PUBLIC
        is_pair = role is Role.PAIR
        can_write = encrypts or (not is_pair and self._write_config == _WRITE_ALWAYS)
        can_generate = bool(self._write_config & _GENKEY) if is_pair else can_write and role is not Role.PUBLIC
        if not can_write and not can_generate:
            return None
        return Slot(
            number=self.number,
            role=role,
            is_locked=self.is_locked,
            can_generate=can_generate,
            can_write=can_write,
            can_sign=is_pair and bool(self._read_key & _SIGNS),
            can_agree=is_pair and self._read_key & (_AGREES | _RESULT_STAYS) == _AGREES,
            write_key=self._write_key if encrypts else None,
        )

    def _role(self, *, has_aes: bool) -> Role | None:
        is_secret, pub_info = bool(self.config & 0x80), bool(self.key & 2)
        if self._is_private:
            # Without PubInfo nobody would ever learn the public key.
            return Role.PAIR if self._key_type == _KEY_P256 and pub_info else None
        if self._key_type == _KEY_P256:
            is_large = self.number >= _FIRST_LARGE_SLOT
            return Role.PUBLIC if is_large and not is_secret and not self._encrypt_read else None
        if not is_secret or self._encrypt_read:
            return None
        if self._key_type == _KEY_AES:
            return Role.AES if has_aes else None
        return Role.HMAC if self._key_type == _KEY_OTHER else None


_ROLES: Final = {PAIR: Role.PAIR, PUBLIC: Role.PUBLIC, KeyType.AES: Role.AES, KeyType.HMAC: Role.HMAC}
