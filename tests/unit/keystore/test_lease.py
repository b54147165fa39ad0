from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeroot.keystore.lease import Lease, dead_holders, discard, is_held, leases_directory_for
from edgeroot.keystore.records import KeyStoreError


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return leases_directory_for(tmp_path / "keys.edgeroot")


@contextmanager
def other_process(directory: Path) -> Iterator[str]:
    """A process that holds a lease until the block ends, and dies without giving it back."""
    holder_read, holder_write = os.pipe()
    end_read, end_write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(end_write)
            os.write(holder_write, Lease.acquire(directory).holder.encode())
            os.read(end_read, 1)
        finally:
            os._exit(0)
    try:
        yield os.read(holder_read, 100).decode()
    finally:
        os.close(end_write)
        os.waitpid(child, 0)
        for descriptor in (holder_read, holder_write, end_read):
            os.close(descriptor)


def test_holder_is_dead_when_its_process_is(directory: Path) -> None:
    with other_process(directory) as holder:
        assert is_held(directory, holder)
        assert dead_holders(directory) == []
    assert not is_held(directory, holder)
    assert dead_holders(directory) == [holder]


def test_living_holder_cannot_be_discarded(directory: Path) -> None:
    with other_process(directory) as holder:
        discard(directory, holder)
        assert is_held(directory, holder)
    discard(directory, holder)
    discard(directory, holder)
    assert list(directory.iterdir()) == []


def test_holder_known_to_the_store_without_a_file_is_dead(directory: Path) -> None:
    lease = Lease.acquire(directory)

    assert dead_holders(directory, [lease.holder, "gone"]) == ["gone"]
    lease.release()
    assert dead_holders(directory, [lease.holder]) == [lease.holder]


def test_two_who_ask_do_not_take_each_other_for_the_holder(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with other_process(directory) as holder:
        pass
    asked_while_asked: list[bool] = []
    close = os.close

    def ask_again(descriptor: int) -> None:
        monkeypatch.setattr(os, "close", close)
        asked_while_asked.append(is_held(directory, holder))
        close(descriptor)

    monkeypatch.setattr(os, "close", ask_again)
    assert not is_held(directory, holder)
    assert asked_while_asked == [False]


def test_lease_whose_file_was_swept_before_it_was_locked_is_tried_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = os.open
    swept = []

    def sweep_after_open(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = open_file(path, flags, mode)
        monkeypatch.setattr(os, "open", open_file)
        path.unlink()
        swept.append(path)
        return descriptor

    monkeypatch.setattr(os, "open", sweep_after_open)
    lease = Lease.acquire(directory)
    assert lease.holder not in swept[0].name
    assert is_held(directory, lease.holder)
    lease.release()


def test_files_are_the_owners_alone(directory: Path) -> None:
    lease = Lease.acquire(directory)
    (file,) = directory.iterdir()

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lease.release()


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="no lease"):
        Lease.acquire(tmp_path / "missing" / "leases")
