"""The file that counts trial boots: what it says is read again, and whatever else is there ends a trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.secure.boot.trial import ANY_BANK, MAX_TRIAL_BOOTS, Attempts
from edgeroot.secure.stage.attempts import read_attempts, write_attempts

DAMAGED: Final = Attempts(ANY_BANK, MAX_TRIAL_BOOTS)


@pytest.mark.parametrize("attempts", [Attempts(0, 0), Attempts(1, 3), Attempts(0, 1000)])
def test_what_was_counted_is_read_again(tmp_path: Path, attempts: Attempts) -> None:
    path = tmp_path / "trial-boots"
    assert read_attempts(path) is None
    write_attempts(path, attempts)
    assert read_attempts(path) == attempts
    assert path.stat().st_mode & 0o777 == 0o600
    write_attempts(path, None)
    write_attempts(path, None)
    assert read_attempts(path) is None


def test_a_lost_count_stays_lost_when_it_is_written(tmp_path: Path) -> None:
    write_attempts(tmp_path / "trial-boots", DAMAGED)

    assert read_attempts(tmp_path / "trial-boots") == DAMAGED


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"1",
        b'{"bank": 1}',
        b'{"bank": 2, "count": 0}',
        b'{"bank": 1, "count": -1}',
        b'{"bank": 1e999, "count": 0}',
        b'{"bank": null, "count": 0}',
        b'{"bank": 1, "count": {}}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_cannot_be_read_is_too_many(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trial-boots"
    path.write_bytes(content)

    assert read_attempts(path) == DAMAGED


def test_a_folder_in_its_place_is_too_many(tmp_path: Path) -> None:
    (tmp_path / "trial-boots").mkdir()

    assert read_attempts(tmp_path / "trial-boots") == DAMAGED


def test_every_flipped_bit_is_a_count_or_too_many(tmp_path: Path) -> None:
    path = tmp_path / "trial-boots"
    whole = json.dumps({"bank": 1, "count": 2}).encode()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        found = read_attempts(path)
        assert found == DAMAGED or (found is not None and found.bank in (0, 1) and found.count >= 0)


@given(content=st.binary(max_size=40) | st.text().map(str.encode))
def test_nothing_that_is_there_is_taken_for_no_count(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-trial-boots"
    path.write_bytes(content)

    assert read_attempts(path) is not None
