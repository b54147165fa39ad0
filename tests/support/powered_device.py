"""A small device whose power can be cut at any change: flash with two banks, fuses, and the count of trial boots.

It boots as the real one does: the same choice of a bank, the same agent; an image is a few bytes instead of a signed
file. What was written to the flash and not synchronised is lost, kept, or torn when the power goes.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final
from uuid import UUID

from edgeroot.abi.fwu_objects import FwuState
from edgeroot.psa import Lifecycle
from edgeroot.secure.boot.choice import choose
from edgeroot.secure.boot.fuses import Fuses
from edgeroot.secure.boot.trial import Attempts
from edgeroot.secure.partitions.firmware_update.agent import BootInfo, UpdateAgent
from edgeroot.secure.partitions.firmware_update.banks import fits, fresh
from edgeroot.secure.partitions.firmware_update.layout import BLOCK_BYTES, FirmwareImage, FlashLayout
from edgeroot.secure.partitions.firmware_update.metadata_store import MetadataStore
from edgeroot.secure.platform.one_time_memory import OneTimeMemoryError

SOURCE: Final = 1
FIRST, SECOND = UUID(int=0xA1), UUID(int=0xA2)
LAYOUT: Final = FlashLayout(
    location=UUID(int=0xF1A5),
    images=tuple(
        FirmwareImage(image_type=kind, areas=(UUID(int=number), UUID(int=number + 1)), max_size_bytes=BLOCK_BYTES)
        for kind, number in ((FIRST, 0xB10), (SECOND, 0xB20))
    ),
)
NEVER: Final = 1 << 30


class PowerCutError(Exception):
    """The power went."""


def image(release: int, kind: UUID) -> bytes:
    """An image of a release, whose security counter is the release's number."""
    return b"release %d of %d " % (release, kind.int) * 20


RELEASES_MAX: Final = 50
_RELEASES: Final = {
    kind: {image(release, kind): release for release in range(1, RELEASES_MAX + 1)} for kind in (FIRST, SECOND)
}


class Power:
    """Counts what is changed, and goes before the change with the number ``cut_at``."""

    def __init__(self) -> None:
        self.changes = 0
        self.cut_at = NEVER

    def change(self) -> None:
        if self.changes == self.cut_at:
            raise PowerCutError
        self.changes += 1


Loss = Callable[[list[tuple[int, bytes]]], list[tuple[int, bytes]]]
"""What of the pending changes of a flash reaches it, when the power goes."""


def lost(_: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return []


def kept(pending: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return pending


def torn(seed: int) -> Loss:
    """A piece of each change, all of it or nothing, in any order."""

    def tear(pending: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        dice = random.Random(seed)
        pieces = []
        for offset, data in dice.sample(pending, len(pending)):
            begin, end = sorted(dice.choice((0, len(data), dice.randrange(len(data) + 1))) for _ in range(2))
            pieces.append((offset + begin, data[begin:end]))
        return pieces

    return tear


class PoweredFlash:
    """Erased it reads zero, as the real one. It checks the rules of flash."""

    def __init__(self, power: Power, content: bytes) -> None:
        self.power = power
        self.durable = bytearray(content)
        self.current = bytearray(content)
        self.pending: list[tuple[int, bytes]] = []

    def read(self, offset: int, size_bytes: int) -> bytes:
        assert 0 <= offset <= offset + size_bytes <= len(self.current)
        return bytes(self.current[offset : offset + size_bytes])

    def erase(self, offset: int, size_bytes: int) -> None:
        assert offset % BLOCK_BYTES == size_bytes % BLOCK_BYTES == 0
        self._put(offset, bytes(size_bytes))

    def write(self, offset: int, data: bytes) -> None:
        assert self.read(offset, len(data)) == bytes(len(data)), "written without being erased"
        self._put(offset, data)

    def sync(self) -> None:
        self.power.change()
        self.pending.clear()
        self.durable[:] = self.current

    def close(self) -> None:
        pass

    def after(self, loss: Loss) -> bytes:
        """What it holds when the power comes back."""
        content = bytearray(self.durable)
        for offset, data in loss(self.pending):
            content[offset : offset + len(data)] = data
        return bytes(content)

    def _put(self, offset: int, data: bytes) -> None:
        self.pending.append((offset, data))
        self.power.change()
        self.current[offset : offset + len(data)] = data


class PoweredMemory:
    """One-time-programmable memory; a word is written as a whole or not at all."""

    def __init__(self, power: Power, words: dict[int, bytes]) -> None:
        self.power = power
        self.words = words

    def read(self, word: int) -> bytes | None:
        return self.words.get(word)

    def write(self, word: int, value: bytes) -> None:
        if self.words.get(word, value) != value:
            raise OneTimeMemoryError("written before")
        self.power.change()
        self.words[word] = value


@dataclass(frozen=True, slots=True)
class Remains:
    """All that a device has without power."""

    flash: bytes = bytes(LAYOUT.size_bytes)
    words: tuple[tuple[int, bytes], ...] = ()
    attempts: Attempts | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What boots, and what of it lasts. ``releases`` are those of the images that run."""

    state: FwuState
    releases: tuple[int, ...]
    counter: int
    lifecycle: Lifecycle = Lifecycle.SECURED


@dataclass(slots=True)
class Device:
    """One device from when the power comes until it goes."""

    remains: Remains
    power: Power = field(init=False)
    flash: PoweredFlash = field(init=False)
    memory: PoweredMemory = field(init=False)
    attempts: Attempts | None = field(init=False)
    bank: int = field(init=False)
    agent: UpdateAgent = field(init=False)

    def __post_init__(self) -> None:
        self.power = Power()
        self.flash = PoweredFlash(self.power, self.remains.flash)
        self.memory = PoweredMemory(self.power, dict(self.remains.words))
        self.attempts = self.remains.attempts

    @classmethod
    def from_factory(cls) -> Device:
        """Release 1 in the first bank, and nothing has run yet."""
        device = cls(Remains())
        device.fill(0, 1)
        MetadataStore(device.flash).save(fresh(LAYOUT, 0), None)
        Fuses(device.memory).provision([bytes(32)], security_counter=1)
        Fuses(device.memory).advance(Lifecycle.SECURED)
        return device

    def fill(self, bank: int, release: int) -> None:
        for one in LAYOUT.images:
            self.flash.erase(LAYOUT.offset_of(one, bank), BLOCK_BYTES)
            self.flash.write(LAYOUT.offset_of(one, bank), image(release, one.image_type))
        self.flash.sync()

    def without_power(self, loss: Loss = kept) -> Remains:
        return Remains(self.flash.after(loss), tuple(sorted(self.memory.words.items())), self.attempts)

    def boot(self) -> Outcome:
        """By what was stored alone. A bank that is chosen has whole images that may run: AssertionError."""
        stored = MetadataStore(self.flash).peek()
        assert stored is not None, "both copies of the metadata are damaged"
        assert fits(stored.metadata, LAYOUT)
        choice = choose(stored.metadata, self.attempts, failed=frozenset())
        assert choice is not None, "no bank boots"
        instead = choose(stored.metadata, self.attempts, failed=frozenset({choice.bank}))
        assert instead is None or -1 not in self.releases(instead.bank), "a bank that is no good would be next"
        self._count(choice.attempts)
        self.bank = choice.bank
        releases = self.releases(choice.bank)
        fuses = Fuses(self.memory)
        assert min(releases) >= fuses.security_counter(), "older than the device allows, or damaged"
        if not choice.is_trial:
            self._accepted()
        boot = BootInfo(sha256(self.flash.current).digest(), choice.bank)  # which is another one after each boot
        self.agent = UpdateAgent(self.flash, LAYOUT, boot, when_accepted=self._accepted)
        if not choice.is_trial:
            self._count(None)  # the agent has written down which bank boots
        self.check_copies()
        assert (self.agent.state is FwuState.TRIAL) is choice.is_trial
        return self.outcome()

    def outcome(self) -> Outcome:
        fuses = Fuses(self.memory)
        return Outcome(self.agent.state, self.releases(self.bank), fuses.security_counter(), fuses.lifecycle())

    def releases(self, bank: int) -> tuple[int, ...]:
        """Of each image in a bank; -1 for what is no image of a release."""
        found = []
        for one in LAYOUT.images:
            content = self.flash.read(LAYOUT.offset_of(one, bank), BLOCK_BYTES).rstrip(b"\0")
            found.append(_RELEASES[one.image_type].get(content, -1))
        return tuple(found)

    def check_copies(self) -> None:
        """The two copies of the metadata are whole, and the same."""
        first, second = (self.flash.read(offset, BLOCK_BYTES) for offset in (0, BLOCK_BYTES))
        assert first == second
        stored = MetadataStore(self.flash).peek()
        assert stored is not None
        assert stored.boot is not None

    def install(self, release: int, *kinds: UUID, accepted: bool = False) -> None:
        for kind in kinds:
            data = image(release, kind)
            handle = self.agent.open(SOURCE, kind)
            self.agent.write_stream(SOURCE, handle, data[:100])
            self.agent.write_stream(SOURCE, handle, data[100:])
            self.agent.commit(SOURCE, handle, accepted=accepted)

    def update(self, release: int, *kinds: UUID, accepted: bool = False) -> None:
        self.agent.begin_staging()
        self.install(release, *(kinds or (FIRST, SECOND)), accepted=accepted)
        self.agent.end_staging()

    def accept(self) -> None:
        for kind in (FIRST, SECOND):
            if self.agent.state is FwuState.TRIAL:
                self.agent.accept_image(kind)

    def _accepted(self) -> None:
        """The manager's part: what is older than what runs runs no more."""
        fuses = Fuses(self.memory)
        counter = min(self.releases(self.bank))
        if fuses.security_counter() < counter:
            fuses.raise_counter(counter)

    def _count(self, attempts: Attempts | None) -> None:
        if attempts != self.attempts:
            self.power.change()
            self.attempts = attempts


def restarted(device: Device, loss: Loss = kept) -> Device:
    """With what is left of it."""
    return replace(device, remains=device.without_power(loss))
