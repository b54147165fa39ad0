from __future__ import annotations

from hashlib import sha256

import pytest

from edgeroot.verifier.audit import START, check_chain, line_of, link
from edgeroot.verifier.errors import VerifierError

LINES = [line_of({"event": "endorsed", "at_s": number}) for number in range(4)]


def chained(lines: list[str]) -> list[tuple[int, str, bytes]]:
    rows, last = [], START
    for number, line in enumerate(lines, 1):
        last = link(last, line)
        rows.append((number, line, last))
    return rows


ROWS = chained(LINES)


def test_a_link_is_the_hash_of_all_before() -> None:
    assert LINES[0] == '{"at_s":0,"event":"endorsed"}'
    first = sha256(bytes(32) + LINES[0].encode()).digest()
    assert ROWS[1][2] == sha256(first + LINES[1].encode()).digest()


def test_a_whole_chain() -> None:
    assert check_chain([]) == (0, START)
    assert check_chain(ROWS) == (4, ROWS[-1][2])
    assert check_chain(ROWS, noted=ROWS[1][2]) == (4, ROWS[-1][2])


@pytest.mark.parametrize(
    "rows",
    [
        [ROWS[0], (2, LINES[0], ROWS[1][2]), *ROWS[2:]],  # a line was changed
        [ROWS[0], *ROWS[2:]],  # dropped
        [(number, line, found) for number, (_, line, found) in enumerate([ROWS[0], *ROWS[2:]], 1)],  # and renumbered
        ROWS[1:],  # the beginning is gone
        [ROWS[1], ROWS[0], *ROWS[2:]],  # moved
    ],
)
def test_a_broken_chain(rows: list[tuple[int, str, bytes]]) -> None:
    with pytest.raises(VerifierError, match="broken"):
        check_chain(rows)


def test_a_chain_whose_end_was_cut_off_or_written_anew() -> None:
    check_chain(ROWS[:-1])
    with pytest.raises(VerifierError, match="cut off"):
        check_chain(ROWS[:-1], noted=ROWS[-1][2])
    with pytest.raises(VerifierError, match="not in it"):
        check_chain(chained(LINES[1:]), noted=ROWS[-1][2])
