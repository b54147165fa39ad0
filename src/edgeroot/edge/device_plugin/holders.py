"""Who holds which slot: the kubelet's answer, cut down to one resource, for those who may know that and no more."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import grpc

from edgeroot.edge.device_plugin.registration import channel_to
from edgeroot.kubelet.contract.generated import pod_resources_pb2 as contract
from edgeroot.kubelet.contract.generated.pod_resources_pb2_grpc import (
    PodResourcesListerServicer,
    PodResourcesListerStub,
)

FRESH_S: Final = 0.2
"""An answer may come from a question to the kubelet that began so long before the call."""
_TIMEOUT_S: Final = 5.0


def of_resource(answer: contract.ListPodResourcesResponse, resource: str) -> contract.ListPodResourcesResponse:
    """The pods and containers that hold devices of ``resource``, and of what they hold these alone.

    Everything is written anew, so that nothing goes along that our contract does not know.
    """
    pods = []
    for pod in answer.pod_resources:
        containers = []
        for container in pod.containers:
            held = [
                one for devices in container.devices if devices.resource_name == resource for one in devices.device_ids
            ]
            if held:
                devices = contract.ContainerDevices(resource_name=resource, device_ids=held)
                containers.append(contract.ContainerResources(name=container.name, devices=[devices]))
        if containers:
            pods.append(contract.PodResources(name=pod.name, namespace=pod.namespace, containers=containers))
    return contract.ListPodResourcesResponse(pod_resources=pods)


class SlotHolders(PodResourcesListerServicer):
    """Asks the kubelet at each call; calls that come at the same time share a question."""

    def __init__(self, kubelet_socket: Path, resource: str) -> None:
        self._kubelet_socket = kubelet_socket
        self._resource = resource
        self._asking = asyncio.Lock()
        self._asked_at_s = float("-inf")
        self._answer: contract.ListPodResourcesResponse | None = None

    async def List(
        self,
        request: contract.ListPodResourcesRequest,
        context: grpc.aio.ServicerContext[contract.ListPodResourcesRequest, contract.ListPodResourcesResponse],
    ) -> contract.ListPodResourcesResponse:
        answer = await self._fresh_answer(time.monotonic())
        if answer is None:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, f"the kubelet does not answer on {self._kubelet_socket}: does it run?"
            )
        return answer

    async def _fresh_answer(self, called_at_s: float) -> contract.ListPodResourcesResponse | None:
        """None if the kubelet gave none."""
        async with self._asking:
            if self._asked_at_s < called_at_s - FRESH_S:
                begun_s = time.monotonic()
                self._answer = await self._ask()
                self._asked_at_s = begun_s
            return self._answer

    async def _ask(self) -> contract.ListPodResourcesResponse | None:
        try:
            async with channel_to(self._kubelet_socket) as channel:
                stub = PodResourcesListerStub(channel)
                return of_resource(
                    await stub.List(contract.ListPodResourcesRequest(), timeout=_TIMEOUT_S), self._resource
                )
        except grpc.aio.AioRpcError:
            return None
