from __future__ import annotations

from pathlib import Path

import pytest

from edgeroot.edge.agent.inventory import RETRY_MAX_S, RETRY_S, UNCHANGED_S, Inventory, Reports
from edgeroot.edge.agent.state import FILE, State, read_state, write_state
from edgeroot.edge.agent.verdict import Verdict

GOOD = Verdict(status="affirming", lifetime_s=1_800)


def test_what_probes_are_told() -> None:
    state = State()
    assert state.problem(100, 100) == "there is no result yet"
    state = state.failed("the verifier: refused", 100).failed("the verifier: timed out", 200)
    assert state.problem(200, 200) == "there is no result yet; the verifier: timed out"
    assert state.failing_since_s == 100
    state = state.judged(GOOD, 300, 300)
    assert state.problem(2_099, 2_099) is None
    assert state.failing_since_s is None
    state = state.failed("the verifier: away", 900)
    assert state.problem(2_099, 2_099) is None, "a result counts until it expires"
    assert state.problem(2_110, 2_110) == "the result expired 10 s ago; the verifier: away"
    state = state.judged(Verdict(status="contraindicated", reason="BL was changed"), 3_000, 3_000)
    assert state.problem(3_000, 3_000) == "the verifier says: contraindicated: BL was changed"
    assert state.judged(Verdict(status="affirming"), 3_000, 3_000).problem(1e12, 1e12) is None


def test_the_stricter_clock_says_when_a_result_expires() -> None:
    state = State().judged(GOOD, 1_000_000, 300)
    assert state.problem(1_001_799, 2_099) is None
    assert state.problem(900_000, 2_110) == "the result expired 10 s ago", "a clock was set back"
    assert state.problem(1_001_810, 400) == "the result expired 10 s ago", "a clock was set forward"


def test_the_file(tmp_path: Path) -> None:
    assert read_state(tmp_path) == State()
    state = State().judged(GOOD, 300, 300).failed("away", 400)
    for one in (state, state.judged(GOOD, 500, 500)):
        write_state(tmp_path, one)
        assert read_state(tmp_path) == one
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    for text in ("", "[]", "7", '{"other": 1}', "{"):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(ValueError, match="was not written by"):
            read_state(tmp_path)


def inventory(*providers: str) -> Inventory:
    return Inventory(providers=providers, agent_version="1.2.3")


def test_the_document_has_nothing_but_the_inventory() -> None:
    assert inventory("tpm", "a\nb").applied("edge-7", 0.9) == {
        "apiVersion": "edgeroot.dev/v1alpha1",
        "kind": "EdgeNode",
        "metadata": {"name": "edge-7"},
        "status": {
            "inventory": {"providers": ["tpm", "a b"], "agentVersion": "1.2.3", "reportedAt": "1970-01-01T00:00:00Z"}
        },
    }
    many = inventory(*["p" * 1_000] * 100).applied("edge-7", 0)["status"]["inventory"]["providers"]
    assert (len(many), len(many[0])) == (64, 200)


def test_it_is_reported_when_it_has_changed_and_at_most_hourly_otherwise() -> None:
    reports = Reports(chance=lambda: 0.0)
    assert reports.due(inventory("a"), 10)
    reports.sent(inventory("a"), 10)
    assert not reports.due(inventory("a"), 10 + UNCHANGED_S - 1)
    assert reports.due(inventory("a", "b"), 11)
    assert reports.due(inventory("a"), 10 + UNCHANGED_S)


def test_an_api_server_that_fails_is_asked_less_and_less() -> None:
    reports, now_s, pauses = Reports(chance=lambda: 0.999_999), 0.0, []
    for _ in range(7):
        reports.failed(now_s)
        assert not reports.due(inventory("b"), now_s)
        pauses.append(round(reports.next_s - now_s))
        now_s = reports.next_s
        assert reports.due(inventory("b"), now_s)
    assert pauses == [RETRY_S, 120, 240, 480, RETRY_MAX_S, RETRY_MAX_S, RETRY_MAX_S]
    reports.sent(inventory("b"), now_s)
    reports.failed(now_s)
    assert round(reports.next_s - now_s) == RETRY_S
