"""Files that change in one step, locks, and the log's file."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from edgeroot.secure.platform.entropy import Entropy, SystemEntropy
from edgeroot.secure.platform.files import FileLock, LockedError, replace_file, write_all
from edgeroot.secure.platform.log_file import LogFile, ReplacementUncertainError


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"one", b"another"):
        replace_file(path, content, mode=0o640)
        assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_remainder_of_a_killed_process_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "file.new").write_bytes(b"half")
    replace_file(tmp_path / "file", b"whole", mode=0o600)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_replacement_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    replace_file(path, b"before", mode=0o600)

    def refuse(_descriptor: int) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="full"):
        replace_file(path, b"after", mode=0o600)
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_replacement_is_durable_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    replace_file(path, b"before", mode=0o600)
    seen: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _descriptor: seen.append(path.read_bytes()))
    replace_file(path, b"after", mode=0o600)
    assert seen == [b"before", b"after"], "the file first, and then its folder"


def test_write_all_takes_no_part_for_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "file").open("w+b") as file:
        write_all(file.fileno(), b"abc", offset=2)
        assert os.pread(file.fileno(), 9, 0) == b"\0\0abc"
        monkeypatch.setattr(os, "pwrite", lambda *_: 2)
        with pytest.raises(OSError, match="No space left"):
            write_all(file.fileno(), b"abc")


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    lock = FileLock.acquire(tmp_path / "lock")
    with pytest.raises(LockedError, match="in use by another process"):
        FileLock.acquire(tmp_path / "lock")
    lock.release()
    FileLock.acquire(tmp_path / "lock").release()


def test_a_log_is_written_where_it_is_reserved(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path)) as log:
        assert not log.exists
        log.replace(b"header")
        assert (log.exists, log.size_bytes, log.read(0, 100)) == (True, 6, b"header")
        log.reserve(20)
        allocated = log.size_bytes
        assert allocated >= 20
        log.write(6, b"record")
        log.sync()
        log.reserve(allocated)
        assert log.size_bytes == allocated
    with closing(LogFile(tmp_path)) as log:
        assert (log.exists, log.size_bytes, log.read(0, 14)) == (True, allocated, b"headerrecord\0\0")
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_replaced_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "full")

    with closing(LogFile(tmp_path)) as log:
        log.replace(b"header")
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", refuse)
            with pytest.raises(OSError, match="full") as failed:
                log.replace(b"another")
            with pytest.raises(OSError, match="full"):
                log.reserve(100)
        assert not isinstance(failed.value, ReplacementUncertainError)
        assert (log.size_bytes, log.read(0, 9)) == (6, b"header")
        log.reserve(100)
        log.write(6, b"goes on")
    assert (tmp_path / "log").read_bytes()[:13] == b"headergoes on"
    assert {one.name for one in tmp_path.iterdir()} == {"log", "lock"}


def test_a_new_log_whose_name_is_not_durable_is_uncertain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_folder: Path) -> None:
        raise OSError(5, "broken")

    with closing(LogFile(tmp_path)) as log:
        log.replace(b"header")
        monkeypatch.setattr("edgeroot.secure.platform.log_file.sync_folder", refuse)
        with pytest.raises(ReplacementUncertainError):
            log.replace(b"another")
        assert log.read(0, 9) == b"another"


def test_the_system_has_random_bytes() -> None:
    entropy: Entropy = SystemEntropy()
    assert len(entropy.random_bytes(40)) == 40
    assert entropy.random_bytes(32) != entropy.random_bytes(32)
