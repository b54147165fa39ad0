"""How a rollout goes on: who is told to take the release now, and whether it pauses or goes back. Pure.

A wave is done when all of its nodes run the release, are affirmed with it, and have stayed so for a while. Nodes that
were not in trust before take the release, too, as it may be what they need; but no later wave waits for them, and they
are not counted as failures: they had failed before. Only the end waits until each is affirmed, has failed, or has had
its time, so that a rollout that says it is completed does nothing more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from edgeroot.edge.firmware.resource import EdgeFirmware


class Phase(StrEnum):
    """Of a rollout."""

    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    COMPLETED = "Completed"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"


class NodePhase(StrEnum):
    """Of a node's update, as its keeper reports it."""

    INSTALLING = "Installing"
    ON_TRIAL = "OnTrial"
    ACCEPTED = "Accepted"
    FAILED = "Failed"


class Progress(StrEnum):
    """Of one node, by what the verifier says and, where it failed, by what the node says."""

    WAITING = "waiting"
    UPDATING = "updating"
    UPDATED = "updated"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """``EdgeNode.spec.firmware``: what the node is to run, since when, and what it ran and was before."""

    version: str
    assigned_s: float
    previous: str
    was_affirmed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``EdgeNode.status.inventory.firmware``: what the node says of its update."""

    version: str
    phase: NodePhase
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A node of the rollout. ``running`` is the version that the verifier was shown; empty if it was shown none."""

    name: str
    state: str
    running: str
    evaluated_s: float
    assignment: Assignment | None = None
    report: Report | None = None

    @property
    def is_affirmed(self) -> bool:
        return self.state == "Affirmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """``EdgeFirmware.status``, as far as it decides. ``wave`` counts from 0; ``ready_s``: since when it is healthy."""

    version: str
    phase: Phase = Phase.PROGRESSING
    wave: int = 0
    ready_s: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What follows: assignments by node, and the state after them."""

    rollout: Rollout
    assign: tuple[tuple[str, Assignment], ...] = ()
    total: int = 0
    updated: int = 0
    updating: int = 0
    failed: tuple[str, ...] = ()


def plan(firmware: EdgeFirmware, before: Rollout | None, nodes: Iterable[NodeView], now_s: float) -> Plan:
    """The next step. The same facts give the same plan, so that a restart in between changes nothing."""
    ordered = sorted(nodes, key=lambda node: _order(firmware, node))
    rollout = before if before is not None and before.version == firmware.version else Rollout(version=firmware.version)
    progress = [(node, _progress(firmware, node, now_s)) for node in ordered]
    failed = tuple(node.name for node, how in progress if how is Progress.FAILED)
    counts = Plan(
        rollout=rollout,
        total=len(ordered),
        updated=sum(how is Progress.UPDATED for _, how in progress),
        updating=sum(how is Progress.UPDATING for _, how in progress),
        failed=failed,
    )
    if rollout.phase in {Phase.ROLLING_BACK, Phase.ROLLED_BACK} or len(failed) > firmware.failures_allowed:
        return _back(firmware, counts, ordered, now_s)
    if firmware.paused:
        return replace(counts, rollout=replace(rollout, phase=Phase.PAUSED, ready_s=None, message="spec.paused is set"))
    return _forward(firmware, counts, progress, now_s)


def _order(firmware: EdgeFirmware, node: NodeView) -> tuple[bool, bytes]:
    """Nodes in trust first; otherwise in no order that anybody has chosen, another one for each release."""
    chance = hashlib.sha256(f"{firmware.version}\0{node.name}".encode()).digest()
    was_affirmed = node.assignment.was_affirmed if _has_it(firmware, node) and node.assignment else node.is_affirmed
    return not was_affirmed, chance


def _has_it(firmware: EdgeFirmware, node: NodeView) -> bool:
    return node.assignment is not None and node.assignment.version == firmware.version


def _progress(firmware: EdgeFirmware, node: NodeView, now_s: float) -> Progress:
    assignment = node.assignment
    if node.is_affirmed and node.running == firmware.version:
        return Progress.UPDATED
    if assignment is None or assignment.version != firmware.version:
        return Progress.WAITING
    if not assignment.was_affirmed:
        return Progress.UPDATING
    if _says_it_failed(firmware, node):
        return Progress.FAILED
    if node.state == "Contraindicated" and node.evaluated_s > assignment.assigned_s:
        return Progress.FAILED
    if now_s - assignment.assigned_s > firmware.node_timeout_s:
        return Progress.FAILED
    return Progress.UPDATING


def _says_it_failed(firmware: EdgeFirmware, node: NodeView) -> bool:
    report = node.report
    return report is not None and report.version == firmware.version and report.phase is NodePhase.FAILED


def _is_awaited(firmware: EdgeFirmware, node: NodeView, is_last: bool, now_s: float) -> bool:
    assignment = node.assignment
    if assignment is None or assignment.was_affirmed:
        return assignment is not None
    return is_last and not _says_it_failed(firmware, node) and now_s - assignment.assigned_s <= firmware.node_timeout_s


def _forward(firmware: EdgeFirmware, counts: Plan, progress: Sequence[tuple[NodeView, Progress]], now_s: float) -> Plan:
    rollout = counts.rollout
    sizes = firmware.wave_sizes(counts.total)
    wave = min(rollout.wave, len(sizes) - 1)
    begun = [(node, how) for node, how in progress if how is not Progress.WAITING]
    waiting = [node for node, how in progress if how is Progress.WAITING]
    assign = tuple(
        (node.name, _assignment(firmware.version, node, now_s)) for node in waiting[: max(0, sizes[wave] - len(begun))]
    )
    is_last = wave == len(sizes) - 1
    missing = [node for node, how in begun if how is Progress.UPDATING and _is_awaited(firmware, node, is_last, now_s)]
    ready = not assign and not missing
    ready_s = None if not ready else rollout.ready_s if rollout.ready_s is not None else now_s
    message = f"wave {wave + 1} of {len(sizes)}: {counts.updated} of {sizes[wave]} nodes are affirmed with it"
    after = Rollout(version=firmware.version, phase=Phase.PROGRESSING, wave=wave, ready_s=ready_s, message=message)
    if ready_s is not None and now_s - ready_s >= firmware.healthy_s:
        if is_last:
            done = f"{counts.updated} of {counts.total} nodes are affirmed with it"
            after = replace(after, phase=Phase.COMPLETED, message=done)
        else:
            after = replace(after, wave=wave + 1, ready_s=None)
    elif is_last and rollout.phase is Phase.COMPLETED and ready:
        after = replace(after, phase=Phase.COMPLETED)
    return replace(counts, rollout=after, assign=assign)


def _back(firmware: EdgeFirmware, counts: Plan, nodes: Sequence[NodeView], now_s: float) -> Plan:
    """Everybody is told to run what they ran before. On trial that is a matter of a restart."""
    assign = tuple(
        (node.name, replace(_assignment(node.assignment.previous, node, now_s), previous=firmware.version))
        for node in nodes
        if node.assignment is not None and node.assignment.version == firmware.version and node.assignment.previous
    )
    left = [node for node in nodes if _goes_back(firmware, node)]
    phase = Phase.ROLLING_BACK if assign or left else Phase.ROLLED_BACK
    rollout = counts.rollout
    why = rollout.message
    if rollout.phase not in {Phase.ROLLING_BACK, Phase.ROLLED_BACK}:
        why = f"failed on {', '.join(counts.failed[:5])}: nodes go back to what they ran before"
    return replace(counts, rollout=replace(rollout, phase=phase, ready_s=None, message=why), assign=assign)


def _goes_back(firmware: EdgeFirmware, node: NodeView) -> bool:
    """Whether a node that was told to go back still runs the release, and has not said that it cannot."""
    assignment, report = node.assignment, node.report
    if assignment is None or assignment.previous != firmware.version or node.running != firmware.version:
        return False
    return report is None or report.version != assignment.version or report.phase is not NodePhase.FAILED


def _assignment(version: str, node: NodeView, now_s: float) -> Assignment:
    return Assignment(version=version, assigned_s=now_s, previous=node.running, was_affirmed=node.is_affirmed)
