"""The two programs: the controller of rollouts in the cluster, and the keeper on each node."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from time import monotonic, time
from typing import Any, Final

from lightkube import ApiError, Client
from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event
from lightkube.types import PatchType

from edgeroot.edge.firmware.keeper import FirmwareKeeper, StepError
from edgeroot.edge.firmware.node import Step
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
from edgeroot.edge.firmware.plan import plan
from edgeroot.edge.firmware.resource import ResourceError, read
from edgeroot.edge.following import TROUBLE, Follower, Object, Objects
from edgeroot.edge.kinds import API_VERSION, EdgeFirmware, EdgeNode

_CONFLICT: Final = 409
# Waves last for minutes: nothing is gained by planning more often.
_PLAN_S: Final = 2.0
_LOOK_S: Final = 30.0
_EVENTS_NAMESPACE: Final = "default"  # where Kubernetes wants those about what has none
_log: Final = logging.getLogger(__name__)


class RolloutController:
    """Plans every few seconds from what the watches have told, and keeps nothing that is not in the cluster."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._nodes = Objects()
        self._firmwares = Objects()
        self._node_changes = Follower(client, EdgeNode)
        self._firmware_changes = Follower(client, EdgeFirmware)
        self._knows_nodes = False

    def run(self, stop: threading.Event) -> None:
        self._node_changes.start()
        self._firmware_changes.start()
        while not stop.is_set():
            begun_s = monotonic()
            for change in self._firmware_changes.changes(0.0):
                self._firmwares.take(change)
            for change in self._node_changes.changes(0.0):
                self._nodes.take(change)
                self._knows_nodes = True
            # Before all nodes are known, the percentages of waves would be of too few.
            if self._knows_nodes:
                self._plan_all()
            stop.wait(max(0.0, _PLAN_S - (monotonic() - begun_s)))

    def _plan_all(self) -> None:
        taken: set[str] = set()
        # Where two select the same node, it is the older one's: otherwise it would be told by both in turn.
        for resource in sorted(self._firmwares.values(), key=_age):
            try:
                self._go_on(resource, taken)
            except TROUBLE as error:
                _log.warning("%s: the API server: %s", resource["metadata"]["name"], error)

    def _go_on(self, resource: Object, taken: set[str]) -> None:
        name, now_s = resource["metadata"]["name"], time()
        before: Mapping[str, Any] = resource.get("status") or {}
        try:
            firmware = read(resource)
        except ResourceError as error:
            if before.get("message") != str(error):
                self._write(name, {"phase": "Invalid", "message": str(error)})
            return
        selected = [one for key, one in self._nodes.items() if key not in taken and is_selected(one, firmware)]
        taken.update(one["metadata"]["name"] for one in selected)
        nodes = [node_view(one, firmware.component) for one in selected]
        made = plan(firmware, rollout_of(resource), nodes, now_s)
        for node_name, assignment in made.assign:
            # With the resourceVersion that was planned by: a node that has changed meanwhile is planned anew.
            version = self._nodes[node_name]["metadata"]["resourceVersion"]
            patch = {**assignment_patch(assignment), "metadata": {"resourceVersion": version}}
            try:
                self._nodes[node_name] = self._client.patch(EdgeNode, node_name, patch, patch_type=PatchType.MERGE)
            except ApiError as error:
                if error.status.code != _CONFLICT:
                    raise
        status = status_of(made, firmware, before, now_s)
        if status != before:
            self._write(name, status)
            if status["phase"] != before.get("phase") or status["wave"] != before.get("wave"):
                self._tell(resource, status["phase"], status["message"])

    def _write(self, name: str, status: Mapping[str, Any]) -> None:
        patch = {"status": dict(status)}
        self._firmwares[name] = self._client.patch(EdgeFirmware.Status, name, patch, patch_type=PatchType.MERGE)

    def _tell(self, resource: Object, phase: str, message: str) -> None:
        metadata, now = resource["metadata"], datetime.now(UTC)
        about = ObjectReference(apiVersion=API_VERSION, kind="EdgeFirmware", name=metadata["name"], uid=metadata["uid"])
        self._client.create(
            Event(
                metadata=ObjectMeta(generateName=f"{metadata['name']}-", namespace=_EVENTS_NAMESPACE),
                involvedObject=about,
                reason=phase,
                message=message,
                type="Warning" if phase in {"RollingBack", "RolledBack"} else "Normal",
                source=EventSource(component="edgeroot-firmware"),
                firstTimestamp=now,
                lastTimestamp=now,
                count=1,
            )
        )


def keep_firmware(client: Client, node_name: str, keeper: FirmwareKeeper, stop: threading.Event) -> None:
    """Follow this node's EdgeNode, and take one step after the other until it runs what it is to run."""
    follower = Follower(client, EdgeNode, fields={"metadata.name": node_name})
    follower.start()
    known = Objects()
    is_busy = False
    while not stop.is_set():
        # Each node at a moment of its own: those of a wave are told at once.
        pause_s = 1.0 if is_busy else random.uniform(1.0, _LOOK_S)
        for change in follower.changes(pause_s):
            known.take(change)
        edge_node = known.get(node_name, {})
        wanted = wanted_version(edge_node)
        if wanted is None:
            is_busy = False
            continue
        try:
            decision = keeper.advance(wanted)
            is_busy = decision.step in {Step.INSTALL, Step.RESTART, Step.REJECT}
            if decision.report != report_of(edge_node):
                known[node_name] = client.patch(
                    EdgeNode.Status, node_name, report_patch(decision.report), patch_type=PatchType.MERGE
                )
        except StepError as error:
            _log.warning("the device does not say what it runs: %s", error)
            is_busy = False
        except TROUBLE as error:
            # The steps go on without the API server: what was told stays true.
            _log.warning("the API server: %s", error)


def _age(resource: Object) -> tuple[str, str]:
    return resource["metadata"].get("creationTimestamp") or "", resource["metadata"]["name"]
