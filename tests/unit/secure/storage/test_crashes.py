"""Losses of power, full and broken disks: what was acknowledged stays, and nothing else is there."""

from __future__ import annotations

import errno
import random

import pytest

from edgeroot.psa import PsaStatus
from edgeroot.secure.partitions.storage.objects import Objects
from edgeroot.secure.platform.log_file import ReplacementUncertainError
from edgeroot.testing.fake_platform import FakeDisk, PowerLoss
from tests.support.stored_objects import (
    content_of,
    open_objects,
    refused,
)


@pytest.mark.parametrize("noting", [False, True])
@pytest.mark.parametrize("crash_at", range(2, 40))
def test_a_crash_at_any_write_loses_nothing_acknowledged(crash_at: int, noting: bool, rounds: int) -> None:
    """The power goes while a record is written, made durable or counted, or the log is written anew."""
    for seed in range(3 * rounds):
        rng = random.Random(crash_at * 1000 + seed)
        disk = FakeDisk(crash_at, rng)
        acknowledged: dict[int, bytes] = {}
        attempted: tuple[int, bytes | None] = (0, None)
        try:
            objects = open_objects(disk, noting=noting)
            for number in range(20):
                uid = rng.randrange(1, 5)
                if uid in acknowledged and rng.random() < 0.3:
                    attempted = uid, None
                    objects.remove(1, uid)
                    del acknowledged[uid]
                else:
                    data = rng.randbytes(rng.randrange(700))
                    attempted = uid, data
                    objects.set(1, uid, data, 0)
                    acknowledged[uid] = data
                if number == 9:
                    objects._log._compact()
        except PowerLoss:
            pass
        # The next start may crash as well, while it finishes what the first one left.
        disk.crash_at = disk.writes + rng.randrange(3)
        try:
            after = open_objects(disk, noting=noting)
        except PowerLoss:
            after = open_objects(disk, noting=noting)
        disk.crash_at = -1
        contents = {uid: content_of(after, 1, uid) for uid in range(1, 5)}
        found = {uid: content for uid, content in contents.items() if content is not None}
        changed, content = attempted
        with_it = {uid: data for uid, data in acknowledged.items() if uid != changed}
        if content is not None:
            with_it[changed] = content
        assert found in (acknowledged, with_it)
        after.set(1, 9, b"it goes on", 0)
        assert open_objects(disk, noting=noting).get(1, 9, 0, 99) == b"it goes on"


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


def with_notes(disk: FakeDisk, changes: int) -> Objects:
    objects = open_objects(disk, noting=True)
    for number in range(1, changes + 1):
        objects.set(1, number, b"change %d" % number, 0)
    return objects


def test_a_noted_change_takes_one_durable_write() -> None:
    disk = FakeDisk()
    objects = with_notes(disk, 1)
    before = disk.writes
    objects.set(1, 9, b"x", 0)
    assert disk.writes - before == 2, "one that need not be durable, and the counter's"
    assert disk.unsynced


def test_changes_that_the_log_lost_are_in_the_notes() -> None:
    disk = FakeDisk()
    with_notes(disk, 7)
    assert disk.unsynced
    disk.data = disk.durable + bytes(len(disk.content) - len(disk.durable))
    after = open_objects(disk, noting=True)
    assert [content_of(after, 1, uid) for uid in range(1, 8)] == [b"change %d" % uid for uid in range(1, 8)]
    disk.notes.clear()
    assert content_of(open_objects(disk, noting=True), 1, 7) == b"change 7", "and back in the log"


@pytest.mark.parametrize("noting", [False, True])
def test_what_a_killed_process_left_is_durable_before_it_counts(noting: bool) -> None:
    """It had written and not yet counted; the power may go right after the next start."""
    disk = FakeDisk()
    objects = open_objects(disk, noting=noting)
    objects.set(1, 1, b"first", 0)
    written = bytes(disk.content)
    objects.set(1, 2, b"second", 0)
    disk.unsynced = [(0, bytes(disk.content))]
    disk.durable[:] = written.ljust(len(disk.durable), b"\0")
    disk.value -= 1
    disk.notes.pop(2, None)
    assert content_of(open_objects(disk, noting=noting), 1, 2) == b"second"
    assert not disk.unsynced
    with pytest.raises(PowerLoss):
        disk.lose_power()
    assert content_of(open_objects(disk, noting=noting), 1, 2) == b"second"


def test_a_failed_sync_does_not_pass_for_a_later_one() -> None:
    """What the kernel could not write is not on the disk, although it can be read: only the notes still have it."""
    disk = FakeDisk()
    objects = with_notes(disk, 3)
    disk.reserve(4096)
    disk.room_bytes, disk.failing_syncs = 100, 1
    with refused(PsaStatus.STORAGE_FAILURE):
        objects.set(1, 9, bytes(1000), 0)
    with pytest.raises(PowerLoss):
        disk.lose_power()
    after = open_objects(disk, noting=True)
    assert [content_of(after, 1, uid) for uid in range(1, 4)] == [b"change %d" % uid for uid in range(1, 4)]
    with refused(PsaStatus.CORRUPTION_DETECTED):
        objects.get(1, 1, 0, 9)


def test_nothing_is_changed_where_a_loss_of_power_may_bring_the_old_log_back(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeDisk()
    objects = with_notes(disk, 3)

    def uncertain(_data: bytes) -> None:
        raise ReplacementUncertainError(errno.EIO, "broken")

    monkeypatch.setattr(disk, "replace", uncertain)
    assert not objects._log._compact()
    with refused(PsaStatus.CORRUPTION_DETECTED):
        objects.set(1, 1, b"", 0)
    assert content_of(open_objects(disk, noting=True), 1, 3) == b"change 3"
