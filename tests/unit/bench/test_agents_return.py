"""What a fleet's return amounts to, and what of it breaks a promise."""

from __future__ import annotations

import pytest

from bench.agents_client import Node
from bench.agents_return import summary

AGENTS = 1000


def returning(every_s: float = 0.05) -> list[Node]:
    """One after the other, and each ten minutes later again."""
    nodes = [Node(number, number * every_s) for number in range(AGENTS)]
    for node in nodes:
        node.attempts_s = [node.returned_s, node.returned_s + 2]
        node.results = [(node.returned_s + 2.5, "affirming")]
        node.failures = {"away": 1}
    return nodes


def test_a_return_as_promised() -> None:
    found = summary(returning(), dict.fromkeys(range(AGENTS), 1))
    assert found.faults == ()
    assert found.back_s == pytest.approx(999 * 0.05 + 2.5)
    assert found.patience_s == pytest.approx(2.5)
    assert (found.results, found.failures, found.steady) == (AGENTS, {"away": AGENTS}, 0)
    assert 38 <= found.busiest <= 42


def test_what_breaks_a_promise() -> None:
    kept = dict.fromkeys(range(AGENTS), 1)
    nodes = returning()
    nodes[0].results = []
    found = summary(nodes, kept)
    assert found.back_s is None
    assert found.faults == ("1 agents have no result", "1 agents know of other results than the verifier")
    nodes = returning()
    nodes[0].results = [(1.0, "contraindicated")]
    assert summary(nodes, kept).faults == ("1 results do not affirm",)
    for node in nodes[:101]:
        node.attempts_s.append(40.5)
    for node in nodes[:7]:
        node.attempts_s.append(310.5)
    _, busiest, steady = summary(nodes, kept).faults
    assert busiest.endswith("asked in one second")
    assert steady == "after 300 s still 7 asked in one second"
