"""The counter in a file: it never goes back, and never silently begins again."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edgeroot.secure.platform.counters import CounterError, FileCounter, NotingCounter

SLOT_BYTES = 4096
SLOTS = 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counter"


def value_of(path: Path) -> int:
    with closing(FileCounter(path, create=False)) as counter:
        return counter.read()


def advanced(path: Path, *values: int) -> None:
    with closing(FileCounter(path, create=True)) as counter:
        for value in values:
            counter.advance_to(value)
            assert counter.read() == value


def test_it_begins_at_0_and_keeps_its_value(path: Path) -> None:
    advanced(path)
    assert value_of(path) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    advanced(path, 1, 2, 7, 7, 1000)
    advanced(path)
    assert value_of(path) == 1000


def test_it_only_grows(path: Path) -> None:
    advanced(path, 5)
    with closing(FileCounter(path, create=False)) as counter:
        with pytest.raises(ValueError, match="never goes back"):
            counter.advance_to(4)
        with pytest.raises(ValueError, match="never goes back"):
            counter.advance_with(5, b"another note for the same value")
    assert value_of(path) == 5


def test_it_says_what_it_cannot_promise(path: Path) -> None:
    with closing(FileCounter(path, create=True)) as counter:
        assert "old copy of the whole disk goes unnoticed" in counter.strength


def test_it_is_durable_before_it_answers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(FileCounter(path, create=True)) as counter:
        on_disk: list[bytes] = []
        monkeypatch.setattr(os, "fdatasync", lambda descriptor: on_disk.append(os.pread(descriptor, 1 << 20, 0)))
        counter.advance_to(3)
    assert on_disk == [path.read_bytes()]


def test_one_half_written_slot_is_the_change_that_was_interrupted(path: Path) -> None:
    """Of the write for 6, any part may be there: the counter stays at 5 (or, with all of it, is at 6)."""
    advanced(path, *range(1, 6))
    before = path.read_bytes()
    with closing(FileCounter(path, create=False)) as counter:
        counter.advance_with(6, bytes(range(256)))
    after = path.read_bytes()
    start = 6 * SLOT_BYTES
    for length in range(300):
        end = start + length
        path.write_bytes(before[:start] + after[start:end] + before[end:])
        assert value_of(path) == (6 if path.read_bytes() == after else 5)
    assert value_of(path) == 6


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[: 30 * SLOT_BYTES] + bytes(2 * SLOT_BYTES),
        lambda data: b"\xff" * SLOT_BYTES + data[SLOT_BYTES:-SLOT_BYTES] + b"\xff" * SLOT_BYTES,
    ],
    ids=["empty", "zeros", "shorter", "longer", "two slots of zeros", "two slots of ones"],
)
def test_a_damaged_file_is_an_error(path: Path, damage: Callable[[bytes], bytes]) -> None:
    advanced(path, *range(1, 50))
    path.write_bytes(damage(path.read_bytes()))
    for create in (False, True):
        with pytest.raises(CounterError, match="damaged"):
            FileCounter(path, create=create)


def test_a_missing_file_is_an_error(path: Path) -> None:
    with pytest.raises(CounterError, match="No such file"):
        FileCounter(path, create=False)
    assert not path.exists()


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    advanced(tmp_path / "other")
    path.symlink_to(tmp_path / "other")
    with pytest.raises(CounterError):
        FileCounter(path, create=False)


def test_a_disk_that_refuses_leaves_the_value(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(5, "broken")

    with closing(FileCounter(path, create=True)) as counter:
        monkeypatch.setattr(os, "fdatasync", refuse)
        with pytest.raises(CounterError, match="broken"):
            counter.advance_to(1)
        assert counter.read() == 0


def test_notes_of_the_last_values_are_kept(path: Path) -> None:
    with closing(FileCounter(path, create=True)) as counter:
        assert isinstance(counter, NotingCounter)
        for value in range(1, 101):
            counter.advance_with(value, b"note %d" % value)
        counter.advance_to(101)
        with pytest.raises(ValueError, match="too long"):
            counter.advance_with(102, bytes(counter.note_bytes + 1))
    with closing(FileCounter(path, create=False)) as counter:
        assert counter.read() == 101
        expected = range(101 - counter.notes_kept + 1, 101)
        assert counter.notes() == {value: b"note %d" % value for value in expected}
        counter.advance_with(102, bytes(counter.note_bytes))
    assert value_of(path) == 102


def test_notes_from_before_a_leap_are_not_among_the_last(path: Path) -> None:
    with closing(FileCounter(path, create=True)) as counter:
        counter.advance_with(1, b"old")
        counter.advance_to(1000)
    with closing(FileCounter(path, create=False)) as counter:
        assert counter.notes() == {}
