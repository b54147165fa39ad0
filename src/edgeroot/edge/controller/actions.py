"""What has to be written so that the cluster shows how a node stands: nothing if it does already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from edgeroot.edge.controller.names import ATTESTED, ATTESTED_LABEL, CONDITION, CONTRAINDICATED_TAINT, TAINTS
from edgeroot.edge.controller.names import UNATTESTED_TAINT as UNATTESTED
from edgeroot.edge.controller.records import (
    EdgeNode,
    Effect,
    Moment,
    Node,
    Result,
    State,
    Status,
    Taint,
    Tier,
    time_of,
    time_text,
)
from edgeroot.edge.controller.verdict import Judgement, Policy

Document: TypeAlias = dict[str, Any]
"""A part of an object as JSON has it."""

_NO_SCHEDULE: Final = Taint(UNATTESTED, Effect.NO_SCHEDULE)
_NO_EXECUTE: Final = Taint(UNATTESTED, Effect.NO_EXECUTE)
_CONTRAINDICATED: Final = Taint(CONTRAINDICATED_TAINT, Effect.NO_EXECUTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """An Event about an EdgeNode: that it stands otherwise than before."""

    name: str
    uid: str
    state: State
    note: str

    @property
    def normal(self) -> bool:
        return self.state is State.AFFIRMED


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """Merge patches (RFC 7396) of the Node and of its EdgeNode's status, and what to announce."""

    node: Document | None = None
    status: Document | None = None
    announcement: Announcement | None = None

    def __bool__(self) -> bool:
        return self.node is not None or self.status is not None


def decide(edge: EdgeNode | None, node: Node | None, judgement: Judgement, *, now: Moment, policy: Policy) -> Actions:
    """What follows from the judgement. ``edge`` None: there is nothing to say it in; ``node`` None: no node yet."""
    patch = None if node is None or not (edge or is_ours(node)) else _node_patch(node, judgement, policy)
    if edge is None:
        return Actions(node=patch)
    status = _status(edge.status, node, judgement, now=now)
    if status == edge.status:
        return Actions(node=patch)
    announcement = None
    known = edge.status.state if edge.status is not None else State.UNATTESTED
    if status.state is not known:
        announcement = Announcement(name=edge.name, uid=edge.uid, state=status.state, note=status.reason)
    document = {"metadata": {"uid": edge.uid}, "status": status_document(status)}
    return Actions(node=patch, status=document, announcement=announcement)


def is_ours(node: Node) -> bool:
    """Whether a node without an EdgeNode is: selected, or still marked by us. Nobody gets rid of marks by deleting."""
    return node.selected or node.attested is not None or any(one.key in TAINTS for one in node.taints)


def wanted_taints(state: State, policy: Policy) -> frozenset[Taint]:
    if state is State.AFFIRMED:
        return frozenset()
    if state is State.CONTRAINDICATED:
        return frozenset({_NO_SCHEDULE, _CONTRAINDICATED})
    if state is State.EXPIRED and policy.evict_expired:
        return frozenset({_NO_SCHEDULE, _NO_EXECUTE})
    return frozenset({_NO_SCHEDULE})


def release(node: Node) -> Document | None:
    """The patch that takes all our marks from a node; None if it has none."""
    return _patch(node, label=None, wanted=frozenset())


def _node_patch(node: Node, judgement: Judgement, policy: Policy) -> Document | None:
    affirmed = judgement.state is State.AFFIRMED
    if affirmed and not judgement.confirmed:
        return None
    return _patch(node, label=ATTESTED if affirmed else None, wanted=wanted_taints(judgement.state, policy))


def _patch(node: Node, *, label: str | None, wanted: frozenset[Taint]) -> Document | None:
    kept, missing = _compare(node.taints, wanted)
    if not missing and len(kept) == len(node.taints) and label == node.attested:
        return None
    # The list is written whole, so only if it is still the one that was read: the version says so.
    return {
        "metadata": {"uid": node.uid, "resourceVersion": node.version, "labels": {ATTESTED_LABEL: label}},
        "spec": {"taints": [_taint_document(one) for one in [*kept, *missing]]},
    }


def _compare(present: Sequence[Taint], wanted: frozenset[Taint]) -> tuple[list[Taint], list[Taint]]:
    """The taints that stay, among them all that are not ours, and those to add."""
    pairs = {(one.key, one.effect) for one in wanted}
    kept = [one for one in present if one.key not in TAINTS or (one.key, one.effect) in pairs]
    there = {(one.key, one.effect) for one in kept}
    missing = sorted(
        (one for one in wanted if (one.key, one.effect) not in there), key=lambda one: (one.key, one.effect)
    )
    return kept, missing


def _taint_document(taint: Taint) -> Document:
    document: Document = {"key": taint.key, "effect": str(taint.effect)}
    if taint.value:
        document["value"] = taint.value
    if taint.time_added is not None:
        document["timeAdded"] = taint.time_added
    return document


def _status(before: Status | None, node: Node | None, judgement: Judgement, *, now: Moment) -> Status:
    affirmed = judgement.state is State.AFFIRMED
    turned = before is None or (before.state is State.AFFIRMED) != affirmed
    node_uid = node.uid if affirmed and node is not None else (before.node_uid if before is not None else "")
    return Status(
        state=judgement.state,
        reason=judgement.reason,
        result=judgement.result,
        node_uid=node_uid,
        since_s=int(now.wall_s) if before is None or turned else before.since_s,
    )


def status_document(status: Status) -> Document:
    """What of the status is the controller's. None removes what was there before."""
    condition = {
        "type": CONDITION,
        "status": "True" if status.state is State.AFFIRMED else "False",
        "reason": str(status.state),
        "message": status.reason,
        "lastTransitionTime": time_text(status.since_s),
    }
    appraisal = None if status.result is None else _appraisal(status.result)
    return {
        "state": str(status.state),
        "nodeUID": status.node_uid or None,
        "appraisal": appraisal,
        "conditions": [condition],
    }


def _appraisal(result: Result) -> Document:
    return {
        "device": result.device,
        "status": str(result.tier),
        "reason": result.reason,
        "evaluatedAt": time_text(result.evaluated_s) if result.evaluated_s else None,
        "expiresAt": time_text(result.expires_s) if result.expires_s else None,
        "lifecycle": result.lifecycle,
        "firmware": [{"component": component, "version": version} for component, version in result.components],
    }


def read_status(document: Mapping[str, Any]) -> Status | None:
    """What :func:`status_document` wrote; None for what is not of its making, which is then written anew."""
    try:
        condition = next(one for one in document["conditions"] if one["type"] == CONDITION)
        appraisal = document.get("appraisal")
        return Status(
            state=State(document["state"]),
            reason=condition.get("message", ""),
            result=None if appraisal is None else _read_appraisal(appraisal),
            node_uid=document.get("nodeUID", ""),
            since_s=time_of(condition["lastTransitionTime"]),
        )
    except (KeyError, TypeError, ValueError, StopIteration):
        return None


def _read_appraisal(document: Mapping[str, Any]) -> Result:
    evaluated, expires = document.get("evaluatedAt"), document.get("expiresAt")
    return Result(
        device=document["device"],
        tier=Tier(document["status"]),
        reason=document.get("reason", ""),
        evaluated_s=time_of(evaluated) if evaluated else 0,
        expires_s=time_of(expires) if expires else 0,
        lifecycle=document.get("lifecycle", ""),
        components=tuple((one["component"], one["version"]) for one in document.get("firmware", ())),
    )
