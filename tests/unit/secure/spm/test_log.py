"""The secure world's log: lines that harm no terminal, a bounded size, and no end of the manager by a full disk."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from edgeroot.secure.spm.log import LineReader, Log

MIB = 1 << 20


def lines_in(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_lines_have_time_and_source_and_are_appended(tmp_path: Path) -> None:
    for source in ("manager", "crypto"):
        log = Log(tmp_path / "log")
        log.write(source, "said something")
        log.close()
    first, second = lines_in(tmp_path / "log")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 manager: said something", first)
    assert second.endswith(" crypto: said something")
    assert (tmp_path / "log").stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\nb", "a\rb", "a\0b", "a\x9bb", "a\u202eb", "a\u2028b"])
def test_what_could_drive_a_terminal_or_forge_a_line_is_taken_out(tmp_path: Path, text: str) -> None:
    log = Log(tmp_path / "log")
    log.write("crypto", text)
    log.close()
    [line] = lines_in(tmp_path / "log")
    assert re.search(r" crypto: a\?(\[2J)?b$", line)


def test_a_long_line_is_cut(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.write("crypto", "x" * 100_000)
    log.close()
    assert lines_in(tmp_path / "log")[0].count("x") == 2048


def test_the_size_is_bounded_and_the_newest_lines_are_kept(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    for number in range(3000):
        log.write("crypto", f"{number:4} " + "x" * 995)
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1"]
    assert (tmp_path / "log").stat().st_size <= MIB
    assert (tmp_path / "log.1").stat().st_size <= MIB + 4096
    kept = [int(line.split()[2]) for name in ("log.1", "log") for line in lines_in(tmp_path / name)]
    assert kept == list(range(kept[0], 3000))
    assert len(kept) > 1000


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").touch()
    (tmp_path / "log").symlink_to("victim")
    with pytest.raises(OSError, match="symbolic links"):
        Log(tmp_path / "log")


def test_a_line_that_there_is_no_room_for_is_lost_and_the_next_one_is_not() -> None:
    log = Log(Path("/dev/full"))
    log.write("crypto", "lost")
    log.close()


def test_a_log_that_cannot_be_begun_anew_goes_on_in_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    log = Log(folder / "log")
    folder.rename(tmp_path / "moved")  # the name is gone, as it is where nothing may be made any more
    log.write("crypto", "x" * 2000)
    os.truncate(tmp_path / "moved" / "log", MIB + 1)
    log.write("crypto", "full")
    log.write("crypto", "last")
    log.close()
    assert (tmp_path / "moved" / "log").read_bytes().endswith(b" crypto: last\n")


def test_lines_are_cut_wherever_the_pieces_end() -> None:
    reader = LineReader()
    assert reader.lines(b"fir") == []
    assert reader.lines(b"st\nsecond\nthi") == ["first", "second"]
    assert reader.lines(b"rd") == []
    assert reader.lines(b"") == ["third"]
    assert reader.lines(b"") == []


def test_a_line_without_end_is_given_in_pieces_and_takes_no_memory() -> None:
    reader = LineReader()
    pieces = [line for _ in range(100) for line in reader.lines(b"x" * 1000)]
    assert "".join(pieces + reader.lines(b"")) == "x" * 100_000
    assert max(map(len, pieces)) <= 3048


def test_what_is_no_text_is_replaced() -> None:
    assert LineReader().lines(b"\xff\xfe\n") == ["\ufffd\ufffd"]
