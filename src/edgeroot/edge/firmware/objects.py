"""EdgeNodes and EdgeFirmwares as the API server has them, and the facts that rollouts are planned by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from edgeroot.edge.firmware.plan import Assignment, NodePhase, NodeView, Phase, Plan, Report, Rollout
from edgeroot.edge.firmware.resource import EdgeFirmware

_NAMED: Final = 20  # of the failed nodes: the others are counted


def node_view(edge_node: Mapping[str, Any], component: str) -> NodeView:
    """What a rollout has to know of an EdgeNode. ``component``: whose version is the release's."""
    status = edge_node.get("status") or {}
    appraisal = status.get("appraisal") or {}
    versions = {one.get("component"): one.get("version") or "" for one in appraisal.get("firmware") or ()}
    return NodeView(
        name=edge_node["metadata"]["name"],
        state=status.get("state") or "Unattested",
        running=versions.get(component, ""),
        evaluated_s=_seconds(appraisal.get("evaluatedAt")),
        assignment=_assignment((edge_node.get("spec") or {}).get("firmware")),
        report=report_of(edge_node),
    )


def report_of(edge_node: Mapping[str, Any]) -> Report | None:
    """What the node says of its update; None if it says nothing that is understood."""
    told = ((edge_node.get("status") or {}).get("inventory") or {}).get("firmware") or {}
    if told.get("phase") not in set(NodePhase) or not told.get("version"):
        return None
    return Report(version=told["version"], phase=NodePhase(told["phase"]), message=told.get("message") or "")


def wanted_version(edge_node: Mapping[str, Any]) -> str | None:
    """What the node is to run; None if nobody has said so."""
    assignment = _assignment((edge_node.get("spec") or {}).get("firmware"))
    return assignment.version if assignment else None


def is_selected(edge_node: Mapping[str, Any], firmware: EdgeFirmware) -> bool:
    labels = edge_node["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in firmware.selector.items())


def rollout_of(resource: Mapping[str, Any]) -> Rollout | None:
    status = resource.get("status") or {}
    if status.get("phase") not in set(Phase) or not status.get("version"):
        return None
    return Rollout(
        version=status["version"],
        phase=Phase(status["phase"]),
        wave=int(status.get("wave", 1)) - 1,
        ready_s=_seconds(status["healthySince"]) if status.get("healthySince") else None,
        message=status.get("message") or "",
    )


def assignment_patch(assignment: Assignment) -> dict[str, Any]:
    """A merge patch of an EdgeNode."""
    told = {
        "version": assignment.version,
        "assignedAt": _text(assignment.assigned_s),
        "previous": assignment.previous,
        "wasAffirmed": assignment.was_affirmed,
    }
    return {"spec": {"firmware": told}}


def report_patch(report: Report) -> dict[str, Any]:
    """A merge patch of an EdgeNode's status."""
    told = {"version": report.version, "phase": str(report.phase), "message": report.message}
    return {"status": {"inventory": {"firmware": told}}}


def status_of(plan: Plan, firmware: EdgeFirmware, before: Mapping[str, Any], now_s: float) -> dict[str, Any]:
    """``status`` as a whole; the condition Complete keeps its time as long as it is the same."""
    rollout = plan.rollout
    complete = rollout.phase is Phase.COMPLETED
    condition = {
        "type": "Complete",
        "status": "True" if complete else "False",
        "reason": str(rollout.phase),
        "message": rollout.message,
        "lastTransitionTime": _text(now_s),
    }
    for one in before.get("conditions") or ():
        if one.get("type") == "Complete" and one.get("status") == condition["status"]:
            condition["lastTransitionTime"] = one["lastTransitionTime"]
    return {
        "observedGeneration": firmware.generation,
        "version": rollout.version,
        "phase": str(rollout.phase),
        "wave": rollout.wave + 1,
        "waves": len(firmware.wave_sizes(plan.total)),
        "healthySince": None if rollout.ready_s is None else _text(rollout.ready_s),
        "message": rollout.message,
        "nodes": {
            "total": plan.total,
            "updated": plan.updated,
            "updating": plan.updating,
            "failed": len(plan.failed),
        },
        "failedNodes": list(plan.failed[:_NAMED]),
        "conditions": [condition],
    }


def _assignment(told: Mapping[str, Any] | None) -> Assignment | None:
    if not told or not told.get("version"):
        return None
    return Assignment(
        version=told["version"],
        assigned_s=_seconds(told.get("assignedAt")),
        previous=told.get("previous") or "",
        was_affirmed=bool(told.get("wasAffirmed")),
    )


def _seconds(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def _text(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
