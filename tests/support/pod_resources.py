"""A test double of the kubelet's PodResources v1: a real gRPC server over a Unix socket that says what a test wants."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc

from edgeroot.kubelet.contract.generated import pod_resources_pb2 as pb
from edgeroot.kubelet.contract.generated import pod_resources_pb2_grpc as pb_grpc

RESOURCE = "edgeroot.dev/parsec"


class PodResourcesDouble(pb_grpc.PodResourcesListerServicer):
    """``holders`` is who holds which slot, as ``namespace/pod``; ``more`` are others that hold one as well.

    ``may_answer`` cleared makes it hang.
    """

    def __init__(self) -> None:
        self.holders: dict[int, str] = {}
        self.more: dict[int, str] = {}
        self.other_devices: dict[str, str] = {}
        self.questions = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def List(self, request: pb.ListPodResourcesRequest, context: grpc.ServicerContext) -> pb.ListPodResourcesResponse:
        self.questions += 1
        self.may_answer.wait(10)
        return pb.ListPodResourcesResponse(
            pod_resources=[
                *(_pod(holder, RESOURCE, f"slot-{slot:02d}") for slot, holder in self.holders.items()),
                *(_pod(holder, RESOURCE, f"slot-{slot:02d}") for slot, holder in self.more.items()),
                *(_pod(holder, "example.com/gpu", device) for device, holder in self.other_devices.items()),
            ]
        )


def _pod(holder: str, resource: str, device: str) -> pb.PodResources:
    namespace, _, name = holder.partition("/")
    devices = pb.ContainerDevices(resource_name=resource, device_ids=[device])
    return pb.PodResources(
        name=name, namespace=namespace, containers=[pb.ContainerResources(name="app", devices=[devices])]
    )


@contextmanager
def serving(double: PodResourcesDouble, path: Path) -> Iterator[PodResourcesDouble]:
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    pb_grpc.add_PodResourcesListerServicer_to_server(double, server)
    server.add_insecure_port(f"unix:{path}")
    server.start()
    try:
        yield double
    finally:
        double.may_answer.set()
        server.stop(None).wait()
