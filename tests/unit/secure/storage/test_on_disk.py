"""The storage partition's files: killed processes, full disks, and whatever somebody does to the files in between."""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.partitions.storage.objects import Objects
from edgeroot.secure.partitions.storage.store import ObjectLog
from edgeroot.secure.platform.counters import FileCounter
from edgeroot.secure.platform.files import LockedError
from edgeroot.secure.platform.log_file import LogFile
from tests.support.stored_objects import SECRET, content_of, refused

UIDS = range(1, 6)


@contextmanager
def opened(folder: Path) -> Iterator[Objects]:
    with closing(LogFile(folder)) as log, closing(FileCounter(folder / "counter", create=not log.exists)) as counter:
        yield Objects(ObjectLog(log, counter, SECRET), 1)


def apply(objects: Objects, number: int) -> None:
    """The change of this number: of any size, now and then a removal."""
    rng = random.Random(number)
    uid = rng.choice(UIDS)
    if rng.random() < 0.2:
        try:
            objects.remove(1, uid)
        except PsaError as error:
            if error.status is not PsaStatus.DOES_NOT_EXIST:
                raise
    else:
        objects.set(1, uid, rng.randbytes(rng.choice((10, 500, 20_000))), 0)


def expected_after(changes: int) -> dict[int, bytes]:
    contents: dict[int, bytes] = {}
    for number in range(1, changes + 1):
        rng = random.Random(number)
        uid = rng.choice(UIDS)
        if rng.random() < 0.2:
            contents.pop(uid, None)
        else:
            contents[uid] = rng.randbytes(rng.choice((10, 500, 20_000)))
    return contents


def contents(objects: Objects) -> dict[int, bytes]:
    found = {uid: content_of(objects, 1, uid, size_bytes=1 << 20) for uid in UIDS}
    return {uid: content for uid, content in found.items() if content is not None}


def change_for_ever(folder: Path, first: int) -> None:
    """Runs in the process that is killed: says each change's number when it is acknowledged."""
    with opened(folder) as objects:
        number = first
        while True:
            apply(objects, number)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            number += 1


def test_a_killed_process_loses_nothing_acknowledged(tmp_path: Path, rng: random.Random, rounds: int) -> None:
    code = f"import runpy; from pathlib import Path; runpy.run_path({__file__!r})['change_for_ever']"
    done = 0
    for _ in range(rounds):
        process = subprocess.Popen(
            [sys.executable, "-c", f"{code}(Path({str(tmp_path)!r}), {done + 1})"],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[4],
            text=True,
        )
        with process:
            assert process.stdout is not None
            for _ in range(rng.randrange(1, 60)):
                line = process.stdout.readline()
                assert line, "it runs until it is killed"
                done = int(line)
            process.kill()
            for line in process.stdout:
                done = int(line)
        with opened(tmp_path) as objects:
            found = contents(objects)
            if found != expected_after(done):
                done += 1  # finished, and killed before it could say so
                assert found == expected_after(done)


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """A disk that has no more room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(tmp_path: Path) -> None:
    stored = 0
    with opened(tmp_path) as objects:
        with largest_file(1_500_000):
            with refused(PsaStatus.INSUFFICIENT_STORAGE):
                for uid in range(1, 1000):
                    objects.set(1, uid, bytes(30_000), 0)
                    stored = uid
            assert stored > 10
            assert objects.get(1, stored, 0, 9) == bytes(9), "it goes on serving"
            objects.remove(1, 1)
        objects.set(1, stored + 1, bytes(30_000), 0)
    with opened(tmp_path) as objects:
        assert [objects.get_info(1, uid).size_bytes for uid in range(2, stored + 2)] == [30_000] * stored
        with refused(PsaStatus.DOES_NOT_EXIST):
            objects.get_info(1, 1)


def test_outdated_records_make_room(tmp_path: Path) -> None:
    with opened(tmp_path) as objects:
        for number in range(1, 200):
            objects.set(1, number % 7 + 1, bytes(20_000), 0)
    assert (tmp_path / "log").stat().st_size < 3 << 20
    with opened(tmp_path) as objects:
        assert [objects.get_info(1, uid).size_bytes for uid in range(1, 8)] == [20_000] * 7


def test_one_process_has_the_folder(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(LockedError, match="in use by another process"):
        LogFile(tmp_path)


def change_in_the_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:4000] = b"x" * 3900
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:600])


def put_back_old(path: Path) -> None:
    shutil.copy(path.with_name("old"), path)


@pytest.mark.parametrize("attack", [cut, put_back_old, Path.unlink, change_in_the_middle])
def test_an_old_or_broken_log_gives_nobody_an_old_object(tmp_path: Path, attack: Callable[[Path], None]) -> None:
    log = tmp_path / "log"
    with opened(tmp_path) as objects:
        objects.set(1, 1, b"destroyed later", 0)
        objects.set(1, 2, b"replaced later", 0)
    shutil.copy(log, tmp_path / "old")
    with opened(tmp_path) as objects:
        objects.remove(1, 1)
        for _ in range(100):
            objects.set(1, 2, b"newest", 0)
    attack(log)
    before = log.read_bytes() if log.exists() else b""
    with opened_with_counter(tmp_path) as objects:
        for uid in (1, 2):
            try:
                found = content_of(objects, 1, uid)
            except PsaError as error:
                found = None
                if attack is change_in_the_middle:
                    raise AssertionError("newer records say which objects were hit") from error
            assert found == (b"newest" if uid == 2 and attack is change_in_the_middle else None)
        if attack is not change_in_the_middle:
            for call in (lambda: objects.set(1, 3, b"", 0), lambda: objects.get_info(1, 2)):
                with refused(PsaStatus.CORRUPTION_DETECTED):
                    call()
            assert (log.read_bytes() if log.exists() else b"") == before, "nothing is overwritten"


@contextmanager
def opened_with_counter(folder: Path) -> Iterator[Objects]:
    """Without making a counter, as where one is known to be there."""
    with closing(LogFile(folder)) as log, closing(FileCounter(folder / "counter", create=False)) as counter:
        yield Objects(ObjectLog(log, counter, SECRET), 1)


def test_an_old_counter_is_noticed(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    with opened(tmp_path) as objects:
        objects.set(1, 1, b"x", 0)
        old = counter.read_bytes()
        for _ in range(3):
            objects.set(1, 1, b"y", 0)
    counter.write_bytes(old)
    with opened(tmp_path) as objects, refused(PsaStatus.CORRUPTION_DETECTED):
        objects.get(1, 1, 0, 9)
