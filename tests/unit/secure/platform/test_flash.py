"""Flash memory in a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeroot.secure.platform.flash import BLOCK_BYTES, FileFlash, FlashError

SIZE_BYTES = 4 * BLOCK_BYTES


@pytest.fixture
def flash(tmp_path: Path) -> FileFlash:
    return FileFlash(tmp_path / "flash", size_bytes=SIZE_BYTES)


def test_it_is_made_erased_and_keeps_what_is_written(flash: FileFlash, tmp_path: Path) -> None:
    assert flash.read(0, SIZE_BYTES) == bytes(SIZE_BYTES)
    flash.write(100, b"firmware")
    flash.sync()
    again = FileFlash(tmp_path / "flash", size_bytes=SIZE_BYTES)
    assert again.read(98, 12) == b"\0\0firmware\0\0"
    assert (tmp_path / "flash").stat().st_mode & 0o777 == 0o600


def test_only_erased_bytes_are_written(flash: FileFlash) -> None:
    flash.write(10, b"abc")
    for offset in (8, 10, 12):
        with pytest.raises(FlashError, match="only erased flash"):
            flash.write(offset, b"xyz")
    flash.write(13, b"def")
    assert flash.read(10, 6) == b"abcdef"


def test_only_whole_blocks_are_erased(flash: FileFlash) -> None:
    flash.write(BLOCK_BYTES - 1, b"ab")
    for offset, size_bytes in ((1, BLOCK_BYTES), (0, BLOCK_BYTES - 1)):
        with pytest.raises(FlashError, match="whole blocks"):
            flash.erase(offset, size_bytes)
    flash.erase(0, BLOCK_BYTES)
    assert flash.read(BLOCK_BYTES - 1, 2) == b"\0b"


@pytest.mark.parametrize(("offset", "size_bytes"), [(-1, 1), (0, SIZE_BYTES + 1), (SIZE_BYTES, 1), (0, -1)])
def test_nothing_is_beyond_its_ends(flash: FileFlash, offset: int, size_bytes: int) -> None:
    for access in (flash.read, flash.erase):
        with pytest.raises(FlashError, match="are not in this flash"):
            access(offset, size_bytes)
    with pytest.raises(FlashError, match="are not in this flash"):
        flash.write(SIZE_BYTES - 1, b"ab")


def test_its_size_is_whole_blocks(tmp_path: Path) -> None:
    with pytest.raises(FlashError, match="whole blocks"):
        FileFlash(tmp_path / "flash", size_bytes=BLOCK_BYTES + 1)


def test_what_the_disk_refuses(flash: FileFlash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(5, "broken")

    with pytest.raises(FlashError, match="cannot use the flash"):
        FileFlash(tmp_path / "missing" / "flash", size_bytes=SIZE_BYTES)
    flash.write(8, b"something to erase")
    monkeypatch.setattr(os, "pwrite", refuse)
    monkeypatch.setattr(os, "fdatasync", refuse)
    with pytest.raises(FlashError, match="broken"):
        flash.write(0, b"x")
    with pytest.raises(FlashError, match="broken"):
        flash.erase(0, BLOCK_BYTES)
    with pytest.raises(FlashError, match="broken"):
        flash.sync()
    monkeypatch.setattr(os, "pread", refuse)
    with pytest.raises(FlashError, match="broken"):
        flash.read(0, 1)


def test_who_only_reads_makes_nothing_and_waits_for_nobody(flash: FileFlash, tmp_path: Path) -> None:
    flash.write(0, b"firmware")
    flash.close()

    reader = FileFlash(tmp_path / "flash", size_bytes=SIZE_BYTES, read_only=True)
    assert reader.read(0, 8) == b"firmware"
    with pytest.raises(FlashError, match="cannot be written"):
        reader.write(BLOCK_BYTES, b"x")
    with pytest.raises(FlashError, match="no flash of"):
        FileFlash(tmp_path / "flash", size_bytes=SIZE_BYTES + BLOCK_BYTES, read_only=True)
    with pytest.raises(FlashError, match="cannot use"):
        FileFlash(tmp_path / "none", size_bytes=SIZE_BYTES, read_only=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FlashError, match="is no flash"):
        FileFlash(tmp_path / "pipe", size_bytes=SIZE_BYTES, read_only=True)
    (tmp_path / "link").symlink_to(tmp_path / "flash")
    with pytest.raises(FlashError, match="cannot use"):
        FileFlash(tmp_path / "link", size_bytes=SIZE_BYTES, read_only=True)


def test_what_was_never_written_takes_no_place_on_the_disk(flash: FileFlash, tmp_path: Path) -> None:
    flash.erase(0, SIZE_BYTES)
    flash.sync()

    assert (tmp_path / "flash").stat().st_blocks == 0
