"""The first stage over a flash, up to where it would become the manager: what boots, is counted, and is refused."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from struct import pack
from typing import Final, NoReturn
from zlib import crc32

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from edgeroot.abi.firmware import IMAGE_TYPES, MANAGER
from edgeroot.abi.fwu_objects import FwuMetadata
from edgeroot.abi.mcuboot import Version
from edgeroot.psa import Lifecycle
from edgeroot.secure.boot.archive import Archive, compile_module
from edgeroot.secure.boot.fuses import WORDS, Fuses
from edgeroot.secure.boot.handover import Handover, Measured
from edgeroot.secure.boot.root_keys import RootKeys
from edgeroot.secure.boot.signing import sign_image
from edgeroot.secure.boot.trial import MAX_TRIAL_BOOTS, Attempts
from edgeroot.secure.boot.verify import encode_root_key
from edgeroot.secure.partitions.firmware_update import banks
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE, LAYOUT
from edgeroot.secure.partitions.firmware_update.metadata_store import BootRecord, MetadataStore
from edgeroot.secure.platform.files import FileLock
from edgeroot.secure.platform.flash import BLOCK_BYTES, FileFlash
from edgeroot.secure.platform.one_time_memory import FileOneTimeMemory
from edgeroot.secure.stage import main as stage
from edgeroot.secure.stage.attempts import read_attempts, write_attempts
from edgeroot.secure.stage.options import read_options
from edgeroot.secure.stage.places import FLASH, LOCK, ONE_TIME_MEMORY, TRIAL_BOOTS

KEY: Final = ed25519.Ed25519PrivateKey.generate()
NEXT: Final = ed25519.Ed25519PrivateKey.generate()
COPIES: Final = ((0,), (BLOCK_BYTES,), (0, BLOCK_BYTES))
NO_BANK: Final = "no bank holds firmware that may run"
NO_IMAGES: Final = "the device is secured and runs signed images only"


def key_hash(key: ed25519.Ed25519PrivateKey) -> bytes:
    return sha256(encode_root_key(key.public_key())).digest()


def manager_of(folder: Path, data: bytes) -> Path:
    """Where a folder of images has the manager's."""
    path = folder / "manager.img"
    path.write_bytes(data)
    return path


class BecameError(Exception):
    """Instead of executing the manager."""

    def __init__(self, handover: Handover) -> None:
        super().__init__(handover)
        self.handover = handover


def manager(version: int, *, counter: int = 1, key: ed25519.Ed25519PrivateKey = KEY) -> bytes:
    archive = Archive(
        partition=MANAGER, main="m", code={"m": compile_module(b"x = 1", "m")}, packages=frozenset(), bootstrap="pass"
    )
    return sign_image(archive.encode(), key, version=Version(version), security_counter=counter)


class Device:
    """A secured device's state folder: version 1 of the manager in bank 0, version 2 in bank 1, on trial."""

    def __init__(self, state: Path, *keys: ed25519.Ed25519PrivateKey) -> None:
        self.state = state
        self.counts = state / TRIAL_BOOTS
        (state / FLASH).mkdir(parents=True)
        self.flash_path = state / FLASH / FLASH_FILE
        self.flash = FileFlash(self.flash_path, size_bytes=LAYOUT.size_bytes)
        self.fuses = Fuses(FileOneTimeMemory(state / ONE_TIME_MEMORY, words=WORDS, create=True))
        self.fuses.provision([key_hash(key) for key in keys or (KEY,)], security_counter=1)
        self.fuses.advance(Lifecycle.SECURED)
        for bank, version in enumerate((1, 2)):
            self.put(bank, manager(version))
        first = banks.begin(banks.fresh(LAYOUT, 0), 0)
        self.save(banks.finish(first, 0, dict.fromkeys(IMAGE_TYPES.values(), False)))

    def save(self, metadata: FwuMetadata) -> None:
        self.metadata = metadata
        record = BootRecord(boot_id=bytes(32), bank=0, was_active=True)
        MetadataStore(self.flash).save(metadata, record)

    def put(self, bank: int, data: bytes, *, at: int = 0) -> None:
        area = LAYOUT.images[0]
        if not at:
            self.flash.erase(LAYOUT.offset_of(area, bank), area.max_size_bytes)
        with self.flash_path.open("r+b") as file:
            file.seek(LAYOUT.offset_of(area, bank) + at)
            file.write(data)

    def flip(self, at: int, bit: int = 0) -> None:
        with self.flash_path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << bit]))

    def boot(self, *options: str) -> Handover:
        with pytest.raises(BecameError) as became:
            stage.main(["--state", str(self.state), *options])
        return became.value.handover

    def refusal(self, capsys: pytest.CaptureFixture[str], *options: str) -> str:
        capsys.readouterr()
        assert stage.main(["--state", str(self.state), *options]) == 1
        return capsys.readouterr().err

    def bank(self) -> tuple[int | None, bool]:
        """What would boot, and whether on trial, without counting it."""
        place = stage._place(read_options(["--state", str(self.state)]), frozenset())
        return (None, False) if place is None else (place.source.bank, place.is_trial)


@pytest.fixture(autouse=True)
def _becomes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def become(archive: Archive, handover: Handover, arguments: Sequence[str]) -> NoReturn:
        assert archive.partition == MANAGER
        assert list(handover.arguments) == list(arguments)
        raise BecameError(handover)

    monkeypatch.setattr(stage, "_become", become)
    below = (Measured(name="kernel", digest=bytes(32)),)
    monkeypatch.setattr(stage, "measure_first_stage", lambda entry: below if entry else ())


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path / "state")


def test_a_trial_is_counted_boot_by_boot_and_then_the_other_bank_boots(device: Device) -> None:
    for number in range(1, MAX_TRIAL_BOOTS + 1):
        found = device.boot()
        assert (found.bank, found.is_trial, found.attempts, found.failed) == (1, True, number, ())
        assert found.manager.version == Version(2)
        assert read_attempts(device.counts) == Attempts(1, number)
    for _ in range(2):
        assert device.bank() == (0, False)
        assert device.boot().attempts == 0
        assert read_attempts(device.counts) == Attempts(1, MAX_TRIAL_BOOTS)
    found = device.boot()
    assert found.manager.version == Version(1)
    assert found.lifecycle is Lifecycle.SECURED
    assert found.security_counter == 1


def test_an_accepted_update_boots_and_nothing_is_counted_any_more(device: Device) -> None:
    device.boot()
    metadata = device.metadata
    for image_type in IMAGE_TYPES.values():
        assert device.boot("--failed-bank", "0").is_trial
        write_attempts(device.counts, Attempts(1, 1))
        metadata = banks.accept(metadata, 1, image_type)
        device.save(metadata)
    found = device.boot()
    assert (found.bank, found.is_trial, found.attempts) == (1, False, 0)
    assert read_attempts(device.counts) is None


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (b"", "there is no image"),
        (manager(2)[:-8], "signature is not one of its key"),  # what is cut off reads zero, which a last byte may be
        (manager(2)[:100], "TLVs of magic"),
        (manager(2, counter=0), "security counter 0 is below the device's, 1"),
        (manager(2, key=ed25519.Ed25519PrivateKey.generate()), "not this device's root key"),
    ],
)
def test_a_manager_that_may_not_run_gives_way_to_the_other_banks_at_once(
    device: Device, capsys: pytest.CaptureFixture[str], wrong: bytes, why: str
) -> None:
    device.put(1, wrong)

    found = device.boot()

    assert (found.bank, found.is_trial, found.failed) == (0, False, (1,))
    said = capsys.readouterr().err
    assert "the image manager in bank 1 does not run: " in said
    assert why in said
    device.put(0, wrong)
    assert (NO_BANK if wrong else NO_IMAGES) in device.refusal(capsys)


def test_a_bank_by_a_revoked_key_gives_way_says_why_and_is_not_fallen_back_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = Device(tmp_path / "state", KEY, NEXT)
    revoked = "does not run: it is signed by a revoked key, root key 0 of this device"
    device.put(1, manager(2, key=NEXT))
    for metadata in (banks.select(device.metadata, 0), device.metadata):
        device.save(metadata)
        found = device.boot()
        assert found.root_keys == RootKeys.of(*map(key_hash, (KEY, NEXT)))
        assert found.measured[-1].signer_id == key_hash((KEY, NEXT)[found.bank or 0])
    device.fuses.revoke(0)

    found = device.boot()
    assert (found.bank, found.root_keys) == (1, RootKeys.of(*map(key_hash, (KEY, NEXT))).without(0))
    assert "WARNING" not in capsys.readouterr().err
    device.save(banks.select(device.metadata, 0))
    said = device.refusal(capsys)
    assert f"the image manager in bank 0 {revoked}; trying the other bank" in said
    assert NO_BANK in said
    device.save(banks.select(device.metadata, 1))
    assert device.boot().bank == 1
    assert f"{manager_of(tmp_path, manager(1))} {revoked}" in device.refusal(capsys, "--images", str(tmp_path))


def test_a_bank_that_the_manager_has_found_bad_is_left_out(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    found = device.boot("--failed-bank", "1")

    assert (found.bank, found.failed) == (0, (1,))
    assert NO_BANK in device.refusal(capsys, "--failed-bank", "1", "--failed-bank", "0")


def test_a_trial_that_cannot_be_counted_does_not_run(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    (device.state / "trial-boots.new").mkdir()  # in the place of what would be written: the disk takes nothing

    found = device.boot()

    assert (found.bank, found.is_trial) == (0, False)
    assert "trial-boots cannot be written" in capsys.readouterr().err


def test_a_good_bank_boots_though_nothing_can_be_counted(device: Device) -> None:
    device.save(banks.select(device.metadata, 0))
    device.counts.mkdir()

    assert device.boot().bank == 0


def test_a_secured_device_without_firmware_says_so(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    for bank in (0, 1):
        device.put(bank, b"")
    assert NO_IMAGES in device.refusal(capsys)
    device.flash_path.unlink()
    assert NO_IMAGES in device.refusal(capsys)


def test_a_device_that_is_being_provisioned_may_have_a_flash_without_firmware(tmp_path: Path) -> None:
    """The update agent has made it, before there was a root key; what is installed runs there."""
    (tmp_path / FLASH).mkdir()
    fuses = Fuses(FileOneTimeMemory(tmp_path / ONE_TIME_MEMORY, words=WORDS, create=True))
    fuses.provision([key_hash(KEY)], security_counter=1)
    flash = FileFlash(tmp_path / FLASH / FLASH_FILE, size_bytes=LAYOUT.size_bytes)
    MetadataStore(flash).save(banks.fresh(LAYOUT, 0), None)

    assert stage.main(["--state", str(tmp_path)]) is None


def test_a_second_start_while_one_runs_counts_nothing(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    device.boot()
    lock = FileLock.acquire(device.state / LOCK)
    try:
        assert "in use by another process" in device.refusal(capsys)
    finally:
        lock.release()
    assert read_attempts(device.counts) == Attempts(1, 1)
    assert device.boot().attempts == 2


def test_whatever_the_update_agent_writes_only_verified_firmware_boots(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    """It owns the flash, and may have been taken over: metadata of any content with a good CRC."""
    dice = random.Random(3)
    outcomes: set[tuple[int | None, int] | None] = set()
    for _ in range(1000):
        forged = bytearray(device.metadata.encode())
        for _ in range(dice.choice((1, 1, 2, 4))):
            at = dice.randrange(4, dice.choice((36, len(forged))))
            forged[at] = dice.choice((0, 1, 2, 0xFC, 0xFE, 0xFF, dice.randrange(256)))
        forged[:4] = pack("<I", crc32(forged[4:]))
        with device.flash_path.open("r+b") as file:
            for copy in (0, BLOCK_BYTES):
                file.seek(copy)
                file.write(bytes(forged).ljust(BLOCK_BYTES, b"\xff"))
        write_attempts(device.counts, None)
        try:
            assert stage.main(["--state", str(device.state)]) == 1
            outcomes.add(None)
        except BecameError as became:
            outcomes.add((became.handover.bank, became.handover.manager.version.major))
    assert outcomes == {None, (0, 1), (1, 2)}
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "short"])
def test_what_is_no_flash_is_refused_in_words(device: Device, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    moved = device.flash_path.rename(device.state / "moved")
    if kind == "pipe":
        os.mkfifo(device.flash_path)
    elif kind == "folder":
        device.flash_path.mkdir()
    elif kind == "link":
        device.flash_path.symlink_to(moved)
    else:
        device.flash_path.write_bytes(b"short")

    said = device.refusal(capsys)
    assert said.startswith("Error: ")
    assert str(device.flash_path) in said


def test_one_flipped_bit_of_the_metadata_changes_nothing_or_refuses(device: Device) -> None:
    """In one copy the other one counts; in both, what is left of it still names the same bank, or nothing boots."""
    dice = random.Random(1)
    behind = len(device.metadata.encode())
    for at in range(BLOCK_BYTES):
        if at > behind and at % 16 and at < BLOCK_BYTES - 44:  # of the filling a part is enough
            continue
        bit = dice.randrange(8)
        for copies in COPIES:
            for copy in copies:
                device.flip(copy + at, bit)
            assert device.bank() in ([(1, True)] if len(copies) == 1 or at >= behind else [(1, True), (None, False)])
            for copy in copies:
                device.flip(copy + at, bit)


def test_where_the_copies_differ_one_flipped_bit_leaves_the_older_or_the_newer(device: Device) -> None:
    """As a cut between the two of them leaves it: an update is about to be accepted."""
    older = device.flash.read(0, BLOCK_BYTES)
    metadata = device.metadata
    for image_type in IMAGE_TYPES.values():
        metadata = banks.accept(metadata, 1, image_type)
    device.save(metadata)
    device.flash.erase(BLOCK_BYTES, BLOCK_BYTES)
    device.flash.write(BLOCK_BYTES, older)
    assert device.bank() == (1, False)
    for at in range(0, 2 * BLOCK_BYTES, 5):
        device.flip(at)
        assert device.bank() in ((1, False), (1, True))
        device.flip(at)


def test_one_flipped_bit_of_the_manager_has_the_other_bank_boot(device: Device) -> None:
    size_bytes = len(manager(2))
    offset = LAYOUT.offset_of(LAYOUT.images[0], 1)
    for at in range(0, size_bytes, 7):
        write_attempts(device.counts, None)
        device.flip(offset + at, at % 8)
        found = device.boot()
        assert (found.bank, found.failed) == (0, (1,))
        device.flip(offset + at, at % 8)
    write_attempts(device.counts, None)
    assert device.boot().bank == 1


def test_one_flipped_bit_of_the_count_ends_the_trial_or_not_and_the_device_boots(device: Device) -> None:
    write_attempts(device.counts, Attempts(1, 1))
    whole = device.counts.read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        device.counts.write_bytes(changed)
        assert device.bank() in ((1, True), (0, False))


def test_one_flipped_bit_of_the_fuses_is_refused_or_says_the_same(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    path = device.state / ONE_TIME_MEMORY
    whole = path.read_bytes()
    good = device.boot("--failed-bank", "1")
    for bit in range(0, 8 * len(whole), 11):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            assert stage.main(["--state", str(device.state), "--failed-bank", "1"]) == 1
        except BecameError as became:
            found = became.handover
            assert (found.lifecycle, found.root_keys, found.security_counter) == (
                good.lifecycle,
                good.root_keys,
                good.security_counter,
            )
        else:
            assert "damaged" in capsys.readouterr().err
