"""Names and numbers that the kubelet's contracts fix: a message of theirs is read, not one of ours."""

from __future__ import annotations

from edgeroot.kubelet.contract.generated import device_plugin_pb2, pod_resources_pb2


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field of protobuf (wire type 2), for lengths and numbers that fit in one byte."""
    return bytes([number << 3 | 2, len(data)]) + data


def test_services_and_calls_have_the_names_of_the_kubelet() -> None:
    services = [
        *device_plugin_pb2.DESCRIPTOR.services_by_name.values(),
        *pod_resources_pb2.DESCRIPTOR.services_by_name.values(),
    ]

    assert {f"/{service.full_name}/{call.name}" for service in services for call in service.methods} == {
        "/v1beta1.Registration/Register",
        "/v1beta1.DevicePlugin/GetDevicePluginOptions",
        "/v1beta1.DevicePlugin/ListAndWatch",
        "/v1beta1.DevicePlugin/Allocate",
        "/v1.PodResourcesLister/List",
    }


def test_a_registration_has_the_fields_of_v1beta1() -> None:
    written = device_plugin_pb2.RegisterRequest(
        version="v1beta1",
        endpoint="e.sock",
        resource_name="a.dev/b",
        options=device_plugin_pb2.DevicePluginOptions(pre_start_required=True, get_preferred_allocation_available=True),
    ).SerializeToString(deterministic=True)

    assert written == (
        _field(1, b"v1beta1") + _field(2, b"e.sock") + _field(3, b"a.dev/b") + _field(4, bytes([0x08, 1, 0x10, 1]))
    )


def test_a_list_of_devices_has_the_fields_of_v1beta1() -> None:
    device = device_plugin_pb2.Device(ID="slot-00", health="Healthy")

    written = device_plugin_pb2.ListAndWatchResponse(devices=[device]).SerializeToString()

    assert written == _field(1, _field(1, b"slot-00") + _field(2, b"Healthy"))


def test_an_allocation_has_the_fields_of_v1beta1() -> None:
    asked = device_plugin_pb2.AllocateRequest.FromString(_field(1, _field(1, b"slot-01") + _field(1, b"slot-02")))
    mount = device_plugin_pb2.Mount(container_path="/c", host_path="/h", read_only=True)
    answer = device_plugin_pb2.ContainerAllocateResponse(envs={"A": "b"}, mounts=[mount])

    assert [list(one.devices_ids) for one in asked.container_requests] == [["slot-01", "slot-02"]]
    assert device_plugin_pb2.AllocateResponse(container_responses=[answer]).SerializeToString() == _field(
        1,
        _field(1, _field(1, b"A") + _field(2, b"b"))
        + _field(2, _field(1, b"/c") + _field(2, b"/h") + bytes([0x18, 1])),
    )


def test_pod_resources_have_the_fields_of_v1() -> None:
    devices = _field(1, b"edgeroot.dev/parsec") + _field(2, b"slot-03")
    # A processor's number (field 3 of a container), which is not in our contract, is passed over.
    container = _field(1, b"app") + _field(2, devices) + bytes([0x18, 7])
    pod = _field(1, b"web-0") + _field(2, b"shop") + _field(3, container)

    read = pod_resources_pb2.ListPodResourcesResponse.FromString(_field(1, pod))

    assert [
        (one.namespace, one.name, held.name, kind.resource_name, list(kind.device_ids))
        for one in read.pod_resources
        for held in one.containers
        for kind in held.devices
    ] == [("shop", "web-0", "app", "edgeroot.dev/parsec", ["slot-03"])]
