from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgeroot.edge.device_plugin.errors import PluginError
from edgeroot.edge.device_plugin.metrics import Metrics
from edgeroot.edge.device_plugin.run import Settings, group_number


def settings(changes: Mapping[str, Any]) -> Settings:
    given: dict[str, Any] = {
        "resource": "edgeroot.dev/parsec",
        "slot_directory": Path("/slots"),
        "host_slot_directory": Path("/run/parsec/slots"),
        "kubelet_directory": Path("/var/lib/kubelet"),
    }
    return Settings(**{**given, **changes})


def test_where_the_kubelets_sockets_are() -> None:
    found = settings({})

    assert found.plugin_socket == Path("/var/lib/kubelet/device-plugins/edgeroot.dev-parsec.sock")
    assert found.pod_resources_socket == Path("/var/lib/kubelet/pod-resources/kubelet.sock")


@pytest.mark.parametrize(
    "resource", ["", "parsec", "/parsec", "edgeroot.dev/", "edgeroot.dev/a/b", "edgeroot.dev/../x"]
)
def test_a_resource_is_a_domain_and_a_name(resource: str) -> None:
    with pytest.raises(PluginError, match="write DOMAIN/NAME"):
        settings({"resource": resource})


@pytest.mark.parametrize(
    "changes", [{"kubelet_directory": Path("/" + "k" * 90)}, {"holders_socket": Path("/" + "h" * 107)}]
)
def test_paths_that_no_socket_can_have_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match="too long for a socket"):
        settings(changes)


def test_a_group_without_a_socket_is_refused() -> None:
    with pytest.raises(PluginError, match="--holders-socket"):
        settings({"holders_group": "root"})


def test_a_group_is_a_name_or_a_number() -> None:
    assert group_number("root") == 0
    assert group_number("4711") == 4711
    with pytest.raises(PluginError, match="there is no group no-such-group"):
        group_number("no-such-group")


@pytest.mark.parametrize("address", ["9110", ":9110", "localhost", "localhost:", "localhost:http", "localhost:65536"])
def test_an_address_for_metrics_is_a_host_and_a_port(address: str) -> None:
    with pytest.raises(PluginError, match="write HOST:PORT"), Metrics().served(address):
        pass
