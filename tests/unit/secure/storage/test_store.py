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


class Crash(BaseException):
    """The power is gone."""


class FakeDisk:
    """A log and a counter in memory. ``crash_at``: the write at which the power goes, having written a part of it."""

    def __init__(self, crash_at: int = -1, rng: random.Random | None = None) -> None:
        self.data: bytearray | None = None
        self.value = 0
        self.crash_at = crash_at
        self.rng = rng or random.Random(0)
        self.writes = 0
        self.full = False

    # The log

    @property
    def exists(self) -> bool:
        return self.data is not None

    @property
    def size_bytes(self) -> int:
        assert self.data is not None
        return len(self.data)

    def read(self, offset: int, size_bytes: int) -> bytes:
        assert self.data is not None
        return bytes(self.data[offset : offset + size_bytes])

    def write(self, offset: int, data: bytes) -> None:
        assert self.data is not None
        if self.full:
            raise OSError(errno.ENOSPC, "full")
        missing = offset + len(data) - len(self.data)
        self.data += bytes(max(0, missing))
        if self._is_the_end():
            part = self.rng.randrange(len(data) + 1)
            self.data[offset : offset + part] = data[:part]
            raise Crash
        self.data[offset : offset + len(data)] = data

    def replace(self, data: bytes) -> None:
        if self._is_the_end():
            raise Crash
        self.data = bytearray(data)

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


@pytest.mark.parametrize("crash_at", range(3, 30))
def test_a_crash_at_any_write_loses_nothing_acknowledged(crash_at: int, rounds: int) -> None:
    """Each change takes two writes: the record, of which any part may be written, and the counter."""
    for seed in range(rounds):
        rng = random.Random(crash_at * 1000 + seed)
        disk = FakeDisk(crash_at, rng)
        objects = open_objects(disk)
        acknowledged: dict[int, bytes] = {}
        attempted: tuple[int, bytes | None] = (0, None)
        try:
            for number in range(20):
                uid = rng.randrange(1, 5)
                if uid in acknowledged and rng.random() < 0.3:
                    attempted = uid, None
                    objects.remove(1, uid)
                    del acknowledged[uid]
                else:
                    data = rng.randbytes(rng.randrange(200))
                    attempted = uid, data
                    objects.set(1, uid, data, 0)
                    acknowledged[uid] = data
                if number == 9:
                    objects._log._compact()
        except Crash:
            pass
        disk.crash_at = -1
        after = open_objects(disk)
        contents = {uid: content_of(after, 1, uid) for uid in range(1, 5)}
        found = {uid: content for uid, content in contents.items() if content is not None}
        changed, content = attempted
        with_it = {uid: data for uid, data in acknowledged.items() if uid != changed}
        if content is not None:
            with_it[changed] = content
        assert found in (acknowledged, with_it)
        after.set(1, 9, b"it goes on", 0)
        assert open_objects(disk).get(1, 9, 0, 99) == b"it goes on"


def test_any_changed_byte_is_noticed_and_takes_no_other_object_down() -> None:
    disk = FakeDisk()
    objects = open_objects(disk)
    contents = {uid: bytes((uid,)) * 40 for uid in range(1, 4)}
    for uid, content in contents.items():
        objects.set(1, uid, content, 0)
    assert disk.data is not None
    whole = bytes(disk.data)
    for position in range(64, len(whole)):
        disk.data = bytearray(whole)
        disk.data[position] ^= 0x40
        after = open_objects(disk)
        found = [content_of(after, 1, uid, missing=PsaStatus.DATA_CORRUPT) for uid in contents]
        assert all(one in (None, content) for one, content in zip(found, contents.values(), strict=True)), position
        assert found.count(None) <= 1, position


def test_a_damaged_beginning_serves_nothing_and_overwrites_nothing() -> None:
    disk = FakeDisk()
    open_objects(disk).set(1, 1, b"x", 0)
    assert disk.data is not None
    disk.data[9] ^= 1
    before = bytes(disk.data)
    objects = open_objects(disk)
    for call in (lambda: objects.get(1, 1, 0, 9), lambda: objects.set(1, 1, b"y", 0), lambda: objects.remove(1, 1)):
        with refused(PsaStatus.CORRUPTION_DETECTED):
            call()
    assert bytes(disk.data) == before


def test_an_old_copy_is_refused() -> None:
    disk = FakeDisk()
    objects = open_objects(disk)
    objects.set(1, 1, b"a key that will be destroyed", 0)
    assert disk.data is not None
    old = bytes(disk.data)
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
    assert disk.data is not None
    assert other.data is not None
    disk.data[64:] = other.data[64:]
    assert ObjectLog(disk, Counter(disk), SECRET).fault is not None


def test_a_full_disk_loses_nothing() -> None:
    disk = FakeDisk()
    objects = open_objects(disk)
    objects.set(1, 1, b"kept", 0)
    disk.full = True
    with refused(PsaStatus.INSUFFICIENT_STORAGE):
        objects.set(1, 2, b"no room", 0)
    disk.full = False
    assert open_objects(disk).get(1, 1, 0, 9) == b"kept"


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
