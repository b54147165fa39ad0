"""A counter in a file, tied to one in hardware: what was put back is noticed, and no crash is taken for that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeroot.psa import Secret
from edgeroot.secure.platform.anchor import Anchor, AnchorError

KEY = Secret(bytes(32))


class Hardware:
    """Counts, and loses power before its next count if told so."""

    def __init__(self, first: int = 41) -> None:
        self.value: int | None = None
        self.fails = False
        self._first = first

    def read(self) -> int | None:
        return self.value

    def increment(self) -> int:
        if self.fails:
            raise ConnectionError
        self.value = self._first if self.value is None else self.value + 1
        return self.value


@pytest.fixture
def hardware() -> Hardware:
    return Hardware()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "anchor"


def test_from_the_first_start_on(path: Path, hardware: Hardware) -> None:
    anchor = Anchor(path, hardware, KEY)
    anchor.check(0)
    anchor.advance(0)
    anchor.advance(7)
    assert hardware.value == 43
    again = Anchor(path, hardware, KEY)
    again.check(7)
    again.check(9)  # changed after the last anchoring
    again.advance(9)
    assert (path.stat().st_mode & 0o777, hardware.value) == (0o600, 44)


def test_what_has_not_changed_is_not_counted(path: Path, hardware: Hardware) -> None:
    anchor = Anchor(path, hardware, KEY)
    for _ in range(3):
        anchor.advance(7)
    assert hardware.value == 42


def test_the_whole_disk_put_back_is_noticed(path: Path, hardware: Hardware, tmp_path: Path) -> None:
    anchor = Anchor(path, hardware, KEY)
    anchor.advance(7)
    shutil.copy(path, tmp_path / "old")
    anchor.advance(9)
    shutil.copy(tmp_path / "old", path)
    with pytest.raises(AnchorError, match=r"at 42, and that stands at 43.*--accept-older-state"):
        Anchor(path, hardware, KEY).check(7)


def test_the_counter_alone_put_back_is_noticed(path: Path, hardware: Hardware) -> None:
    Anchor(path, hardware, KEY).advance(7)
    with pytest.raises(AnchorError, match="those of change 6, and there have been 7"):
        Anchor(path, hardware, KEY).check(6)


def test_a_missing_anchor_is_noticed_where_there_was_something(path: Path, hardware: Hardware) -> None:
    Anchor(path, hardware, KEY).advance(7)
    path.unlink()
    with pytest.raises(AnchorError, match="is missing"):
        Anchor(path, hardware, KEY).check(7)
    Anchor(path, hardware, KEY).check(0)  # a secure world that is made anew


def test_a_power_cut_before_the_count_is_none_of_it(path: Path, hardware: Hardware) -> None:
    anchor = Anchor(path, hardware, KEY)
    anchor.advance(7)
    hardware.fails = True
    with pytest.raises(ConnectionError):
        anchor.advance(9)
    hardware.fails = False
    again = Anchor(path, hardware, KEY)
    again.check(9)
    again.advance(9)
    Anchor(path, hardware, KEY).check(9)


def test_after_that_cut_the_older_anchor_is_refused(path: Path, hardware: Hardware, tmp_path: Path) -> None:
    anchor = Anchor(path, hardware, KEY)
    anchor.advance(7)
    shutil.copy(path, tmp_path / "old")
    anchor.advance(9)
    anchor.advance(11)
    shutil.copy(tmp_path / "old", path)
    with pytest.raises(AnchorError):
        Anchor(path, hardware, KEY).check(7)


def test_every_changed_byte_is_noticed(path: Path, hardware: Hardware) -> None:
    Anchor(path, hardware, KEY).advance(7)
    content = path.read_bytes()
    assert len(content) == 56
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(AnchorError, match="was changed"):
            Anchor(path, hardware, KEY).check(7)
    path.write_bytes(content[:-1])
    with pytest.raises(AnchorError, match="was changed"):
        Anchor(path, hardware, KEY).check(7)
    path.write_bytes(content)
    with pytest.raises(AnchorError, match="another device's"):
        Anchor(path, hardware, Secret(b"\1" * 32)).check(7)


def test_hardware_that_has_forgotten_everything_is_noticed(path: Path, hardware: Hardware) -> None:
    Anchor(path, hardware, KEY).advance(7)
    with pytest.raises(AnchorError, match="stands at None"):
        Anchor(path, Hardware(), KEY).check(7)


def test_somebody_else_who_counts_is_noticed(path: Path, hardware: Hardware) -> None:
    Anchor(path, hardware, KEY).advance(7)
    hardware.increment()
    with pytest.raises(AnchorError, match="one of them was put back"):
        Anchor(path, hardware, KEY).check(7)
