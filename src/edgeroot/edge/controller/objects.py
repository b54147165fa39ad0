"""Kubernetes objects turned into the few facts that are kept of them: a Node alone is about 20 kB."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from lightkube.models import coordination_v1
from lightkube.models.core_v1 import ObjectReference
from lightkube.models.core_v1 import Taint as TaintModel
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources import core_v1
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.events_v1 import Event

from edgeroot.edge.controller.actions import Announcement, read_status
from edgeroot.edge.controller.lease import Record
from edgeroot.edge.controller.names import ATTESTED_LABEL
from edgeroot.edge.controller.records import EdgeNode, Node, Selector, Taint, time_text
from edgeroot.edge.kinds import API_VERSION, GROUP

# Events about what has no namespace are in this one.
EVENTS_NAMESPACE: Final = "default"
_NOTE_MAX_BYTES: Final = 1024


def node_of(found: core_v1.Node, selector: Selector | None) -> Node:
    """``selector`` None: no node is ours by its labels."""
    meta = found.metadata or ObjectMeta()
    labels = meta.labels or {}
    taints = found.spec.taints if found.spec is not None else None
    return Node(
        name=meta.name or "",
        uid=meta.uid or "",
        version=meta.resourceVersion or "",
        attested=labels.get(ATTESTED_LABEL),
        selected=selector is not None and selector.matches(labels),
        taints=tuple(_taint_of(one) for one in taints or ()),
    )


def _taint_of(found: TaintModel) -> Taint:
    added = None if found.timeAdded is None else time_text(int(found.timeAdded.timestamp()))
    return Taint(found.key, found.effect, found.value or "", added)


def edge_of(found: Mapping[str, Any]) -> EdgeNode:
    meta, status = found["metadata"], found.get("status")
    return EdgeNode(
        name=meta["name"],
        uid=meta["uid"],
        version=meta["resourceVersion"],
        device=found["spec"]["device"],
        status=read_status(status) if status else None,
    )


def event_of(announcement: Announcement, now_s: float, reporter: str) -> Event:
    """An Event (events.k8s.io/v1) about the EdgeNode."""
    return Event(
        metadata=ObjectMeta(generateName=f"{announcement.name}-", namespace=EVENTS_NAMESPACE),
        eventTime=micro_time(now_s),
        action="Appraise",
        note=announcement.note.encode()[:_NOTE_MAX_BYTES].decode(errors="ignore"),
        reason=str(announcement.state),
        regarding=ObjectReference(
            apiVersion=API_VERSION, kind="EdgeNode", name=announcement.name, uid=announcement.uid
        ),
        reportingController=f"{GROUP}/controller",
        reportingInstance=reporter,
        type="Normal" if announcement.normal else "Warning",
    )


def record_of(found: Lease) -> Record:
    spec = found.spec or coordination_v1.LeaseSpec()
    version = found.metadata.resourceVersion if found.metadata is not None else None
    return Record(
        version=version or "",
        holder=spec.holderIdentity or "",
        duration_s=spec.leaseDurationSeconds or 0,
        transitions=spec.leaseTransitions or 0,
    )


def lease_of(record: Record, *, name: str, namespace: str, now_s: float) -> Lease:
    """``record.version`` makes it a replacement of what was read, and of nothing else."""
    return Lease(
        metadata=ObjectMeta(name=name, namespace=namespace, resourceVersion=record.version or None),
        spec=coordination_v1.LeaseSpec(
            holderIdentity=record.holder,
            leaseDurationSeconds=record.duration_s,
            leaseTransitions=record.transitions,
            renewTime=micro_time(now_s),
        ),
    )


def micro_time(at_s: float) -> datetime:
    """A MicroTime. It is written with six decimals, as the API server demands, only if they are not all 0."""
    at = datetime.fromtimestamp(at_s, UTC)
    return at.replace(microsecond=max(1, at.microsecond))
