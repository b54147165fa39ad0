"""What rollouts read out of EdgeNodes and write into them, there and back."""

from __future__ import annotations

from typing import Any

import pytest

from edgeroot.edge.firmware.objects import (
    assignment_patch,
    is_selected,
    node_view,
    report_of,
    report_patch,
    rollout_of,
    status_of,
    wanted_version,
)
from edgeroot.edge.firmware.plan import Assignment, NodePhase, NodeView, Phase, Plan, Report, Rollout
from edgeroot.edge.firmware.resource import EdgeFirmware, ResourceError, read

NOW_S = 1_800_000_000.0
ASSIGNMENT = Assignment(version="1.1.0", assigned_s=NOW_S, previous="1.0.0", was_affirmed=True)
REPORT = Report(version="1.1.0", phase=NodePhase.ON_TRIAL, message="the verifier: warning")
NODE: dict[str, Any] = {
    "metadata": {"name": "gateway-7", "labels": {"site": "north"}},
    "spec": {"device": "01", **assignment_patch(ASSIGNMENT)["spec"]},
    "status": {
        "state": "Affirmed",
        "appraisal": {
            "evaluatedAt": "2027-01-15T08:00:00Z",
            "firmware": [{"component": "crypto", "version": "9"}, {"component": "manager", "version": "1.0.0"}],
        },
        **report_patch(REPORT)["status"],
    },
}


def test_a_node_there_and_back() -> None:
    assert node_view(NODE, "manager") == NodeView(
        name="gateway-7",
        state="Affirmed",
        running="1.0.0",
        evaluated_s=NOW_S,
        assignment=ASSIGNMENT,
        report=REPORT,
    )
    assert wanted_version(NODE) == "1.1.0"


def test_a_node_of_which_nothing_is_known() -> None:
    bare = {"metadata": {"name": "new"}, "spec": {"device": "01"}}
    assert node_view(bare, "manager") == NodeView(name="new", state="Unattested", running="", evaluated_s=0.0)
    assert wanted_version(bare) is None


@pytest.mark.parametrize("told", [{}, {"version": "1.1.0"}, {"phase": "Sleeping", "version": "1"}, {"phase": "Failed"}])
def test_reports_that_are_not_understood_are_none(told: dict[str, str]) -> None:
    """A node may write what it likes there."""
    assert report_of({"status": {"inventory": {"firmware": told}}}) is None


@pytest.mark.parametrize(
    ("selector", "selected"), [({}, True), ({"site": "north"}, True), ({"site": "south"}, False), ({"x": ""}, False)]
)
def test_selectors(selector: dict[str, str], selected: bool) -> None:
    firmware = EdgeFirmware(name="f", generation=1, version="1.1.0", selector=selector)
    assert is_selected(NODE, firmware) is selected


def test_a_rollout_there_and_back() -> None:
    rollout = Rollout(version="1.1.0", phase=Phase.PROGRESSING, wave=2, ready_s=NOW_S, message="wave 3 of 4")
    made = Plan(rollout=rollout, total=30, updated=3, updating=1, failed=tuple(f"node-{n}" for n in range(26)))
    firmware = EdgeFirmware(name="f", generation=7, version="1.1.0", selector={})
    status = status_of(made, firmware, {}, NOW_S)
    assert rollout_of({"status": status}) == rollout
    assert status["nodes"] == {"total": 30, "updated": 3, "updating": 1, "failed": 26}
    assert len(status["failedNodes"]) == 20
    assert (status["wave"], status["waves"], status["observedGeneration"]) == (3, 4, 7)
    again = status_of(made, firmware, status, NOW_S + 60)
    assert again == status


def test_the_condition_says_since_when() -> None:
    firmware = EdgeFirmware(name="f", generation=1, version="1.1.0", selector={})
    done = Plan(rollout=Rollout(version="1.1.0", phase=Phase.COMPLETED))
    going = Plan(rollout=Rollout(version="1.1.0"))
    before = status_of(going, firmware, {}, NOW_S)
    after = status_of(done, firmware, before, NOW_S + 60)
    assert [one["conditions"][0]["status"] for one in (before, after)] == ["False", "True"]
    assert before["conditions"][0]["lastTransitionTime"] != after["conditions"][0]["lastTransitionTime"]


@pytest.mark.parametrize("status", [None, {}, {"phase": "Invalid", "version": "1.1.0"}, {"phase": "Progressing"}])
def test_a_status_that_says_nothing_begins_anew(status: dict[str, str] | None) -> None:
    assert rollout_of({"status": status}) is None


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "spec.version: None"),
        ({"version": "latest"}, "'latest' is no version"),
        ({"version": "1.1.0", "waves": ["0%"]}, "'0%' is neither"),
        ({"version": "1.1.0", "waves": ["110%"]}, "'110%' is neither"),
        ({"version": "1.1.0", "waves": ["1.5"]}, "'1.5' is neither"),
        ({"version": "1.1.0", "healthySeconds": -1}, "spec.healthySeconds"),
        ({"version": "1.1.0", "failuresAllowed": True}, "spec.failuresAllowed"),
    ],
)
def test_wishes_that_cannot_be_carried_out(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ResourceError) as caught:
        read({"metadata": {"name": "f"}, "spec": spec})
    assert words in str(caught.value)


def test_what_is_not_said_has_a_default() -> None:
    firmware = read({"metadata": {"name": "f", "generation": 3}, "spec": {"version": "1.1.0"}})
    assert (firmware.waves, firmware.healthy_s, firmware.component) == (("1", "10%", "50%", "100%"), 600, "manager")
