"""What the device's one-time-programmable memory says of its boot: root key hash, life cycle, security counter.

Words 0 to 7: the SHA-256 of the root key as images hold it. 8 to 15: the life-cycle states that were entered (RFC 9783,
clause 4.3.1; u32, little-endian), the last one is the state. 16 to 79: security counters in the same way. 80: written
if the root key is one for development.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from edgeroot.psa import Lifecycle
from edgeroot.secure.boot.errors import BootError
from edgeroot.secure.platform.one_time_memory import WORD_BYTES, OneTimeMemory

WORDS: Final = 81
HASH_BYTES: Final = 32
_HASH: Final = range(HASH_BYTES // WORD_BYTES)
_LIFECYCLE: Final = range(8, 16)
_COUNTER: Final = range(16, 80)
_DEVELOPMENT: Final = 80
_YES: Final = b"DEVK"
_WORD: Final = Struct("<I")


class FusesError(BootError):
    """What was asked for is not possible any more, or not yet; the message says why."""


class Fuses:
    """Each change is whole or can be repeated until it is. OneTimeMemoryError if the memory cannot be used."""

    def __init__(self, memory: OneTimeMemory) -> None:
        self._memory = memory

    def root_key_hash(self) -> bytes | None:
        """None if there is none; FusesError if only a part was written."""
        words = [word for number in _HASH if (word := self._memory.read(number)) is not None]
        if words and len(words) < len(_HASH):
            raise FusesError("writing the root key hash was interrupted: provision the device again with the same key")
        return b"".join(words) or None

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
        """Whether the root key is one for development, so that the device can never be secured."""
        return self._memory.read(_DEVELOPMENT) is not None

    def provision(self, root_key_hash: bytes, *, security_counter: int, development: bool = False) -> None:
        """Write the root key hash and the first security counter, and enter PSA_ROT_PROVISIONING.

        FusesError if there is another hash, the device is past that state, or its root key is not for development.
        """
        if self.lifecycle() > Lifecycle.PSA_ROT_PROVISIONING:
            raise FusesError(f"the device is {self.lifecycle().words}, and is provisioned no more")
        parts = [root_key_hash[at : at + WORD_BYTES] for at in range(0, HASH_BYTES, WORD_BYTES)]
        if any(self._memory.read(number) not in (None, part) for number, part in zip(_HASH, parts, strict=True)):
            raise FusesError("the device has another root key, and keeps it")
        if development:
            # Before the key, so that no interruption leaves a key that passes for a maker's.
            if self._memory.read(_HASH[0]) is not None and not self.is_for_development():
                raise FusesError("the device's root key is not one for development, and stays so")
            self._memory.write(_DEVELOPMENT, _YES)
        for number, part in zip(_HASH, parts, strict=True):
            self._memory.write(number, part)
        self.raise_counter(security_counter)
        if self.lifecycle() < Lifecycle.PSA_ROT_PROVISIONING:
            self._append(_LIFECYCLE, Lifecycle.PSA_ROT_PROVISIONING)

    def advance(self, state: Lifecycle) -> None:
        """Enter a later state. FusesError for one that is not later, or is entered without a root key."""
        now = self.lifecycle()
        if state <= now:
            raise FusesError(f"the device is {now.words}: it never goes back, nor to where it is")
        if state is Lifecycle.PSA_ROT_PROVISIONING:
            raise FusesError("that state is entered by provisioning a root key")
        if state < Lifecycle.DECOMMISSIONED and self.root_key_hash() is None:
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
