"""A test double of the kubelet's side of its contracts: a real gRPC server over Unix sockets that starts no pods.

As a kubelet does, it empties the plugins' folder when it starts, calls a plugin back over the socket that it registered
with, reads its list of devices until it ends, and tells who asks on its other socket which pod holds what.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from edgeroot.kubelet.contract.generated import device_plugin_pb2, pod_resources_pb2
from edgeroot.kubelet.contract.generated.device_plugin_pb2_grpc import (
    DevicePluginStub,
    RegistrationServicer,
    add_RegistrationServicer_to_server,
)
from edgeroot.kubelet.contract.generated.pod_resources_pb2_grpc import (
    PodResourcesListerServicer,
    add_PodResourcesListerServicer_to_server,
)

_WAIT_S = 20.0


class Kubelet(RegistrationServicer, PodResourcesListerServicer):
    """``registrations``: every request to register; ``devices``: the last list of each resource, id to health.

    ``refuses``: words with which registrations are refused; ``reads``: whether lists are read after a registration.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plugins = folder / "device-plugins"
        self.pod_resources = folder / "pod-resources" / "kubelet.sock"
        self.registrations: list[device_plugin_pb2.RegisterRequest] = []
        self.devices: dict[str, dict[str, str]] = {}
        self.listings: list[dict[str, str]] = []
        self.pods = pod_resources_pb2.ListPodResourcesResponse()
        self.questions = 0
        self.answers_after_s = 0.0
        self.refuses: str | None = None
        self.reads = True
        self.lists_open = 0
        self._changed = threading.Condition()
        self._channels: list[grpc.Channel] = []
        self._servers: list[grpc.Server] = []

    def start(self) -> None:
        for path in (self.plugins, self.pod_resources.parent):
            path.mkdir(parents=True, exist_ok=True)
        for path in self.plugins.iterdir():
            path.unlink()
        registry = grpc.server(ThreadPoolExecutor(4))
        add_RegistrationServicer_to_server(self, registry)
        lister = grpc.server(ThreadPoolExecutor(16))
        add_PodResourcesListerServicer_to_server(self, lister)
        self._servers = [registry, lister]
        for server, path in zip(self._servers, (self.plugins / "kubelet.sock", self.pod_resources), strict=True):
            server.add_insecure_port(f"unix:{path}")
            server.start()

    def stop(self) -> None:
        """As when the process ends: connections go, and the sockets' files stay."""
        for server in self._servers:
            server.stop(None).wait()
        for channel in self._channels:
            channel.close()
        self._servers, self._channels = [], []
        self.wait_for(lambda: self.lists_open == 0, "the plugin's lists end")

    def restart(self) -> None:
        self.stop()
        self.start()

    def wait_for(self, condition: Callable[[], bool], what: str, *, timeout_s: float = _WAIT_S) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout_s), f"not in time: {what}"

    def plugin(self, resource: str) -> DevicePluginStub:
        """The plugin that registered last for a resource, as the kubelet calls it."""
        endpoint = next(one.endpoint for one in reversed(self.registrations) if one.resource_name == resource)
        return DevicePluginStub(self._channel(endpoint))

    def allocate(self, resource: str, *containers: list[str]) -> device_plugin_pb2.AllocateResponse:
        asked = [device_plugin_pb2.ContainerAllocateRequest(devices_ids=ids) for ids in containers]
        return self.plugin(resource).Allocate(
            device_plugin_pb2.AllocateRequest(container_requests=asked), timeout=_WAIT_S
        )

    def holds(self, namespace: str, pod: str, container: str, held: Mapping[str, list[str]]) -> None:
        """From now on a pod's container holds devices, by resource."""
        devices = [
            pod_resources_pb2.ContainerDevices(resource_name=resource, device_ids=ids) for resource, ids in held.items()
        ]
        containers = [pod_resources_pb2.ContainerResources(name=container, devices=devices)]
        self.pods.pod_resources.add(namespace=namespace, name=pod, containers=containers)

    # The contracts

    def Register(
        self, request: device_plugin_pb2.RegisterRequest, context: grpc.ServicerContext
    ) -> device_plugin_pb2.Empty:
        with self._changed:
            self.registrations.append(request)
            self._changed.notify_all()
        if self.refuses is not None:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, self.refuses)
        if self.reads:
            threading.Thread(target=self._read, args=(request,), daemon=True).start()
        return device_plugin_pb2.Empty()

    def List(
        self, request: pod_resources_pb2.ListPodResourcesRequest, context: grpc.ServicerContext
    ) -> pod_resources_pb2.ListPodResourcesResponse:
        self.questions += 1
        time.sleep(self.answers_after_s)
        return self.pods

    # Reading a plugin's list

    def _channel(self, endpoint: str) -> grpc.Channel:
        channel = grpc.insecure_channel(f"unix:{self.plugins / endpoint}")
        self._channels.append(channel)
        return channel

    def _read(self, request: device_plugin_pb2.RegisterRequest) -> None:
        stub = DevicePluginStub(self._channel(request.endpoint))
        with self._changed:
            self.lists_open += 1
        try:
            for answer in stub.ListAndWatch(device_plugin_pb2.Empty()):
                devices = {device.ID: device.health for device in answer.devices}
                with self._changed:
                    self.listings.append(devices)
                    self.devices[request.resource_name] = devices
                    self._changed.notify_all()
        except grpc.RpcError:
            pass
        finally:
            with self._changed:
                self.lists_open -= 1
                self._changed.notify_all()
