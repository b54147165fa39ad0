from __future__ import annotations

from edgeroot.edge.device_plugin.holders import of_resource
from edgeroot.kubelet.contract.generated.pod_resources_pb2 import (
    ContainerDevices,
    ContainerResources,
    ListPodResourcesResponse,
    PodResources,
)

OURS = "edgeroot.dev/parsec"


def pod(name: str, *containers: ContainerResources) -> PodResources:
    return PodResources(name=name, namespace="shop", containers=containers)


def container(name: str, *devices: tuple[str, list[str]]) -> ContainerResources:
    held = [ContainerDevices(resource_name=resource, device_ids=ids) for resource, ids in devices]
    return ContainerResources(name=name, devices=held)


def test_only_our_devices_and_who_holds_them_are_told() -> None:
    answer = ListPodResourcesResponse(
        pod_resources=[
            pod("a", container("app", ("gpu.dev/gpu", ["g0"]), (OURS, ["slot-00"])), container("side")),
            pod("b", container("app", ("gpu.dev/gpu", ["g1"]))),
            pod(
                "c", container("app", (OURS, ["slot-01"]), (OURS, ["slot-02"])), container("side", (OURS, ["slot-03"]))
            ),
            pod("d"),
        ]
    )

    assert of_resource(answer, OURS) == ListPodResourcesResponse(
        pod_resources=[
            pod("a", container("app", (OURS, ["slot-00"]))),
            pod("c", container("app", (OURS, ["slot-01", "slot-02"])), container("side", (OURS, ["slot-03"]))),
        ]
    )


def test_a_similar_resource_is_another() -> None:
    answer = ListPodResourcesResponse(pod_resources=[pod("a", container("app", (OURS + "2", ["slot-00"])))])

    assert of_resource(answer, OURS) == ListPodResourcesResponse()


def test_what_the_contract_does_not_know_does_not_go_along() -> None:
    secret = bytes([0x2A, 6]) + b"secret"  # field 5, length-delimited
    devices = ContainerDevices(resource_name=OURS, device_ids=["slot-00"])
    raw = ContainerDevices.FromString(devices.SerializeToString() + secret)
    held = ContainerResources.FromString(ContainerResources(name="app", devices=[raw]).SerializeToString() + secret)
    one = PodResources.FromString(
        PodResources(name="a", namespace="shop", containers=[held]).SerializeToString() + secret
    )
    answer = ListPodResourcesResponse.FromString(
        ListPodResourcesResponse(pod_resources=[one]).SerializeToString() + secret
    )
    assert answer.SerializeToString().count(b"secret") == 4

    assert b"secret" not in of_resource(answer, OURS).SerializeToString()
