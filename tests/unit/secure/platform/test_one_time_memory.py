"""One-time-programmable words in a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing, suppress
from errno import EIO
from pathlib import Path

import pytest

from edgeroot.secure.boot.fuses import OLDER_WORDS, WORDS
from edgeroot.secure.platform.one_time_memory import FileOneTimeMemory, OneTimeMemory, OneTimeMemoryError

HEADER_BYTES = SLOT_BYTES = 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fuses"


def opened(path: Path, *, words: int = 4, create: bool = True) -> closing[FileOneTimeMemory]:
    return closing(FileOneTimeMemory(path, words=words, create=create))


def longer(path: Path) -> closing[FileOneTimeMemory]:
    """One of two words, which is to have four."""
    return closing(FileOneTimeMemory(path, words=4, older=2, create=False))


class Disk:
    """Takes so many changes, and then fails."""

    def __init__(self, changes: int) -> None:
        self._left = changes

    def until_it_fails(self, change: Callable[..., object]) -> Callable[..., object]:
        def changed(*arguments: object) -> object:
            if not self._left:
                raise OSError(EIO, "the power goes")
            self._left -= 1
            return change(*arguments)

        return changed


def test_words_are_blank_and_then_stay(path: Path) -> None:
    with opened(path) as memory:
        assert [memory.read(word) for word in range(4)] == [None] * 4
        memory.write(1, b"root")
        memory.write(3, bytes(4))
    with opened(path) as memory:
        port: OneTimeMemory = memory
        assert [port.read(word) for word in range(4)] == [None, b"root", None, bytes(4)]
        port.write(1, b"root")
        for word, value in ((1, b"toor"), (3, b"\0\0\0\1")):
            with pytest.raises(OneTimeMemoryError, match=f"word {word} was written before"):
                port.write(word, value)
        assert port.read(1) == b"root"
    assert path.stat().st_mode & 0o777 == 0o600


def test_arguments(path: Path) -> None:
    with opened(path) as memory:
        for word in (-1, 4):
            with pytest.raises(IndexError):
                memory.read(word)
            with pytest.raises(IndexError):
                memory.write(word, b"word")
        for value in (b"", b"abc", b"abcde"):
            with pytest.raises(ValueError, match="4 bytes"):
                memory.write(0, value)


def test_any_changed_byte_of_a_word_is_noticed_and_no_other_word_is_lost(path: Path) -> None:
    with opened(path) as memory:
        memory.write(1, b"root")
        memory.write(2, b"kept")
    whole = path.read_bytes()
    for position in range(HEADER_BYTES + SLOT_BYTES, HEADER_BYTES + 2 * SLOT_BYTES):
        path.write_bytes(whole[:position] + bytes((whole[position] ^ 1,)) + whole[position + 1 :])
        with opened(path) as memory:
            with pytest.raises(OneTimeMemoryError, match=r"word 1 of .* is damaged"):
                memory.read(1)
            with pytest.raises(OneTimeMemoryError, match="damaged"):
                memory.write(1, b"root")
            assert memory.read(2) == b"kept"


def test_a_word_is_not_taken_for_another(path: Path) -> None:
    with opened(path) as memory:
        memory.write(0, b"root")
    whole = path.read_bytes()
    path.write_bytes(whole[:32] + whole[16:32] + whole[48:])
    with opened(path) as memory, pytest.raises(OneTimeMemoryError, match=r"word 1 .* damaged"):
        memory.read(1)


def test_a_file_of_another_kind_or_size_is_refused_and_not_replaced(path: Path) -> None:
    with opened(path):
        pass
    whole = path.read_bytes()
    for content in (b"", whole[:-1], whole + b"\0", b"X" + whole[1:]):
        path.write_bytes(content)
        with pytest.raises(OneTimeMemoryError, match="damaged"):
            FileOneTimeMemory(path, words=4, create=True)
        assert path.read_bytes() == content


def test_a_missing_one_is_not_made_where_there_should_be_one(path: Path) -> None:
    with pytest.raises(OneTimeMemoryError, match="No such file"):
        FileOneTimeMemory(path, words=4, create=False)


def test_an_older_one_of_fewer_words_is_read_and_made_longer_when_there_is_need(path: Path) -> None:
    with opened(path, words=2) as memory:
        memory.write(0, b"root")
    old = path.read_bytes()
    with longer(path) as memory:
        assert [memory.read(word) for word in range(4)] == [b"root", None, None, None]
        memory.write(1, b"more")
        assert len(path.read_bytes()) == len(old)
        memory.write(3, b"last")
        assert [memory.read(word) for word in range(4)] == [b"root", b"more", None, b"last"]
    for one in (opened(path), longer(path)):
        with one as memory:
            assert [memory.read(word) for word in range(4)] == [b"root", b"more", None, b"last"]


def test_wherever_it_is_cut_off_a_longer_one_has_the_same_words(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its new size, then says so, then has a new word."""
    with opened(path, words=2) as memory:
        memory.write(0, b"root")
    old = path.read_bytes()
    seen = set()
    for changes in range(4):
        path.write_bytes(old)
        disk = Disk(changes)
        with monkeypatch.context() as context, longer(path) as memory:
            for name in ("ftruncate", "pwrite"):
                context.setattr(os, name, disk.until_it_fails(getattr(os, name)))
            with suppress(OneTimeMemoryError):
                memory.write(3, b"last")
        seen.add(path.read_bytes())
        with longer(path) as memory:
            assert [memory.read(word) for word in range(4)] == [b"root", None, None, b"last" if changes == 3 else None]
            memory.write(3, b"last")
        with opened(path) as memory:
            assert [memory.read(word) for word in range(4)] == [b"root", None, None, b"last"]
    assert len(seen) == 4


def test_no_flipped_bit_makes_a_whole_one_an_older_one(path: Path) -> None:
    with opened(path, words=WORDS):
        pass
    whole = path.read_bytes()
    for bit in range(8 * HEADER_BYTES):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(OneTimeMemoryError, match="damaged"):
            FileOneTimeMemory(path, words=WORDS, older=OLDER_WORDS, create=False)
