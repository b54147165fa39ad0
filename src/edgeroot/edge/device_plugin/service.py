"""What the kubelet calls: the device plugin's side of the contract v1beta1."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import grpc

from edgeroot.edge.device_plugin.allocation import (
    CONTAINER_FOLDER,
    ENDPOINT,
    ENDPOINT_VARIABLE,
    AllocationError,
    slot_for,
)
from edgeroot.edge.device_plugin.devices import Devices, Listing
from edgeroot.edge.device_plugin.metrics import Metrics
from edgeroot.edge.device_plugin.probe import is_folder
from edgeroot.edge.device_plugin.slots import Slot
from edgeroot.kubelet.contract.generated import device_plugin_pb2 as contract
from edgeroot.kubelet.contract.generated.device_plugin_pb2_grpc import DevicePluginServicer

REGISTERED_KEY: Final = "edgeroot-registered"
"""Metadata after an answer about the options: there once the kubelet has taken the registration."""
_log: Final = logging.getLogger(__name__)


class DevicePlugin(DevicePluginServicer):
    """Serves one registration. ``streams``: how many lists of devices somebody reads."""

    def __init__(
        self, *, resource: str, slot_directory: Path, host_slot_directory: Path, devices: Devices, metrics: Metrics
    ) -> None:
        self._resource = resource
        self._slot_directory = slot_directory
        self._host_slot_directory = host_slot_directory
        self._devices = devices
        self._metrics = metrics
        self.registered = False
        self.streams = 0

    async def GetDevicePluginOptions(
        self, request: contract.Empty, context: grpc.aio.ServicerContext[contract.Empty, contract.DevicePluginOptions]
    ) -> contract.DevicePluginOptions:
        if self.registered:
            context.set_trailing_metadata(((REGISTERED_KEY, "1"),))
        return contract.DevicePluginOptions()

    async def ListAndWatch(
        self, request: contract.Empty, context: grpc.aio.ServicerContext[contract.Empty, contract.ListAndWatchResponse]
    ) -> AsyncIterator[contract.ListAndWatchResponse]:
        self.streams += 1
        try:
            seen: Listing | None = None
            while True:
                seen = await self._devices.other_than(seen)
                yield _as_devices(seen)
        finally:
            self.streams -= 1

    async def Allocate(
        self,
        request: contract.AllocateRequest,
        context: grpc.aio.ServicerContext[contract.AllocateRequest, contract.AllocateResponse],
    ) -> contract.AllocateResponse:
        try:
            grants = [self._grant(list(one.devices_ids)) for one in request.container_requests]
        except AllocationError as error:
            _log.warning("no slot is given: %s", error)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        self._metrics.allocations.inc(len(grants))
        return contract.AllocateResponse(container_responses=grants)

    def _grant(self, device_ids: list[str]) -> contract.ContainerAllocateResponse:
        slot = slot_for(device_ids, self._devices.slots, self._resource)
        # The service may be restarting; what counts is the folder, in which it makes its socket anew.
        if not is_folder(slot.folder(self._slot_directory)):
            raise AllocationError(
                f"{slot.folder(self._slot_directory)} is no folder: does a service with slots run on this node?"
            )
        _log.info("a container gets %s", slot.device_id)
        mount = contract.Mount(
            container_path=CONTAINER_FOLDER, host_path=str(slot.folder(self._host_slot_directory)), read_only=True
        )
        return contract.ContainerAllocateResponse(envs={ENDPOINT_VARIABLE: ENDPOINT}, mounts=[mount])


def _as_devices(listing: Listing) -> contract.ListAndWatchResponse:
    return contract.ListAndWatchResponse(devices=[_as_device(slot, healthy=healthy) for slot, healthy in listing])


def _as_device(slot: Slot, *, healthy: bool) -> contract.Device:
    return contract.Device(ID=slot.device_id, health="Healthy" if healthy else "Unhealthy")
