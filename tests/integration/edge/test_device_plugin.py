"""The device plugin as a process, between the real service and a test double of the kubelet."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import grpc
import pytest

from edgeroot.client import Client, TokenFile
from edgeroot.client.auth import NoAuth
from edgeroot.client.errors import AuthenticationError, TransportError
from edgeroot.edge.device_plugin.registration import UNREAD_S
from edgeroot.kubelet.contract.generated import device_plugin_pb2, pod_resources_pb2
from edgeroot.kubelet.contract.generated.device_plugin_pb2_grpc import DevicePluginStub
from edgeroot.kubelet.contract.generated.pod_resources_pb2_grpc import PodResourcesListerStub
from tests.support.kubelet import Kubelet
from tests.support.token_service import TokenService, running_token_service

RESOURCE = "edgeroot.dev/parsec"
GROUP = 54321 if os.geteuid() == 0 else os.getegid()
_WAIT_S = 20.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """One with a short path, for sockets."""
    made = Path(tempfile.mkdtemp(prefix="edgeroot-plugin-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def kubelet(folder: Path) -> Iterator[Kubelet]:
    kubelet = Kubelet(folder / "kubelet")
    kubelet.start()
    yield kubelet
    kubelet.stop()


def command(kubelet: Kubelet, *options: str) -> list[str]:
    arguments = ["edge", "device-plugin", "--kubelet-directory", str(kubelet.folder), *options]
    return [sys.executable, "-m", "edgeroot", *arguments]


@contextmanager
def plugin(kubelet: Kubelet, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A plugin that looks at the slots often; its log is in ``plugin.log`` beside the kubelet's folder."""
    with (kubelet.folder.parent / "plugin.log").open("ab") as log:
        process = subprocess.Popen(command(kubelet, "--ping-interval", "0.1", *options), stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(_WAIT_S) == 0


def log(kubelet: Kubelet) -> str:
    return (kubelet.folder.parent / "plugin.log").read_text()


def check(kubelet: Kubelet) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(kubelet, "--check"), capture_output=True, text=True, check=False)


def make_slots(directory: Path, count: int) -> None:
    for number in range(count):
        (directory / f"{number:02d}").mkdir(parents=True)


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenService]:
    """A service with two slots, which asks the plugin who holds them."""
    with running_token_service(start=False) as made:
        made.configure(f"unix:{made.service.folder}/pods.sock", f"unix:{made.service.folder}/holders.sock")
        made.service.start()
        yield made


def slots_of(tokens: TokenService) -> tuple[str, str]:
    return "--slot-directory", str(tokens.service.folder / "run/slots")


def healths(kubelet: Kubelet) -> list[str]:
    return list(kubelet.devices.get(RESOURCE, {}).values())


def test_the_kubelet_learns_of_the_slots_of_a_service(kubelet: Kubelet, tokens: TokenService) -> None:
    with plugin(kubelet, *slots_of(tokens)):
        kubelet.wait_for(lambda: bool(healths(kubelet)), "the slots")

        assert kubelet.listings == [{"slot-00": "Healthy", "slot-01": "Healthy"}]
        [registration] = kubelet.registrations
        assert (registration.version, registration.resource_name) == ("v1beta1", RESOURCE)
        assert registration.options == device_plugin_pb2.DevicePluginOptions()
        mode = stat.S_IMODE((kubelet.plugins / registration.endpoint).stat().st_mode)
        assert mode == 0o600


def test_a_pod_uses_the_slot_that_it_was_given_and_no_other_pod_does(kubelet: Kubelet, tokens: TokenService) -> None:
    holders = tokens.service.folder / "holders.sock"

    with plugin(kubelet, *slots_of(tokens), "--holders-socket", str(holders)):
        kubelet.wait_for(lambda: healths(kubelet) == ["Healthy"] * 2, "two healthy slots")
        answer = kubelet.allocate(RESOURCE, ["slot-01"])
        kubelet.holds("shop", "till-0", "app", {RESOURCE: ["slot-01"]})

        [given] = answer.container_responses
        assert dict(given.envs) == {"PARSEC_SERVICE_ENDPOINT": "unix:/run/parsec/parsec.sock"}
        [mount] = given.mounts
        assert (mount.container_path, mount.read_only) == ("/run/parsec", True)
        endpoint = f"unix:{mount.host_path}/parsec.sock"
        with Client(endpoint, auth=TokenFile(tokens.token_file(tokens.till_token()))) as client:
            assert client.list_keys() == ()
        with (
            Client(endpoint, auth=TokenFile(tokens.token_file(tokens.camera_token(), "other"))) as client,
            pytest.raises(AuthenticationError),
        ):
            client.list_keys()


def test_a_plugin_in_a_container_names_the_hosts_folder(kubelet: Kubelet, folder: Path) -> None:
    make_slots(folder / "slots", 1)
    places = ("--slot-directory", str(folder / "slots"), "--host-slot-directory", "/run/parsec/slots")

    with plugin(kubelet, *places):
        kubelet.wait_for(lambda: bool(healths(kubelet)), "a slot")
        # The service does not run; a pod may start, and waits for it.
        [answer] = kubelet.allocate(RESOURCE, ["slot-00"]).container_responses

    assert [mount.host_path for mount in answer.mounts] == ["/run/parsec/slots/00"]


@pytest.mark.parametrize(
    ("containers", "words"),
    [
        ([["slot-00", "slot-01"]], "a container can use one slot and asks for 2"),
        ([["slot-00"], []], "a container can use one slot and asks for 0"),
        ([["slot-02"]], "'slot-02' is no edgeroot.dev/parsec of this node"),
        ([["../../../etc"]], "'../../../etc' is no edgeroot.dev/parsec of this node"),
        ([["slot-01"]], "slots/01 is no folder: does a service with slots run on this node?"),
    ],
)
def test_what_cannot_be_had_is_refused_in_words(
    kubelet: Kubelet, folder: Path, containers: list[list[str]], words: str
) -> None:
    make_slots(folder / "slots", 1)
    # A folder that is a link would have the container see what it leads to.
    (folder / "slots/01").symlink_to("/etc")

    with plugin(kubelet, "--slot-directory", str(folder / "slots"), "--slots", "2"):
        kubelet.wait_for(lambda: healths(kubelet) == ["Unhealthy"] * 2, "two slots")

        with pytest.raises(grpc.RpcError, match="FAILED_PRECONDITION") as refused:
            kubelet.allocate(RESOURCE, *containers)

        assert words in str(refused.value)
        assert len(kubelet.allocate(RESOURCE, ["slot-00"]).container_responses) == 1


def test_calls_that_make_no_sense_do_not_stop_it(kubelet: Kubelet, folder: Path) -> None:
    make_slots(folder / "slots", 1)

    with plugin(kubelet, "--slot-directory", str(folder / "slots")):
        kubelet.wait_for(lambda: bool(healths(kubelet)), "a slot")
        path = kubelet.plugins / kubelet.registrations[0].endpoint
        with closing(grpc.insecure_channel(f"unix:{path}")) as channel:
            for name, body in (
                ("/v1beta1.DevicePlugin/Allocate", b"\xff" * 100),
                ("/v1beta1.DevicePlugin/Allocate", b"\0" * (5 << 20)),
                ("/v1beta1.DevicePlugin/PreStartContainer", b""),
                ("/v1beta1.DevicePlugin/GetPreferredAllocation", b""),
            ):
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary(name, bytes, bytes)(body, timeout=_WAIT_S)
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.connect(str(path))
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
            readers = [DevicePluginStub(channel).ListAndWatch(device_plugin_pb2.Empty()) for _ in range(100)]
            for reader in readers:
                reader.cancel()
        # What many lists occupy is free again when their readers are gone.
        deadline_s = time.monotonic() + _WAIT_S
        while check(kubelet).returncode and time.monotonic() < deadline_s:
            pass
        assert len(kubelet.allocate(RESOURCE, ["slot-00"]).container_responses) == 1


def test_it_registers_again_with_a_kubelet_that_has_restarted(kubelet: Kubelet, folder: Path) -> None:
    make_slots(folder / "slots", 1)

    with plugin(kubelet, "--slot-directory", str(folder / "slots")):
        kubelet.wait_for(lambda: len(kubelet.listings) == 1, "the list")
        kubelet.restart()
        # Sooner than by noticing that nobody reads the list.
        kubelet.wait_for(lambda: len(kubelet.listings) == 2, "the list again", timeout_s=UNREAD_S - 2)

        assert len(kubelet.allocate(RESOURCE, ["slot-00"]).container_responses) == 1
    assert log(kubelet).count("the kubelet knows edgeroot.dev/parsec") == 2


def test_a_plugin_that_is_there_before_the_kubelet_waits_for_it(kubelet: Kubelet, folder: Path) -> None:
    make_slots(folder / "slots", 1)
    kubelet.stop()
    shutil.rmtree(kubelet.plugins)

    with plugin(kubelet, "--slot-directory", str(folder / "slots")):
        deadline_s = time.monotonic() + _WAIT_S
        while "waiting for the kubelet's socket" not in log(kubelet):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        assert "see the plugin's log" in check(kubelet).stderr or "see its log" in check(kubelet).stderr
        kubelet.start()
        kubelet.wait_for(lambda: bool(kubelet.listings), "the list")
        assert check(kubelet).returncode == 0


def test_a_plugin_that_was_killed_is_known_again_after_its_start(kubelet: Kubelet, folder: Path) -> None:
    make_slots(folder / "slots", 1)
    options = ("--slot-directory", str(folder / "slots"), "--holders-socket", str(folder / "holders.sock"))
    killed = subprocess.Popen(command(kubelet, *options), stderr=subprocess.DEVNULL)
    try:
        kubelet.wait_for(lambda: len(kubelet.listings) == 1, "the list")
    finally:
        killed.kill()
        killed.wait()
    # What it leaves is in nobody's way.
    assert (kubelet.plugins / kubelet.registrations[0].endpoint).is_socket()
    assert (folder / "holders.sock").is_socket()

    with plugin(kubelet, *options):
        kubelet.wait_for(lambda: len(kubelet.listings) == 2, "the list again")
        assert len(kubelet.allocate(RESOURCE, ["slot-00"]).container_responses) == 1


def test_a_refused_registration_is_said_and_tried_again(kubelet: Kubelet, folder: Path) -> None:
    make_slots(folder / "slots", 1)
    kubelet.refuses = "the API version is not known"

    with plugin(kubelet, "--slot-directory", str(folder / "slots")):
        kubelet.wait_for(lambda: len(kubelet.registrations) == 2, "a second try")
        assert check(kubelet).returncode == 1
        kubelet.refuses = None
        kubelet.wait_for(lambda: bool(kubelet.listings), "the list")
    assert "the kubelet does not take the registration (the API version is not known): registering again in 1 s" in log(
        kubelet
    )


def test_a_service_that_is_gone_or_hangs_makes_its_slots_unhealthy_until_it_is_back(kubelet: Kubelet) -> None:
    with running_token_service() as tokens, plugin(kubelet, *slots_of(tokens)):
        kubelet.wait_for(lambda: healths(kubelet) == ["Healthy"] * 2, "two healthy slots")

        tokens.service.kill()
        kubelet.wait_for(lambda: healths(kubelet) == ["Unhealthy"] * 2, "unhealthy slots of a killed service")
        tokens.service.start()
        kubelet.wait_for(lambda: healths(kubelet) == ["Healthy"] * 2, "healthy slots")

        os.killpg(tokens.service.pid, signal.SIGSTOP)
        try:
            kubelet.wait_for(lambda: healths(kubelet) == ["Unhealthy"] * 2, "unhealthy slots of a hanging service")
        finally:
            os.killpg(tokens.service.pid, signal.SIGCONT)
        kubelet.wait_for(lambda: healths(kubelet) == ["Healthy"] * 2, "healthy slots")

        assert len(kubelet.listings) == 5
        assert len(kubelet.registrations) == 1


def test_a_pod_that_opens_all_connections_of_its_slot_makes_nothing_unhealthy(kubelet: Kubelet) -> None:
    with (
        running_token_service(listener="max_connections_per_user = 4") as tokens,
        plugin(kubelet, *slots_of(tokens), "--slots", "3"),
        ExitStack() as greedy,
    ):
        kubelet.wait_for(lambda: healths(kubelet) == ["Healthy", "Healthy", "Unhealthy"], "two healthy slots")
        # Each keeps its connection. One that is refused may have met the plugin's own; three in a row have not.
        refused = 0
        while refused < 3:
            client = greedy.enter_context(Client(f"unix:{tokens.slot_path(0)}", auth=NoAuth()))
            try:
                client.ping()
                refused = 0
            except TransportError:
                refused += 1
        time.sleep(1)  # ten rounds, of which every second one looks at this slot
        with pytest.raises(TransportError), Client(f"unix:{tokens.slot_path(0)}", auth=NoAuth()) as late:
            late.ping()

        assert len(kubelet.listings) == 1


def test_new_slots_are_told_of(kubelet: Kubelet, folder: Path) -> None:
    with plugin(kubelet, "--slot-directory", str(folder / "slots")):
        kubelet.wait_for(lambda: kubelet.listings == [{}], "an empty list")
        make_slots(folder / "slots", 2)
        kubelet.wait_for(lambda: healths(kubelet) == ["Unhealthy"] * 2, "two slots")


def test_the_holders_of_slots_are_told_to_a_group_and_no_other_resources(kubelet: Kubelet, folder: Path) -> None:
    kubelet.holds("shop", "web-0", "app", {RESOURCE: ["slot-00"], "gpu.dev/gpu": ["gpu-7"]})
    kubelet.holds("bank", "vault-0", "app", {"gpu.dev/gpu": ["gpu-8"]})
    path = folder / "holders.sock"

    with plugin(kubelet, "--slots", "1", "--holders-socket", str(path), "--holders-group", str(GROUP)):
        kubelet.wait_for(lambda: bool(kubelet.listings), "the plugin's list")
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o660, os.geteuid(), GROUP)
        with closing(grpc.insecure_channel(f"unix:{path}")) as channel:
            stub = PodResourcesListerStub(channel)
            answer = stub.List(pod_resources_pb2.ListPodResourcesRequest(), timeout=_WAIT_S)

            [pod] = answer.pod_resources
            [container] = pod.containers
            [devices] = container.devices
            assert (pod.namespace, pod.name, container.name) == ("shop", "web-0", "app")
            assert (devices.resource_name, list(devices.device_ids)) == (RESOURCE, ["slot-00"])

            kubelet.questions, kubelet.answers_after_s = 0, 0.5
            time.sleep(0.3)
            with ThreadPoolExecutor(16) as callers:
                asked = [
                    callers.submit(stub.List, pod_resources_pb2.ListPodResourcesRequest(), timeout=_WAIT_S)
                    for _ in range(16)
                ]
                assert all(one.result() == answer for one in asked)
            assert kubelet.questions <= 2

            kubelet.holds("shop", "web-1", "app", {RESOURCE: ["slot-01"]})
            time.sleep(0.3)
            assert len(stub.List(pod_resources_pb2.ListPodResourcesRequest(), timeout=_WAIT_S).pod_resources) == 2

            kubelet.stop()
            time.sleep(0.3)
            with pytest.raises(grpc.RpcError, match="the kubelet does not answer on"):
                stub.List(pod_resources_pb2.ListPodResourcesRequest(), timeout=_WAIT_S)
            kubelet.start()
            time.sleep(0.3)
            assert len(stub.List(pod_resources_pb2.ListPodResourcesRequest(), timeout=_WAIT_S).pod_resources) == 2
    assert not path.exists()


def test_its_numbers_are_served(kubelet: Kubelet, tokens: TokenService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"

    with plugin(kubelet, *slots_of(tokens), "--slots", "3", "--metrics", address):
        kubelet.wait_for(lambda: len(healths(kubelet)) == 3, "three slots")
        kubelet.allocate(RESOURCE, ["slot-00"], ["slot-01"])
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            lines = answer.read().decode().splitlines()

    assert {"edgeroot_slots 3.0", "edgeroot_slots_healthy 2.0"} <= set(lines)
    assert {"edgeroot_slot_allocations_total 2.0", "edgeroot_kubelet_registrations_total 1.0"} <= set(lines)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--resource", "parsec"), "write DOMAIN/NAME"),
        (("--holders-socket", "/no/such/folder/h.sock"), "/no/such/folder/h.sock cannot be served"),
        (("--holders-socket", "/tmp/h.sock", "--holders-group", "no-such-group"), "there is no group no-such-group"),
        (("--metrics", "9110"), "write HOST:PORT"),
    ],
)
def test_what_it_cannot_do_is_said_in_a_line(kubelet: Kubelet, options: tuple[str, ...], words: str) -> None:
    done = subprocess.run(command(kubelet, *options), capture_output=True, text=True, check=False, timeout=_WAIT_S)

    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
