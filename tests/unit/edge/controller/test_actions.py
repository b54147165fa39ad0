from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeroot.edge.controller.actions import Actions, decide, is_ours, read_status, release, status_document
from edgeroot.edge.controller.names import ATTESTED_LABEL, CONTRAINDICATED_TAINT, UNATTESTED_TAINT
from edgeroot.edge.controller.records import EdgeNode, Effect, Node, Result, Selector, State, Status, Taint, Tier
from edgeroot.edge.controller.verdict import Judgement, Policy
from tests.unit.edge.controller.test_verdict import EDGE, GOOD, NODE, NOON_S, NOW, later

BARE = Judgement(state=State.UNATTESTED, reason="the verifier has no result about the device")
AFFIRMED = Judgement(state=State.AFFIRMED, reason=GOOD.reason, result=GOOD)
BAD = replace(GOOD, tier=Tier.CONTRAINDICATED, reason="tampered with")
CONTRAINDICATED = Judgement(state=State.CONTRAINDICATED, reason="tampered with", result=BAD)
EXPIRED = Judgement(state=State.EXPIRED, reason="it expired", result=GOOD)
NO_SCHEDULE = Taint(UNATTESTED_TAINT, Effect.NO_SCHEDULE)
THEIRS = Taint("node.kubernetes.io/not-ready", "NoExecute", "", "2026-11-27T11:00:00Z")
VALUED = Taint("dedicated", "NoSchedule", "cameras")


def actions(
    judgement: Judgement, node: Node | None = NODE, edge: EdgeNode | None = EDGE, policy: Policy | None = None
) -> Actions:
    return decide(edge, node, judgement, now=NOW, policy=policy or Policy())


def taints(found: Actions) -> list[tuple[str, str]]:
    assert found.node is not None
    return [(one["key"], one["effect"]) for one in found.node["spec"]["taints"]]


def label(found: Actions) -> str | None:
    assert found.node is not None
    value: str | None = found.node["metadata"]["labels"][ATTESTED_LABEL]
    return value


def shown(edge: EdgeNode, found: Actions) -> EdgeNode:
    """The EdgeNode once the actions are carried out."""
    assert found.status is not None
    return replace(edge, status=read_status(found.status["status"]))


def test_an_unattested_node_gets_the_taint_and_others_taints_are_kept_as_they_are() -> None:
    found = actions(BARE, replace(NODE, taints=(VALUED, THEIRS)))

    assert found.node == {
        "metadata": {"uid": "n1", "resourceVersion": "1", "labels": {ATTESTED_LABEL: None}},
        "spec": {
            "taints": [
                {"key": "dedicated", "effect": "NoSchedule", "value": "cameras"},
                {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": "2026-11-27T11:00:00Z"},
                {"key": "edgeroot.dev/unattested", "effect": "NoSchedule"},
            ]
        },
    }


def test_an_affirmed_node_gets_the_label_and_loses_our_taints_in_one_patch() -> None:
    ours = (NO_SCHEDULE, THEIRS, Taint(CONTRAINDICATED_TAINT, Effect.NO_EXECUTE))

    found = actions(AFFIRMED, replace(NODE, taints=ours))

    assert label(found) == "true"
    assert taints(found) == [("node.kubernetes.io/not-ready", "NoExecute")]


def test_a_contraindicated_node_loses_label_and_workloads() -> None:
    found = actions(CONTRAINDICATED, replace(NODE, attested="true"))

    assert label(found) is None
    assert taints(found) == [(CONTRAINDICATED_TAINT, "NoExecute"), (UNATTESTED_TAINT, "NoSchedule")]


def test_an_expired_node_keeps_its_workloads_unless_somebody_says_otherwise() -> None:
    node = replace(NODE, attested="true")

    assert taints(actions(EXPIRED, node)) == [(UNATTESTED_TAINT, "NoSchedule")]
    evicting = actions(EXPIRED, node, policy=Policy(evict_expired=True))
    assert taints(evicting) == [(UNATTESTED_TAINT, "NoExecute"), (UNATTESTED_TAINT, "NoSchedule")]


@pytest.mark.parametrize("judgement", [BARE, AFFIRMED, CONTRAINDICATED, EXPIRED])
def test_what_is_shown_already_is_not_written_again(judgement: Judgement) -> None:
    node = NODE
    first = actions(judgement, node)
    if first.node is not None:
        ours = tuple(Taint(one["key"], one["effect"]) for one in first.node["spec"]["taints"])
        node = replace(NODE, attested=first.node["metadata"]["labels"][ATTESTED_LABEL], taints=ours)

    again = decide(shown(EDGE, first), node, judgement, now=later(500), policy=Policy())

    assert not again
    assert again == Actions()


def test_a_taint_with_a_value_is_ours_as_well() -> None:
    # As a kubelet registers it: --register-with-taints=edgeroot.dev/unattested=true:NoSchedule
    node = replace(NODE, taints=(replace(NO_SCHEDULE, value="true"),))

    assert actions(BARE, node).node is None
    assert taints(actions(AFFIRMED, node)) == []


def test_a_wrong_value_of_the_label_is_put_right() -> None:
    assert label(actions(AFFIRMED, replace(NODE, attested="yes"))) == "true"
    assert label(actions(BARE, replace(NODE, attested="", taints=(NO_SCHEDULE,)))) is None


def test_a_mere_reaffirmation_writes_the_status_only() -> None:
    node = replace(NODE, attested="true")
    edge = shown(EDGE, actions(AFFIRMED, node))
    next_one = replace(GOOD, evaluated_s=NOON_S + 540, expires_s=NOON_S + 2340)

    found = decide(edge, node, replace(AFFIRMED, result=next_one), now=later(600), policy=Policy())

    assert found.node is None
    assert found.announcement is None
    assert found.status is not None
    assert found.status["status"]["appraisal"]["expiresAt"] == "2026-11-27T12:39:00Z"
    assert found.status["status"]["conditions"][0]["lastTransitionTime"] == "2026-11-27T12:00:00Z"


def test_the_status_says_everything_in_words() -> None:
    found = actions(AFFIRMED)

    assert found.status == {
        "metadata": {"uid": "e1"},
        "status": {
            "state": "Affirmed",
            "nodeUID": "n1",
            "appraisal": {
                "device": "01ab",
                "status": "affirming",
                "reason": "everything is known",
                "evaluatedAt": "2026-11-27T11:59:00Z",
                "expiresAt": "2026-11-27T12:29:00Z",
                "lifecycle": "secured",
                "firmware": [{"component": "BL", "version": "1.0"}],
            },
            "conditions": [
                {
                    "type": "Attested",
                    "status": "True",
                    "reason": "Affirmed",
                    "message": "everything is known",
                    "lastTransitionTime": "2026-11-27T12:00:00Z",
                }
            ],
        },
    }


@pytest.mark.parametrize(
    "status",
    [
        Status(state=State.AFFIRMED, reason="r", result=GOOD, node_uid="n1", since_s=NOON_S),
        Status(state=State.UNATTESTED, reason="r", result=Result(device="01ab", tier=Tier.NONE), since_s=NOON_S),
        Status(state=State.CONTRAINDICATED, reason="r", result=BAD, since_s=NOON_S),
        Status(state=State.UNATTESTED, reason="", since_s=NOON_S),
    ],
)
def test_a_status_is_read_as_it_was_written(status: Status) -> None:
    document = status_document(status)
    # A merge patch with null takes a field away.
    stored = {key: value for key, value in document.items() if value is not None}
    if stored.get("appraisal"):
        stored["appraisal"] = {key: value for key, value in stored["appraisal"].items() if value is not None}

    assert read_status(stored) == status


@pytest.mark.parametrize(
    "document", [{}, {"inventory": {}}, {"state": "Affirmed"}, {"state": "Fine", "conditions": [{"type": "Attested"}]}]
)
def test_a_status_that_is_not_the_controllers_is_none(document: dict[str, Any]) -> None:
    assert read_status(document) is None


def test_a_change_of_state_is_announced_and_a_beginning_is_not() -> None:
    assert actions(BARE).announcement is None
    begun = shown(EDGE, actions(BARE))

    affirmed = decide(begun, NODE, AFFIRMED, now=NOW, policy=Policy()).announcement
    assert affirmed is not None
    assert (affirmed.state, affirmed.normal, affirmed.note) == (State.AFFIRMED, True, "everything is known")
    bad = actions(CONTRAINDICATED).announcement
    assert bad is not None
    assert (bad.state, bad.normal, bad.note) == (State.CONTRAINDICATED, False, "tampered with")


def test_the_node_that_was_affirmed_is_remembered_through_what_comes_after() -> None:
    edge = shown(EDGE, actions(AFFIRMED))

    waiting = decide(edge, replace(NODE, uid="n2"), BARE, now=NOW, policy=Policy())

    assert waiting.status is not None
    assert waiting.status["status"]["nodeUID"] == "n1"


def test_nothing_is_affirmed_before_the_verifier_was_heard() -> None:
    unconfirmed = replace(AFFIRMED, confirmed=False)

    assert actions(unconfirmed, replace(NODE, taints=(NO_SCHEDULE,))).node is None
    assert actions(replace(BARE, confirmed=False)).node is not None


def test_nodes_of_others_are_left_alone() -> None:
    assert actions(BARE, edge=None) == Actions()
    assert actions(BARE, node=None, edge=None) == Actions()


@pytest.mark.parametrize(
    "node",
    [
        replace(NODE, selected=True),
        replace(NODE, attested="true"),
        replace(NODE, taints=(Taint(CONTRAINDICATED_TAINT, Effect.NO_EXECUTE),)),
    ],
)
def test_a_node_without_an_edge_node_is_ours_if_selected_or_marked(node: Node) -> None:
    assert is_ours(node)
    found = actions(BARE, node, edge=None)
    assert label(found) is None
    assert taints(found) == [(UNATTESTED_TAINT, "NoSchedule")]
    assert found.status is None


def test_an_edge_node_without_a_node_says_how_its_device_stands() -> None:
    found = actions(AFFIRMED, node=None)

    assert found.node is None
    assert found.status is not None
    assert found.status["status"]["state"] == "Affirmed"
    assert found.status["status"]["nodeUID"] is None


def test_a_node_that_is_set_free_loses_all_marks() -> None:
    marked = replace(NODE, attested="true", taints=(NO_SCHEDULE, THEIRS))

    freed = Actions(node=release(marked))

    assert label(freed) is None
    assert taints(freed) == [("node.kubernetes.io/not-ready", "NoExecute")]
    assert release(replace(NODE, taints=(THEIRS,))) is None


@pytest.mark.parametrize("text", ["", "edge", "=x", "edge!=x", "edge==x", "a=b,c"])
def test_a_selector_that_would_select_otherwise_than_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="selector"):
        Selector.parse(text)


def test_a_selector_wants_all_its_labels() -> None:
    selector = Selector.parse("site=north, kind=gateway")

    assert selector.matches({"site": "north", "kind": "gateway", "more": ""})
    assert not selector.matches({"site": "north"})
