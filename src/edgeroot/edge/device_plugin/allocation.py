"""What a container gets with a slot."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from edgeroot.edge.device_plugin.slots import SOCKET_NAME, Slot

ENDPOINT_VARIABLE: Final = "PARSEC_SERVICE_ENDPOINT"
CONTAINER_FOLDER: Final = "/run/parsec"
ENDPOINT: Final = f"unix:{CONTAINER_FOLDER}/{SOCKET_NAME}"


@dataclass(frozen=True, slots=True)
class AllocationError(Exception):
    """A container cannot have what it asks for; the kubelet shows the words among the pod's events."""

    words: str

    def __str__(self) -> str:
        return self.words


def slot_for(device_ids: Sequence[str], slots: Collection[Slot], resource: str) -> Slot:
    """The one slot that a container asks for; AllocationError."""
    if len(device_ids) != 1:
        raise AllocationError(
            f"a container can use one slot and asks for {len(device_ids)}: set the limit {resource} to 1"
        )
    for slot in slots:
        if slot.device_id == device_ids[0]:
            return slot
    raise AllocationError(f"{device_ids[0]!r} is no {resource} of this node: delete the pod, and it is placed anew")
