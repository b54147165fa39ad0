"""Changes from outside: damage stays where it is, and nothing old comes back."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.storage.objects import Objects
from edgeroot.secure.partitions.storage.store import ObjectLog
from edgeroot.testing.fake_platform import FakeCounter, FakeDisk
from tests.support.stored_objects import (
    ONCE,
    RECORD_BYTES,
    SECRET,
    content_of,
    lost,
    open_objects,
    refused,
    some_objects,
)


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
    after = ObjectLog(disk, FakeCounter(disk), SECRET)
    assert after.fault is not None
    assert "3 were made" in after.fault
    with refused(PsaStatus.CORRUPTION_DETECTED):
        Objects(after, 0).get(1, 1, 0, 9)


def test_a_removed_log_is_not_begun_anew() -> None:
    disk = FakeDisk()
    open_objects(disk).set(1, 1, b"x", 0)
    disk.data = None
    assert ObjectLog(disk, FakeCounter(disk), SECRET).fault == "the log is missing, and 1 changes were made to it"


def test_another_devices_log_is_refused() -> None:
    disk = FakeDisk()
    open_objects(disk).set(1, 1, b"x", 0)
    assert ObjectLog(disk, FakeCounter(disk), Secret(b"t" * 32)).fault is not None


def test_a_record_moved_to_another_object_is_no_object() -> None:
    """The head is bound to its content, and both to the log."""
    disk, other = FakeDisk(), FakeDisk()
    open_objects(disk).set(1, 1, b"one", 0)
    open_objects(other).set(1, 1, b"two", 0)
    disk.content[64:] = other.content[64:]
    assert ObjectLog(disk, FakeCounter(disk), SECRET).fault is not None


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


def outcome(objects: Objects, uid: int) -> bytes | PsaStatus:
    try:
        return objects.get(1, uid, 0, 1000)
    except PsaError as error:
        return error.status


@pytest.mark.parametrize(
    ("behind", "expected"),
    [(1, PsaStatus.DOES_NOT_EXIST), (20, PsaStatus.CORRUPTION_DETECTED), (30, PsaStatus.CORRUPTION_DETECTED)],
)
def test_notes_do_not_make_an_old_copy_the_newest(behind: int, expected: PsaStatus) -> None:
    """They complete one that is a few changes old, as after a loss of power, and refuse an older one."""
    disk = FakeDisk()
    objects = open_objects(disk, noting=True)
    objects.set(1, 1, b"old", 0)
    old = bytes(disk.content)
    for number in range(behind):
        objects.set(1, 1, b"newer %d" % number, 0)
        objects.remove(1, 1)
    disk.data = bytearray(old) + bytes(len(disk.content) - len(old))
    before = bytes(disk.content)
    assert outcome(open_objects(disk, noting=True), 1) == expected
    assert (bytes(disk.content) == before) is (expected is PsaStatus.CORRUPTION_DETECTED)


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note[:8] + bytes(8) + note[16:],
        lambda note: note[:8] + (64).to_bytes(8, "little") + note[16:],
        lambda note: note[:8] + (1 << 62).to_bytes(8, "little") + note[16:],
        lambda note: bytes(8) + note[8:],
        lambda note: b"\xff" * 8 + note[8:],
        lambda note: note[:9],
        lambda note: note[:-1],
        lambda note: note[:16] + bytes(len(note) - 16),
    ],
    ids=["at 0", "at 64", "far away", "all needed", "none needed", "short", "cut", "no record"],
)
def test_notes_that_were_changed_give_nobody_an_old_object(change: Callable[[bytes], bytes]) -> None:
    disk = FakeDisk()
    objects = open_objects(disk, noting=True)
    for number in range(7):
        objects.set(1, 1, b"change %d" % number, 0)
    disk.notes = {value: change(note) for value, note in disk.notes.items()}
    allowed = {b"change 6", PsaStatus.DATA_CORRUPT, PsaStatus.CORRUPTION_DETECTED}
    assert outcome(open_objects(disk, noting=True), 1) in allowed


@pytest.mark.parametrize("noting", [False, True])
def test_pieces_of_older_logs_bring_nothing_old_back(noting: bool, rounds: int) -> None:
    """Whatever an attacker makes of the log's earlier states: an object is as it is now, or known to be damaged."""
    for seed in range(10 * rounds):
        rng = random.Random(seed)
        disk = FakeDisk(rng=rng)
        objects = open_objects(disk, noting=noting)
        now: dict[int, bytes | PsaStatus] = dict.fromkeys(range(1, 5), PsaStatus.DOES_NOT_EXIST)
        older: list[bytes] = []
        for number in range(rng.randrange(2, 40)):
            uid = rng.randrange(1, 5)
            if rng.random() < 0.3 and now[uid] is not PsaStatus.DOES_NOT_EXIST:
                objects.remove(1, uid)
                now[uid] = PsaStatus.DOES_NOT_EXIST
            else:
                content = b"%d" % number + bytes(rng.randrange(300))
                objects.set(1, uid, content, 0)
                now[uid] = content
            if rng.random() < 0.1:
                objects._log._compact()
            if rng.random() < 0.3:
                older.append(bytes(disk.content))
        for _ in range(rng.randrange(1, 4)):
            source = rng.choice([*older, bytes(len(disk.content)), bytes(disk.content)])
            size = rng.choice((64, 384, 1000, len(source)))
            taken = source[(start := 64 * rng.randrange(len(source) // 64)) : start + size]
            put = start if rng.random() < 0.7 else 64 * rng.randrange(len(disk.content) // 64)
            taken = taken[: len(disk.content) - put]
            disk.content[put : put + len(taken)] = taken
        after = open_objects(disk, noting=noting)
        for uid, expected in now.items():
            found = outcome(after, uid)
            assert found in (expected, PsaStatus.DATA_CORRUPT, PsaStatus.CORRUPTION_DETECTED), (seed, uid)
