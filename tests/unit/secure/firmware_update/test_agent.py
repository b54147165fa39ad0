from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import pytest

from edgeroot.abi.fwu import FWU_METADATA, IMAGE_DIRECTORY, FwuStatus
from edgeroot.abi.fwu_objects import BankState, FwuMetadata, FwuState, ImageDirectory
from edgeroot.secure.partitions.firmware_update.agent import BootInfo, FwuError, UpdateAgent
from edgeroot.secure.partitions.firmware_update.boot import boot_info
from edgeroot.secure.partitions.firmware_update.layout import BLOCK_BYTES, FirmwareImage, FlashLayout
from edgeroot.secure.partitions.firmware_update.metadata_store import MetadataStore

SOURCE = 1
FIRST, SECOND, STRANGE = UUID(int=0xA1), UUID(int=0xA2), UUID(int=0xEE)
LAYOUT = FlashLayout(
    location=UUID(int=0xF1A5),
    images=(
        FirmwareImage(image_type=FIRST, areas=(UUID(int=0xB10), UUID(int=0xB11)), max_size_bytes=BLOCK_BYTES),
        FirmwareImage(image_type=SECOND, areas=(UUID(int=0xB20), UUID(int=0xB21)), max_size_bytes=2 * BLOCK_BYTES),
    ),
)
NEW = {FIRST: b"new firmware" * 5, SECOND: b"other new firmware" * 300}


class PowerCutError(Exception):
    pass


@dataclass
class FakeFlash:
    """Checks the rules of flash; when the power is cut, what was not synchronised survives in part or not at all."""

    size_bytes: int = LAYOUT.size_bytes
    cut_at: int | None = None
    operations: int = 0
    seed: int = 0
    durable: bytearray = field(init=False)
    current: bytearray = field(init=False)
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.durable = bytearray(b"\xff" * self.size_bytes)
        self.current = bytearray(self.durable)

    def read(self, offset: int, size_bytes: int) -> bytes:
        assert 0 <= offset <= offset + size_bytes <= self.size_bytes
        return bytes(self.current[offset : offset + size_bytes])

    def erase(self, offset: int, size_bytes: int) -> None:
        assert offset % BLOCK_BYTES == size_bytes % BLOCK_BYTES == 0
        self._put(offset, b"\xff" * size_bytes)

    def write(self, offset: int, data: bytes) -> None:
        assert self.read(offset, len(data)) == b"\xff" * len(data), "written without being erased"
        self._put(offset, data)

    def sync(self) -> None:
        self._step()
        self.pending.clear()
        self.durable[:] = self.current

    def _put(self, offset: int, data: bytes) -> None:
        self.pending.append((offset, data))
        self._step()
        self.current[offset : offset + len(data)] = data

    def _step(self) -> None:
        if self.cut_at == self.operations:
            self._cut()
            raise PowerCutError
        self.operations += 1

    def _cut(self) -> None:
        """Of each pending change: all, nothing, or a piece. An erasure may reach the chip after what was written."""
        dice = random.Random(self.seed)
        pending = list(self.pending)
        dice.shuffle(pending)
        for offset, data in pending:
            begin, end = sorted(dice.choice((0, len(data), dice.randrange(len(data) + 1))) for _ in range(2))
            self.durable[offset + begin : offset + end] = data[begin:end]
        self.pending.clear()

    def after_power_cut(self) -> FakeFlash:
        flash = FakeFlash(self.size_bytes)
        flash.durable[:] = self.durable
        flash.current[:] = self.durable
        return flash


@dataclass
class Device:
    """A flash, and the agent of the boot that runs now."""

    flash: FakeFlash = field(default_factory=FakeFlash)
    boots: int = 0

    def __post_init__(self) -> None:
        self.reboot()

    def reboot(self) -> UpdateAgent:
        self.boots += 1
        return self.restart()

    def restart(self) -> UpdateAgent:
        """The partition's process alone is started anew."""
        self.agent = UpdateAgent(self.flash, LAYOUT, boot_info(self.flash, LAYOUT, b"boot %d" % self.boots))
        return self.agent

    def reboot_into(self, bank: int) -> UpdateAgent:
        """The boot stages have fallen back."""
        self.boots += 1
        self.agent = UpdateAgent(self.flash, LAYOUT, BootInfo(self.boots.to_bytes(32, "big"), bank))
        return self.agent

    def state(self) -> FwuState:
        return self.agent.state

    def install(self, *image_types: UUID, accepted: bool = False) -> None:
        for image_type in image_types:
            handle = self.agent.open(SOURCE, image_type)
            self.agent.write_stream(SOURCE, handle, NEW[image_type])
            self.agent.commit(SOURCE, handle, accepted=accepted)

    def update(self, *image_types: UUID, accepted: bool = False) -> None:
        self.agent.begin_staging()
        self.install(*image_types, accepted=accepted)
        self.agent.end_staging()

    def metadata(self) -> FwuMetadata:
        """As the boot stages find it: both copies are the same."""
        copies = [FwuMetadata.decode(self.flash.read(offset, BLOCK_BYTES)) for offset in (0, BLOCK_BYTES)]
        assert copies[0] == copies[1]
        return copies[0]

    def image(self, bank: int, image_type: UUID) -> bytes:
        image = LAYOUT.find(image_type)
        assert image is not None
        area = self.flash.read(LAYOUT.offset_of(image, bank), image.max_size_bytes)
        return area.rstrip(b"\xff")

    def directory(self) -> ImageDirectory:
        return ImageDirectory.decode(self.read(IMAGE_DIRECTORY))

    def read(self, guid: UUID) -> bytes:
        handle = self.agent.open(SOURCE, guid)
        data, total = b"", 1
        while len(data) < total:
            part, total = self.agent.read_stream(SOURCE, handle, 7)
            assert len(part) == min(7, total - len(data))
            data += part
        self.agent.commit(SOURCE, handle, accepted=False)
        return data


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def staging(device: Device) -> Device:
    device.agent.begin_staging()
    return device


@pytest.fixture
def pending(device: Device) -> Device:
    device.update(FIRST, SECOND)
    return device


@pytest.fixture
def trial(pending: Device) -> Device:
    pending.reboot()
    return pending


def refused(call: Callable[[], object]) -> FwuStatus:
    with pytest.raises(FwuError) as caught:
        call()
    return caught.value.status


def test_a_new_flash_gets_metadata_that_relies_on_the_booted_bank_alone(device: Device) -> None:
    metadata = device.metadata()
    assert device.state() is FwuState.REGULAR
    assert (metadata.version, metadata.active_index, metadata.previous_active_index) == (2, 0, 0)
    assert metadata.bank_states == (BankState.ACCEPTED, BankState.INVALID)
    assert [entry.image_type for entry in metadata.images] == [FIRST, SECOND]
    assert {entry.location for entry in metadata.images} == {LAYOUT.location}
    assert [[bank.accepted for bank in entry.banks] for entry in metadata.images] == [[1, 0], [1, 0]]
    assert [[bank.image.int for bank in entry.banks] for entry in metadata.images] == [[0xB10, 0xB11], [0xB20, 0xB21]]


def test_an_update_goes_through_staging_trial_and_acceptance_of_every_image(device: Device) -> None:
    agent = device.agent
    agent.begin_staging()
    assert device.state() is FwuState.STAGING
    assert device.metadata().bank_states == (BankState.ACCEPTED, BankState.INVALID)
    device.install(FIRST, SECOND)
    agent.end_staging()
    assert device.state() is FwuState.TRIAL_PENDING
    metadata = device.metadata()
    assert (metadata.active_index, metadata.previous_active_index) == (1, 0)
    assert metadata.bank_states == (BankState.ACCEPTED, BankState.VALID)

    agent = device.reboot()
    assert device.state() is FwuState.TRIAL
    assert device.metadata().bank_states == (BankState.ACCEPTED, BankState.VALID)
    assert (device.image(1, FIRST), device.image(1, SECOND)) == (NEW[FIRST], NEW[SECOND])
    agent.accept_image(FIRST)
    agent.accept_image(FIRST)
    assert device.state() is FwuState.TRIAL
    assert [image.accepted for image in device.directory().images] == [1, 0]
    agent.accept_image(SECOND)
    assert device.state() is FwuState.REGULAR
    metadata = device.metadata()
    assert (metadata.active_index, metadata.previous_active_index) == (1, 0)
    assert metadata.bank_states == (BankState.ACCEPTED, BankState.ACCEPTED)
    assert device.reboot().state is FwuState.REGULAR

    device.update(FIRST)  # and the next one goes into the first bank again
    assert device.metadata().active_index == 0
    assert device.image(0, FIRST) == NEW[FIRST]


def test_images_that_need_no_trial_are_accepted_from_the_start(device: Device) -> None:
    device.update(FIRST, SECOND, accepted=True)
    assert device.state() is FwuState.TRIAL_PENDING
    assert device.metadata().bank_states == (BankState.ACCEPTED, BankState.ACCEPTED)
    assert device.reboot().state is FwuState.REGULAR
    assert device.metadata().active_index == 1


def test_images_that_were_not_installed_are_copied_with_their_acceptance(trial: Device) -> None:
    trial.agent.accept_image(FIRST)
    trial.agent.accept_image(SECOND)
    trial.update(FIRST)
    assert trial.image(0, SECOND) == NEW[SECOND]
    assert [entry.banks[0].accepted for entry in trial.metadata().images] == [0, 1]
    assert trial.reboot().state is FwuState.TRIAL
    trial.agent.accept_image(FIRST)
    assert trial.state() is FwuState.REGULAR


_CALLS: dict[str, Callable[[UpdateAgent], object]] = {
    "begin": lambda agent: agent.begin_staging(),
    "end": lambda agent: agent.end_staging(),
    "cancel": lambda agent: agent.cancel_staging(),
    "accept": lambda agent: agent.accept_image(FIRST),
    "previous": lambda agent: agent.select_previous(),
    "open": lambda agent: agent.open(SOURCE, FIRST),
}


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("device", {"begin"}),
        ("staging", {"begin", "end", "cancel", "open"}),
        ("pending", {"previous"}),
        ("trial", {"accept", "previous"}),
    ],
)
def test_everything_else_is_denied(name: str, allowed: set[str], request: pytest.FixtureRequest) -> None:
    device: Device = request.getfixturevalue(name)
    before = bytes(device.flash.current)
    state = device.agent.state
    for call in set(_CALLS) - allowed:
        assert refused(partial(_CALLS[call], device.agent)) is FwuStatus.DENIED, call
    assert device.state() is state
    assert device.flash.current == before


def test_staging_ends_only_with_all_that_was_opened_committed(staging: Device) -> None:
    agent = staging.agent
    assert refused(agent.end_staging) is FwuStatus.NOT_AVAILABLE
    handle = agent.open(SOURCE, FIRST)
    assert refused(agent.end_staging) is FwuStatus.BUSY
    agent.commit(SOURCE, handle, accepted=False)
    agent.end_staging()
    assert agent.state is FwuState.TRIAL_PENDING


def test_cancelling_and_beginning_anew_forget_what_was_installed(staging: Device) -> None:
    agent = staging.agent
    handle = agent.open(SOURCE, FIRST)
    staging.install(SECOND)
    agent.begin_staging()
    assert refused(lambda: agent.write_stream(SOURCE, handle, b"x")) is FwuStatus.UNKNOWN
    assert refused(agent.end_staging) is FwuStatus.NOT_AVAILABLE
    agent.cancel_staging()
    assert agent.state is FwuState.REGULAR
    assert staging.metadata().active_index == 0


def test_nobody_boots_from_the_bank_that_is_being_overwritten(trial: Device) -> None:
    trial.agent.accept_image(FIRST)
    trial.agent.accept_image(SECOND)
    trial.agent.begin_staging()
    metadata = trial.metadata()
    assert (metadata.active_index, metadata.previous_active_index) == (1, 1)
    assert metadata.bank_states == (BankState.INVALID, BankState.ACCEPTED)
    assert [[bank.accepted for bank in entry.banks] for entry in metadata.images] == [[0, 1], [0, 1]]


def test_a_partial_update_installs_what_it_lists(device: Device) -> None:
    assert refused(lambda: device.agent.begin_staging((FIRST, STRANGE))) is FwuStatus.UNKNOWN
    assert device.state() is FwuState.REGULAR
    device.agent.begin_staging((FIRST,))
    assert refused(lambda: device.agent.open(SOURCE, SECOND)) is FwuStatus.DENIED
    device.install(FIRST)
    device.agent.end_staging()


def test_an_image_is_opened_anew_and_an_older_stream_of_it_ends(staging: Device) -> None:
    agent = staging.agent
    old = agent.open(SOURCE, FIRST)
    agent.write_stream(SOURCE, old, b"old firmware that is longer than the new one " * 10)
    new = agent.open(SOURCE + 1, FIRST)
    assert refused(lambda: agent.write_stream(SOURCE, old, b"x")) is FwuStatus.UNKNOWN
    assert refused(lambda: agent.write_stream(SOURCE, new, b"x")) is FwuStatus.UNKNOWN
    agent.write_stream(SOURCE + 1, new, b"ne")
    agent.write_stream(SOURCE + 1, new, b"w")
    agent.commit(SOURCE + 1, new, accepted=False)
    agent.end_staging()
    assert staging.image(1, FIRST) == b"new"


def test_a_recycled_stream_leaves_its_image_uncommitted(staging: Device) -> None:
    agent = staging.agent
    handle = agent.open(SOURCE, FIRST)
    for _ in range(4):
        agent.open(SOURCE + 1, IMAGE_DIRECTORY)  # another source's streams push out none of this one's
    for _ in range(3):
        agent.open(SOURCE, IMAGE_DIRECTORY)
    agent.write_stream(SOURCE, handle, b"x")
    agent.open(SOURCE, FWU_METADATA)
    assert refused(lambda: agent.commit(SOURCE, handle, accepted=False)) is FwuStatus.UNKNOWN
    assert refused(agent.end_staging) is FwuStatus.BUSY
    staging.install(FIRST)
    agent.end_staging()


def test_an_image_fits_its_area_to_the_byte(staging: Device) -> None:
    agent = staging.agent
    handle = agent.open(SOURCE, FIRST)
    agent.write_stream(SOURCE, handle, bytes(BLOCK_BYTES - 1))
    assert refused(lambda: agent.write_stream(SOURCE, handle, b"xy")) is FwuStatus.OUT_OF_BOUNDS
    agent.write_stream(SOURCE, handle, b"x")
    assert refused(lambda: agent.write_stream(SOURCE, handle, b"y")) is FwuStatus.OUT_OF_BOUNDS
    agent.commit(SOURCE, handle, accepted=False)
    agent.end_staging()
    assert staging.image(1, FIRST) == bytes(BLOCK_BYTES - 1) + b"x"
    assert staging.image(1, SECOND) == b""  # its neighbour is as it was


def test_streams_are_read_or_written_as_they_are(staging: Device) -> None:
    agent = staging.agent
    image = agent.open(SOURCE, FIRST)
    directory = agent.open(SOURCE, IMAGE_DIRECTORY)
    assert refused(lambda: agent.read_stream(SOURCE, image, 10)) is FwuStatus.DENIED
    assert refused(lambda: agent.write_stream(SOURCE, directory, b"x")) is FwuStatus.UNKNOWN
    for handle in (0, directory + 1):
        assert refused(partial(agent.read_stream, SOURCE, handle, 1)) is FwuStatus.UNKNOWN
        assert refused(partial(agent.write_stream, SOURCE, handle, b"")) is FwuStatus.UNKNOWN
        assert refused(partial(agent.commit, SOURCE, handle, accepted=True)) is FwuStatus.UNKNOWN
    assert refused(lambda: agent.open(SOURCE, STRANGE)) is FwuStatus.UNKNOWN
    total = len(LAYOUT.images) * 40 + 24
    assert [len(agent.read_stream(SOURCE, directory, 60)[0]) for _ in range(3)] == [60, total - 60, 0]
    assert agent.read_stream(SOURCE, directory, 60) == (b"", total)
    agent.commit(SOURCE, directory, accepted=False)
    assert refused(lambda: agent.read_stream(SOURCE, directory, 1)) is FwuStatus.UNKNOWN


def test_the_directory_and_the_metadata_are_those_of_the_running_bank(trial: Device) -> None:
    trial.agent.accept_image(SECOND)
    directory = trial.directory()
    assert directory.correct_boot == 1
    rows = [(image.image_type, image.client_permissions, image.max_size_bytes) for image in directory.images]
    assert rows == [(FIRST, 1, BLOCK_BYTES), (SECOND, 1, 2 * BLOCK_BYTES)]
    assert [image.accepted for image in directory.images] == [0, 1]
    assert FwuMetadata.decode(trial.read(FWU_METADATA)) == trial.metadata()


def test_a_pending_trial_is_called_off(pending: Device) -> None:
    pending.agent.select_previous()
    assert pending.state() is FwuState.REGULAR
    metadata = pending.metadata()
    assert (metadata.active_index, metadata.previous_active_index) == (0, 0)
    assert metadata.bank_states[0] == BankState.ACCEPTED
    assert pending.reboot().state is FwuState.REGULAR
    assert pending.directory().correct_boot == 1


def test_a_trial_is_rejected_and_nothing_is_staged_over_the_good_bank_before_the_reboot(trial: Device) -> None:
    trial.agent.select_previous()
    assert trial.state() is FwuState.REGULAR
    assert trial.metadata().active_index == 0
    assert refused(trial.agent.begin_staging) is FwuStatus.DENIED
    assert refused(trial.restart().begin_staging) is FwuStatus.DENIED
    assert trial.reboot().state is FwuState.REGULAR
    trial.update(FIRST)
    assert trial.metadata().active_index == 1


def test_a_bank_that_did_not_boot_is_not_tried_again(pending: Device) -> None:
    agent = pending.reboot_into(0)
    assert agent.state is FwuState.REGULAR
    assert pending.directory().correct_boot == 0
    metadata = pending.metadata()
    assert (metadata.active_index, metadata.previous_active_index) == (0, 0)
    pending.update(FIRST)
    assert pending.metadata().active_index == 1


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("device", FwuState.REGULAR),
        ("staging", FwuState.REGULAR),
        ("pending", FwuState.TRIAL_PENDING),
        ("trial", FwuState.TRIAL),
    ],
)
def test_a_partition_that_is_started_anew_is_no_reboot(
    name: str, after: FwuState, request: pytest.FixtureRequest
) -> None:
    device: Device = request.getfixturevalue(name)
    correct_boot = device.directory().correct_boot
    assert device.restart().state is after
    assert device.directory().correct_boot == correct_boot


def test_a_fallback_is_remembered_over_a_restart_of_the_partition(pending: Device) -> None:
    pending.reboot_into(0)
    boot = BootInfo(pending.boots.to_bytes(32, "big"), 0)
    pending.update(FIRST)
    pending.agent = UpdateAgent(pending.flash, LAYOUT, boot)
    assert pending.state() is FwuState.TRIAL_PENDING
    assert pending.directory().correct_boot == 0


@pytest.mark.parametrize("offset", [0, BLOCK_BYTES])
@pytest.mark.parametrize("at", [0, 20, 32, 100, BLOCK_BYTES - 44, BLOCK_BYTES - 1])
def test_one_damaged_copy_is_repaired_from_the_other(pending: Device, offset: int, at: int) -> None:
    before = bytes(pending.flash.current)
    pending.flash.current[offset + at] ^= 1
    assert pending.restart().state is FwuState.TRIAL_PENDING
    assert pending.flash.current == before


def test_two_damaged_copies_are_replaced(trial: Device) -> None:
    for offset in (0, BLOCK_BYTES):
        trial.flash.current[offset + 5] ^= 1
    assert trial.reboot().state is FwuState.REGULAR
    assert trial.metadata().bank_states == (BankState.ACCEPTED, BankState.INVALID)


def test_metadata_that_a_tool_has_written_is_taken_over(device: Device) -> None:
    metadata = device.metadata()
    for offset in (0, BLOCK_BYTES):
        device.flash.erase(offset, BLOCK_BYTES)
        device.flash.write(offset, metadata.encode())
    stored = MetadataStore(device.flash).load()
    assert stored is not None
    assert stored.boot is None
    assert device.restart().state is FwuState.REGULAR
    assert device.metadata() == metadata


def test_metadata_of_another_flash_is_replaced(device: Device) -> None:
    strange = FlashLayout(location=UUID(int=1), images=LAYOUT.images[:1])
    UpdateAgent(device.flash, strange, boot_info(device.flash, strange, b"strange"))
    device.reboot()
    assert [entry.image_type for entry in device.metadata().images] == [FIRST, SECOND]


def test_a_flash_that_fails_in_the_middle_is_read_again(staging: Device) -> None:
    staging.install(FIRST)
    staging.flash.cut_at = staging.flash.operations + 6  # erase, read and write the copy, then the metadata
    with pytest.raises(PowerCutError):
        staging.agent.end_staging()
    assert staging.state() is FwuState.INITIALIZING
    assert refused(staging.agent.begin_staging) is FwuStatus.DENIED
    staging.flash.cut_at = None
    staging.agent.recover()
    assert staging.state() in {FwuState.REGULAR, FwuState.TRIAL_PENDING}
    assert staging.metadata() is not None


# Power cuts

_ARROWS: dict[str, tuple[str, Callable[[Device], object], frozenset[FwuState]]] = {
    "begin": ("device", lambda device: device.agent.begin_staging(), frozenset({FwuState.REGULAR})),
    "install": ("staging", lambda device: device.install(FIRST), frozenset({FwuState.REGULAR})),
    "end": ("staged", lambda device: device.agent.end_staging(), frozenset({FwuState.REGULAR, FwuState.TRIAL})),
    "accept one": ("trial", lambda device: device.agent.accept_image(FIRST), frozenset({FwuState.TRIAL})),
    "accept all": (
        "half accepted",
        lambda device: device.agent.accept_image(SECOND),
        frozenset({FwuState.TRIAL, FwuState.REGULAR}),
    ),
    "previous": (
        "trial",
        lambda device: device.agent.select_previous(),
        frozenset({FwuState.TRIAL, FwuState.REGULAR}),
    ),
    "reboot": ("pending", lambda device: device.reboot(), frozenset({FwuState.TRIAL})),
    "fall back": ("pending", lambda device: device.reboot_into(0), frozenset({FwuState.TRIAL, FwuState.REGULAR})),
}


def _prepared(name: str, flash: FakeFlash) -> Device:
    device = Device(flash)
    if name in {"staging", "staged"}:
        device.agent.begin_staging()
    if name == "staged":
        device.install(FIRST)
    if name in {"pending", "trial", "half accepted"}:
        device.update(FIRST, SECOND)
    if name in {"trial", "half accepted"}:
        device.reboot()
    if name == "half accepted":
        device.agent.accept_image(FIRST)
    return device


def _power_cuts(arrow: str, seed: int) -> Iterator[FakeFlash]:
    """The flash after each operation of a transition at which the power can be cut, and after its end."""
    start, go, _ = _ARROWS[arrow]
    step = 0
    while True:
        device = _prepared(start, FakeFlash(seed=seed))
        device.flash.cut_at = device.flash.operations + step
        try:
            go(device)
        except PowerCutError:
            yield device.flash.after_power_cut()
            step += 1
            continue
        assert step > 0, "nothing was written"
        device.flash._cut()
        yield device.flash.after_power_cut()
        return


@pytest.mark.parametrize("arrow", _ARROWS)
def test_a_power_cut_leaves_the_state_before_or_after(arrow: str) -> None:
    seen = set()
    for seed in range(12):
        for flash in _power_cuts(arrow, seed):
            device = Device(flash, boots=100)
            state = device.agent.state
            seen.add(state)
            metadata = device.metadata()  # both copies are whole again
            assert metadata.bank_states[metadata.active_index] != BankState.INVALID
            if metadata.active_index == 1:  # what boots is complete: the new image, and the others copied or new
                assert device.image(1, FIRST) == NEW[FIRST]
                assert device.image(1, SECOND) in {b"", NEW[SECOND]}
                assert {entry.banks[1].accepted for entry in metadata.images} <= {0, 1}
            if state is FwuState.TRIAL:
                device.agent.select_previous()
                device.reboot()
            device.update(SECOND)  # and the next update works
            assert device.reboot().state is FwuState.TRIAL
    assert seen == _ARROWS[arrow][2]


def test_a_layout_without_room_is_refused() -> None:
    image = LAYOUT.images[0]
    with pytest.raises(ValueError, match="0 images"):
        FlashLayout(location=UUID(int=1), images=())
    with pytest.raises(ValueError, match="same type"):
        FlashLayout(location=UUID(int=1), images=(image, image))
    uneven = FirmwareImage(image_type=FIRST, areas=image.areas, max_size_bytes=5)
    with pytest.raises(ValueError, match="blocks"):
        FlashLayout(location=UUID(int=1), images=(uneven,))
    with pytest.raises(ValueError, match="32 bytes"):
        BootInfo(b"short", 0)
