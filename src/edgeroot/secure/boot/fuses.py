"""What the device's one-time-programmable memory says of its boot: root keys, life cycle, security counter.

Words 0 to 7: the SHA-256 of the root key in slot 0 as images hold it. 8 to 15: the life-cycle states that were entered
(RFC 9783, clause 4.3.1; u32, little-endian), the last one is the state. 16 to 79: security counters in the same way.
80: written if the root keys are ones for development. 81 to 104: the root keys in slots 1 to 3. 105 to 108: written
where the key in that slot is revoked.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from edgeroot.psa import Lifecycle
from edgeroot.secure.boot.errors import BootError
from edgeroot.secure.boot.root_keys import SLOTS, KeySlot, RootKeys
from edgeroot.secure.platform.one_time_memory import WORD_BYTES, OneTimeMemory

WORDS: Final = 109
OLDER_WORDS: Final = 81
"""Of a memory that was made when there was one root key, and no revocation."""
HASH_BYTES: Final = 32
_KEYS: Final = (range(8), range(81, 89), range(89, 97), range(97, 105))
_LIFECYCLE: Final = range(8, 16)
_COUNTER: Final = range(16, 80)
_DEVELOPMENT: Final = 80
_YES: Final = b"DEVK"
_REVOCATION: Final = range(105, 109)
_REVOKED: Final = b"REVK"
_WORD: Final = Struct("<I")


class FusesError(BootError):
    """What was asked for is not possible any more, or not yet; the message says why."""


class Fuses:
    """Each change is whole or can be repeated until it is. OneTimeMemoryError if the memory cannot be used."""

    def __init__(self, memory: OneTimeMemory) -> None:
        self._memory = memory

    def root_keys(self) -> RootKeys | None:
        """None if there is none; FusesError if only a part was written."""
        slots: list[KeySlot] = []
        for number, places in enumerate(_KEYS):
            words = [word for place in places if (word := self._memory.read(place)) is not None]
            if not words:
                continue
            if len(words) < len(places) or number != len(slots):
                raise FusesError("writing the root keys was interrupted: provision the device again with the same keys")
            slots.append(KeySlot(number, b"".join(words), self._is_revoked(number)))
        return RootKeys(tuple(slots)) if slots else None

    def root_keys_with(self, key_hashes: Sequence[bytes]) -> RootKeys:
        """What they are once these are provisioned. FusesError if they cannot be."""
        _check_keys(key_hashes)
        return RootKeys(tuple(KeySlot(number, one, self._is_revoked(number)) for number, one in enumerate(key_hashes)))

    def lifecycle(self) -> Lifecycle:
        """ASSEMBLY_AND_TEST as long as nothing was written."""
        words = self._written(_LIFECYCLE)
        try:
            return Lifecycle(_WORD.unpack(words[-1])[0]) if words else Lifecycle.ASSEMBLY_AND_TEST
        except ValueError as error:
            raise FusesError("the life-cycle state in the one-time-programmable memory is none that exists") from error

    def security_counter(self) -> int:
        """Images below it do not run; 0 at first."""
        words = self._written(_COUNTER)
        return int(_WORD.unpack(words[-1])[0]) if words else 0

    def is_for_development(self) -> bool:
        """Whether the root keys are ones for development, so that the device can never be secured."""
        return self._memory.read(_DEVELOPMENT) is not None

    def provision(self, key_hashes: Sequence[bytes], *, security_counter: int, development: bool = False) -> None:
        """Write the root keys and the first security counter, and enter PSA_ROT_PROVISIONING.

        FusesError if it has a key that is not named, is past that state, or has keys that are not for development.
        """
        if self.lifecycle() > Lifecycle.PSA_ROT_PROVISIONING:
            raise FusesError(f"the device is {self.lifecycle().words}, and is provisioned no more")
        _check_keys(key_hashes)
        parts = {
            place: one[at : at + WORD_BYTES]
            for one, places in zip(key_hashes, _KEYS, strict=False)
            for place, at in zip(places, range(0, HASH_BYTES, WORD_BYTES), strict=True)
        }
        written = {
            place: word for places in _KEYS for place in places if (word := self._memory.read(place)) is not None
        }
        if not written.items() <= parts.items():
            raise FusesError("the device has another root key, and keeps it: name all that it has, in their order")
        if development:
            # Before the keys, so that no interruption leaves one that passes for a maker's.
            if written and not self.is_for_development():
                raise FusesError("the device's root key is not one for development, and stays so")
            self._memory.write(_DEVELOPMENT, _YES)
        # The last slot first: where the first one is whole, no interruption has left a key out.
        for place in (place for places in reversed(_KEYS) for place in places):
            if place in parts:
                self._memory.write(place, parts[place])
        self.raise_counter(security_counter)
        if self.lifecycle() < Lifecycle.PSA_ROT_PROVISIONING:
            self._append(_LIFECYCLE, Lifecycle.PSA_ROT_PROVISIONING)

    def check_revocation(self, number: int) -> None:
        """FusesError if there is no key in this slot, or no other one would be left."""
        keys = self.root_keys()
        if keys is None or number not in [one.number for one in keys.slots]:
            raise FusesError(f"the device has no root key {number}")
        if all(one.is_revoked for one in keys.without(number).slots):
            raise FusesError(f"root key {number} is the last one that is left, and without one nothing boots any more")

    def revoke(self, number: int) -> None:
        """Images of the key in this slot run no more. FusesError as :meth:`check_revocation`."""
        self.check_revocation(number)
        self._memory.write(_REVOCATION[number], _REVOKED)

    def advance(self, state: Lifecycle) -> None:
        """Enter a later state. FusesError for one that is not later, or is entered without a root key."""
        now = self.lifecycle()
        if state <= now:
            raise FusesError(f"the device is {now.words}: it never goes back, nor to where it is")
        if state is Lifecycle.PSA_ROT_PROVISIONING:
            raise FusesError("that state is entered by provisioning a root key")
        if state < Lifecycle.DECOMMISSIONED and self.root_keys() is None:
            raise FusesError("the device has no root key: provision it first")
        if state < Lifecycle.DECOMMISSIONED and self.is_for_development():
            raise FusesError("the device's root key is one for development, whose images a secured device must not run")
        self._append(_LIFECYCLE, state)

    def raise_counter(self, value: int) -> None:
        """Images below it do not run from now on. FusesError for one that is lower than it is, or no word left."""
        now = self.security_counter()
        if value < now:
            raise FusesError(f"the security counter is {now}, and never gets lower")
        if value > now:
            self._append(_COUNTER, value)

    def _is_revoked(self, number: int) -> bool:
        return self._memory.read(_REVOCATION[number]) is not None

    def _written(self, words: range) -> list[bytes]:
        found = []
        for number in words:
            word = self._memory.read(number)
            if word is None:
                break
            found.append(word)
        return found

    def _append(self, words: range, value: int) -> None:
        used = len(self._written(words))
        if used == len(words):
            raise FusesError("the one-time-programmable memory has no word left for this")
        self._memory.write(words[used], _WORD.pack(value))


def _check_keys(key_hashes: Sequence[bytes]) -> None:
    if len(key_hashes) > SLOTS:
        raise FusesError(f"a device has room for {SLOTS} root keys")
    if len(set(key_hashes)) < len(key_hashes):
        raise FusesError("a root key is named twice, and to revoke it in one slot would not keep its images out")
