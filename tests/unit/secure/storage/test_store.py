"""The objects of the storage partition: PSA's semantics, every crash, and every change from outside."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edgeroot.abi.storage import CreateFlags
from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.storage.objects import Objects, Quota
from edgeroot.secure.partitions.storage.store import ObjectLog
from edgeroot.secure.platform.counters import FileCounter
from edgeroot.secure.platform.log_file import LogFile

SECRET = Secret(b"s" * 32)
ONCE = int(CreateFlags.WRITE_ONCE)
RECORD_BYTES = 384  # of at most 16 bytes
PIECE_BYTES = 64  # smaller than any disk's, so that small records are torn as well


class Crash(BaseException):
    """The power is gone."""


class FakeDisk:
    """A log and a counter in memory. ``crash_at``: the write at which the power goes.

    Then some of that write's pieces are on the disk and some are not, in no order.
    """

    def __init__(self, crash_at: int = -1, rng: random.Random | None = None) -> None:
        self.data: bytearray | None = None
        self.value = 0
        self.crash_at = crash_at
        self.rng = rng or random.Random(0)
        self.writes = 0
        self.room_bytes = 1 << 30
        self.failing = 0  # so many writes fail, having written some pieces

    # The log

    @property
    def exists(self) -> bool:
        return self.data is not None

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    @property
    def content(self) -> bytearray:
        assert self.data is not None
        return self.data

    def read(self, offset: int, size_bytes: int) -> bytes:
        return bytes(self.content[offset : offset + size_bytes])

    def reserve(self, size_bytes: int) -> None:
        if size_bytes > max(self.room_bytes, len(self.content)):
            raise OSError(errno.ENOSPC, "full")
        self.content.extend(bytes(max(0, size_bytes - len(self.content))))

    def write(self, offset: int, data: bytes) -> None:
        assert offset + len(data) <= len(self.content), "nothing is written that is not reserved"
        if self.failing:
            self.failing -= 1
            self._write_some(offset, data)
            raise OSError(errno.EIO, "broken")
        if self._is_the_end():
            self._write_some(offset, data)
            raise Crash
        self.content[offset : offset + len(data)] = data

    def _write_some(self, offset: int, data: bytes) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            if self.rng.random() < 0.6:
                piece = data[start : start + PIECE_BYTES]
                self.content[offset + start : offset + start + len(piece)] = piece

    def replace(self, data: bytes) -> None:
        if len(data) > self.room_bytes:
            raise OSError(errno.ENOSPC, "full")
        before = self._is_the_end() and self.rng.random() < 0.5
        if not before:
            self.data = bytearray(data)
        if self.writes == self.crash_at:
            raise Crash

    # The counter

    strength = "none"

    def advance_to(self, value: int) -> None:
        if self._is_the_end():
            if self.rng.random() < 0.5:
                self.value = value
            raise Crash
        assert value >= self.value
        self.value = value

    def _is_the_end(self) -> bool:
        self.writes += 1
        return self.writes == self.crash_at


class Counter:
    """The counter's half of a disk, whose ``read`` is another one."""

    strength = "none"

    def __init__(self, disk: FakeDisk) -> None:
        self.disk = disk

    def read(self) -> int:
        return self.disk.value

    def advance_to(self, value: int) -> None:
        self.disk.advance_to(value)


def open_objects(disk: FakeDisk, quota: Quota | None = None) -> Objects:
    return Objects(ObjectLog(disk, Counter(disk), SECRET), 0, quota)


def refused(status: PsaStatus) -> pytest.RaisesExc[PsaError]:
    return pytest.raises(PsaError, check=lambda error: error.status is status)


def content_of(
    objects: Objects, source: int, uid: int, *, missing: PsaStatus = PsaStatus.DOES_NOT_EXIST
) -> bytes | None:
    """What the object holds; None if the answer is the one for a missing one."""
    try:
        return objects.get(source, uid, 0, 1000)
    except PsaError as error:
        if error.status is not missing:
            raise
        return None


@pytest.fixture
def objects() -> Objects:
    return open_objects(FakeDisk())


class TestSemantics:
    def test_set_get_and_info(self, objects: Objects) -> None:
        objects.set(1, 5, b"hello", 0)
        assert objects.get(1, 5, 0, 100) == b"hello"
        assert objects.get(1, 5, 1, 3) == b"ell"
        assert objects.get(1, 5, 5, 3) == b""
        with refused(PsaStatus.INVALID_ARGUMENT):
            objects.get(1, 5, 6, 1)
        info = objects.get_info(1, 5)
        assert (info.capacity_bytes, info.size_bytes, info.flags) == (5, 5, 0)
        objects.set(1, 5, b"other", 2)
        assert objects.get(1, 5, 0, 100) == b"other"

    def test_arguments(self, objects: Objects) -> None:
        with refused(PsaStatus.INVALID_ARGUMENT):
            objects.set(1, 0, b"", 0)
        with refused(PsaStatus.NOT_SUPPORTED):
            objects.set(1, 1, b"", 8)
        with refused(PsaStatus.NOT_SUPPORTED):
            objects.create(1, 1, 8, ONCE)
        for call in (objects.get_info, objects.remove):
            with refused(PsaStatus.DOES_NOT_EXIST):
                call(1, 1)
        with refused(PsaStatus.DOES_NOT_EXIST):
            objects.get(1, 1, 0, 1)

    def test_written_once(self, objects: Objects) -> None:
        objects.set(1, 1, b"for ever", ONCE)
        calls: tuple[Callable[[], None], ...] = (
            lambda: objects.set(1, 1, b"", 0),
            lambda: objects.remove(1, 1),
            lambda: objects.set_extended(1, 1, 0, b""),
        )
        for call in calls:
            with refused(PsaStatus.NOT_PERMITTED):
                call()
        assert objects.get(1, 1, 0, 99) == b"for ever"

    def test_create_and_extend(self, objects: Objects) -> None:
        objects.create(1, 1, 6, 0)
        with refused(PsaStatus.ALREADY_EXISTS):
            objects.create(1, 1, 6, 0)
        objects.set_extended(1, 1, 0, b"abc")
        for offset, data in ((4, b"x"), (3, b"xxxx")):
            with refused(PsaStatus.INVALID_ARGUMENT):
                objects.set_extended(1, 1, offset, data)
        objects.set_extended(1, 1, 2, b"CDEF")
        assert objects.get(1, 1, 0, 99) == b"abCDEF"
        assert objects.get_info(1, 1).capacity_bytes == 6
        assert objects.get_support() == 1

    def test_sources_do_not_see_each_other(self, objects: Objects) -> None:
        objects.set(1, 7, b"one", 0)
        with refused(PsaStatus.DOES_NOT_EXIST):
            objects.get(2, 7, 0, 9)
        objects.set(2, 7, b"two", 0)
        objects.remove(2, 7)
        assert objects.get(1, 7, 0, 9) == b"one"

    def test_a_source_has_its_quota(self) -> None:
        objects = open_objects(FakeDisk(), Quota(max_objects=2, max_bytes=10, max_object_bytes=8))
        objects.set(1, 1, bytes(6), 0)
        for uid, size in ((2, 5), (1, 9)):
            with refused(PsaStatus.INSUFFICIENT_STORAGE):
                objects.set(1, uid, bytes(size), 0)
        objects.set(1, 1, bytes(8), 0)
        objects.set(1, 2, bytes(2), 0)
        with refused(PsaStatus.INSUFFICIENT_STORAGE):
            objects.set(1, 3, b"", 0)
        objects.set(2, 1, bytes(8), 0)


class StoreMachine(RuleBasedStateMachine):
    """The store against a dictionary, opened anew at any time."""

    @initialize()
    def begin(self) -> None:
        self.disk = FakeDisk()
        self.objects = open_objects(self.disk)
        self.model: dict[tuple[int, int], bytes] = {}

    @rule(source=st.integers(1, 2), uid=st.integers(1, 4), data=st.binary(max_size=200))
    def set(self, source: int, uid: int, data: bytes) -> None:
        self.objects.set(source, uid, data, 0)
        self.model[source, uid] = data

    @rule(source=st.integers(1, 2), uid=st.integers(1, 4))
    def remove(self, source: int, uid: int) -> None:
        try:
            self.objects.remove(source, uid)
        except PsaError:
            assert (source, uid) not in self.model
        else:
            del self.model[source, uid]

    @rule()
    def open_anew(self) -> None:
        self.objects = open_objects(self.disk)

    @rule()
    def compact(self) -> None:
        self.objects._log._compact()

    @invariant()
    def holds(self) -> None:
        for source in (1, 2):
            for uid in range(1, 5):
                assert content_of(self.objects, source, uid) == self.model.get((source, uid))


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("crash_at", range(2, 30))
def test_a_crash_at_any_write_loses_nothing_acknowledged(crash_at: int, rounds: int) -> None:
    """Each change takes two writes: the record, of which any pieces may be written, and the counter."""
    for seed in range(rounds):
        rng = random.Random(crash_at * 1000 + seed)
        disk = FakeDisk(crash_at, rng)
        acknowledged: dict[int, bytes] = {}
        attempted: tuple[int, bytes | None] = (0, None)
        try:
            objects = open_objects(disk)
            for number in range(20):
                uid = rng.randrange(1, 5)
                if uid in acknowledged and rng.random() < 0.3:
                    attempted = uid, None
                    objects.remove(1, uid)
                    del acknowledged[uid]
                else:
                    data = rng.randbytes(rng.randrange(600))
                    attempted = uid, data
                    objects.set(1, uid, data, 0)
                    acknowledged[uid] = data
                if number == 9:
                    objects._log._compact()
        except Crash:
            pass
        # The next start may crash as well, while it finishes what the first one left.
        disk.crash_at = disk.writes + rng.randrange(3)
        try:
            after = open_objects(disk)
        except Crash:
            after = open_objects(disk)
        disk.crash_at = -1
        contents = {uid: content_of(after, 1, uid) for uid in range(1, 5)}
        found = {uid: content for uid, content in contents.items() if content is not None}
        changed, content = attempted
        with_it = {uid: data for uid, data in acknowledged.items() if uid != changed}
        if content is not None:
            with_it[changed] = content
        assert found in (acknowledged, with_it)
        after.set(1, 9, b"it goes on", 0)
        assert open_objects(disk).get(1, 9, 0, 99) == b"it goes on"


def some_objects(disk: FakeDisk, count: int) -> dict[int, bytes]:
    objects = open_objects(disk)
    contents = {uid: bytes((uid,)) * 16 for uid in range(1, count + 1)}
    for uid, content in contents.items():
        objects.set(1, uid, content, 0)
    return contents


def lost(objects: Objects, contents: dict[int, bytes]) -> set[int]:
    """Which objects answer DATA_CORRUPT; the others must be as they were."""
    found = {uid: content_of(objects, 1, uid, missing=PsaStatus.DATA_CORRUPT) for uid in contents}
    gone = {uid for uid, content in found.items() if content is None}
    assert {uid: content for uid, content in found.items() if uid not in gone} == {
        uid: content for uid, content in contents.items() if uid not in gone
    }
    return gone


def test_any_changed_byte_is_noticed_and_takes_no_other_object_down() -> None:
    disk = FakeDisk()
    contents = some_objects(disk, 3)
    whole = bytes(disk.content)
    touched = set()
    for position in range(64, len(whole)):
        disk.data = bytearray(whole)
        disk.content[position] ^= 0x40
        gone = lost(open_objects(disk), contents)
        assert len(gone) <= 1, position
        touched |= gone
    assert touched == set(contents), "contents were changed too"


@pytest.mark.parametrize("region_bytes", [64, 512, 4096])
@pytest.mark.parametrize("compacted", [False, True])
def test_a_damaged_region_takes_down_what_lay_in_it(region_bytes: int, compacted: bool) -> None:
    """Whole sectors and pages are lost at once: the records behind them say which objects those were."""
    rng = random.Random(region_bytes)
    disk = FakeDisk()
    contents = some_objects(disk, 60)
    if compacted:
        objects = open_objects(disk)
        for _ in range(3):
            objects.set(1, 200, b"", 0)
            objects.remove(1, 200)
        assert objects._log._compact()
        for uid in range(100, 120):  # what follows may not depend on how the log was begun
            objects.set(1, uid, b"", 0)
    whole, value = bytes(disk.content), disk.value
    at_most = (region_bytes - 2) // RECORD_BYTES + 2
    for start in range(64, len(whole) - region_bytes - 2 * RECORD_BYTES, 64 * 7):
        disk.data, disk.value = bytearray(whole), value
        disk.content[start : start + region_bytes] = rng.randbytes(region_bytes)
        after = open_objects(disk)
        assert after._log.fault is None
        assert len(lost(after, contents)) <= at_most, start
        with refused(PsaStatus.DOES_NOT_EXIST):
            after.get(1, 99, 0, 9)
        after.set(1, 99, b"it goes on", 0)


def test_a_lost_object_can_be_replaced_and_removed_but_not_a_write_once_one() -> None:
    disk = FakeDisk()
    objects = open_objects(disk)
    for uid, flags in ((1, 0), (2, ONCE), (3, 0)):
        objects.set(1, uid, b"content", flags)
    objects.set(1, 4, b"removed", 0)
    objects.remove(1, 4)
    objects.set(1, 5, b"kept", 0)
    disk.content[64 : 64 + 5 * RECORD_BYTES] = bytes(5 * RECORD_BYTES)
    after = open_objects(disk)
    for _ in range(2):
        assert lost(after, {1: b"", 2: b"", 3: b""}) == {1, 2, 3}
        with refused(PsaStatus.DATA_CORRUPT):
            after.get_info(1, 1)
        with refused(PsaStatus.DATA_CORRUPT):
            after.set_extended(1, 1, 0, b"")
        with refused(PsaStatus.ALREADY_EXISTS):
            after.create(1, 1, 1, 0)
        with refused(PsaStatus.DOES_NOT_EXIST):
            after.get(1, 4, 0, 9)
        assert after._log._compact(), "a lost object holds nothing up"
        after = open_objects(disk)
    with refused(PsaStatus.NOT_PERMITTED):
        after.set(1, 2, b"again", 0)
    with refused(PsaStatus.NOT_PERMITTED):
        after.remove(1, 2)
    after.remove(1, 1)
    after.set(1, 3, b"again", 0)
    after = open_objects(disk)
    assert content_of(after, 1, 1) is None
    assert content_of(after, 1, 3) == b"again"
    assert content_of(after, 1, 5) == b"kept"


def test_where_too_much_is_damaged_nothing_older_is_believed() -> None:
    disk = FakeDisk()
    contents = some_objects(disk, 60)
    disk.content[64 + 10 * RECORD_BYTES : 64 + 40 * RECORD_BYTES] = bytes(30 * RECORD_BYTES)
    after = open_objects(disk)
    assert lost(after, contents) == set(range(1, 41))
    for call in (lambda: after.get(1, 99, 0, 9), lambda: after.set(1, 99, b"", 0), lambda: after.remove(1, 1)):
        with refused(PsaStatus.DATA_CORRUPT):
            call()
    after.set(1, 50, b"certain", 0)
    assert not after._log._compact(), "it stays for whoever may repair it"
    assert open_objects(disk).get(1, 50, 0, 9) == b"certain"


def test_a_damaged_beginning_serves_nothing_and_overwrites_nothing() -> None:
    disk = FakeDisk()
    open_objects(disk).set(1, 1, b"x", 0)
    disk.content[9] ^= 1
    before = bytes(disk.content)
    objects = open_objects(disk)
    for call in (lambda: objects.get(1, 1, 0, 9), lambda: objects.set(1, 1, b"y", 0), lambda: objects.remove(1, 1)):
        with refused(PsaStatus.CORRUPTION_DETECTED):
            call()
    assert bytes(disk.content) == before


def test_an_old_copy_is_refused() -> None:
    disk = FakeDisk()
    objects = open_objects(disk)
    objects.set(1, 1, b"a key that will be destroyed", 0)
    old = bytes(disk.content)
    objects.remove(1, 1)
    objects.set(1, 2, b"newer", 0)
    disk.data = bytearray(old)
    after = ObjectLog(disk, Counter(disk), SECRET)
    assert after.fault is not None
    assert "3 were made" in after.fault
    with refused(PsaStatus.CORRUPTION_DETECTED):
        Objects(after, 0).get(1, 1, 0, 9)


def test_a_removed_log_is_not_begun_anew() -> None:
    disk = FakeDisk()
    open_objects(disk).set(1, 1, b"x", 0)
    disk.data = None
    assert ObjectLog(disk, Counter(disk), SECRET).fault == "the log is missing, and 1 changes were made to it"


def test_another_devices_log_is_refused() -> None:
    disk = FakeDisk()
    open_objects(disk).set(1, 1, b"x", 0)
    assert ObjectLog(disk, Counter(disk), Secret(b"t" * 32)).fault is not None


def test_a_record_moved_to_another_object_is_no_object() -> None:
    """The head is bound to its content, and both to the log."""
    disk, other = FakeDisk(), FakeDisk()
    open_objects(disk).set(1, 1, b"one", 0)
    open_objects(other).set(1, 1, b"two", 0)
    disk.content[64:] = other.content[64:]
    assert ObjectLog(disk, Counter(disk), SECRET).fault is not None


def test_a_full_disk_loses_nothing_and_stops_nothing() -> None:
    disk = FakeDisk()
    objects = open_objects(disk)
    objects.set(1, 1, b"kept", 0)
    disk.room_bytes = disk.size_bytes
    before = bytes(disk.content)
    for _ in range(2):
        with refused(PsaStatus.INSUFFICIENT_STORAGE):
            objects.set(1, 2, b"no room", 0)
    assert bytes(disk.content) == before
    assert objects.get(1, 1, 0, 9) == b"kept"
    disk.room_bytes *= 2
    objects.set(1, 2, b"room again", 0)
    assert open_objects(disk).get(1, 2, 0, 99) == b"room again"


def test_a_full_disk_gives_back_what_outdated_records_take() -> None:
    disk = FakeDisk()
    objects = open_objects(disk)
    for number in range(10):
        objects.set(1, 1, bytes((number,)), 0)
    disk.room_bytes = disk.size_bytes
    objects.set(1, 2, b"there is room", 0)
    objects.remove(1, 1)
    after = open_objects(disk)
    assert after.get(1, 2, 0, 99) == b"there is room"
    assert content_of(after, 1, 1) is None


@pytest.mark.parametrize("has_room", [True, False])
def test_a_failed_write_is_taken_back(rounds: int, has_room: bool) -> None:
    for seed in range(rounds):
        disk = FakeDisk(rng=random.Random(seed))
        objects = open_objects(disk)
        objects.set(1, 1, b"old", 0)
        disk.reserve(4096)
        disk.room_bytes = 1 << 20 if has_room else 100
        disk.failing = 1
        with refused(PsaStatus.STORAGE_FAILURE):
            objects.set(1, 1, b"new" * 100, 0)
        disk.room_bytes = 1 << 20
        assert objects.get(1, 1, 0, 9) == b"old"
        assert open_objects(disk).get(1, 1, 0, 9) == b"old"
        objects.set(1, 2, b"next", 0)
        assert open_objects(disk).get(1, 2, 0, 9) == b"next"


def test_what_can_be_neither_written_nor_taken_back_ends_the_service() -> None:
    disk = FakeDisk()
    objects = open_objects(disk)
    objects.set(1, 1, b"old", 0)
    disk.reserve(4096)
    disk.room_bytes, disk.failing = 100, 2
    with refused(PsaStatus.STORAGE_FAILURE):
        objects.set(1, 1, b"new", 0)
    with refused(PsaStatus.CORRUPTION_DETECTED):
        objects.get(1, 1, 0, 9)


def test_a_dropped_record_cannot_be_put_in_the_place_of_the_one_that_followed() -> None:
    """Both had the same number: the log is another one after the first was dropped."""
    disk = FakeDisk()
    objects = open_objects(disk)
    objects.set(1, 1, b"first", 0)
    disk.reserve(2048)
    start = objects._log._end
    objects.set(1, 2, b"dropped", 0)
    whole = disk.read(start, RECORD_BYTES)
    disk.content[start + 100] ^= 1  # as if a piece had not been written, and the counter had not been advanced
    disk.value = 1
    objects = open_objects(disk)
    assert content_of(objects, 1, 2) is None
    objects.set(1, 3, b"acknowledged", 0)
    start = objects._log._end - RECORD_BYTES
    disk.content[start : start + RECORD_BYTES] = whole
    assert open_objects(disk)._log.fault is not None


def test_one_corrupt_object_does_not_let_the_log_grow() -> None:
    disk = FakeDisk()
    objects = open_objects(disk)
    objects.set(1, 1, b"content", 0)
    disk.content[64 + 80] ^= 1
    for _ in range(200):
        objects.set(1, 2, bytes(20_000), 0)
    assert disk.size_bytes < 2 << 20
    assert lost(open_objects(disk), {1: b"content", 2: bytes(1000)}) == {1}


def test_on_a_real_disk(tmp_path: Path) -> None:
    def opened() -> tuple[LogFile, FileCounter, Objects]:
        log = LogFile(tmp_path)
        counter = FileCounter(tmp_path / "counter", create=not log.exists)
        return log, counter, Objects(ObjectLog(log, counter, SECRET), 1)

    log, counter, objects = opened()
    for number in range(1, 200):
        objects.set(1, number % 7 + 1, bytes(20_000), 0)
    assert log.size_bytes < 3 << 20, "the log is compacted"
    log.close()
    counter.close()
    log, counter, objects = opened()
    assert [objects.get_info(1, uid).size_bytes for uid in range(1, 8)] == [20_000] * 7
    log.close()
    counter.close()
