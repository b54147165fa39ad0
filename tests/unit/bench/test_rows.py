"""The table of rows: what a target and a fault mean."""

from __future__ import annotations

from bench.measure import Outcome
from bench.rows import ROWS


def test_every_row_has_a_key_of_its_own() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)


def test_rows_of_the_root_of_trust_are_bounded_from_above_and_fail_by_a_fault() -> None:
    rows = {row.key: row for row in ROWS}
    for key in ("token", "token-auth", "appraise", "verifier-load", "edge-controller", "verified-start"):
        row = rows[key]
        assert row.passes(Outcome(1, 1, "", row.target)) is True
        assert row.passes(Outcome(1, 1, "", row.target + 0.1)) is False
        assert row.passes(Outcome(1, 1, "", row.target, faults=("an error",))) is False
        assert row.passes(Outcome(None, None, "", None)) is None
