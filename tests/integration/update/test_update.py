"""A release from the publisher's folder into a secured, real emulated device, and accepted there; by the commands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edgeroot.abi.mcuboot import Version, decode_image
from edgeroot.edge.firmware.keeper import Commands, FirmwareKeeper
from edgeroot.edge.firmware.node import Found, Step
from edgeroot.edge.firmware.plan import NodePhase, Report
from edgeroot.evidence import read_token
from edgeroot.secure.boot.signing import sign_image
from edgeroot.tee.psa import PsaClient
from edgeroot.verifier.corim import read_corim
from tests.support.world import World, running_world

KEY: Final = ec.generate_private_key(ec.SECP256R1())
IMAGES: Final = ("manager", "storage", "crypto", "attestation", "firmware-update")
IMPLEMENTATION: Final = "42" * 32
Publish = Callable[..., dict[str, Any]]


def edgeroot(*arguments: str | Path, code: int = 0) -> dict[str, Any]:
    """What the command says in JSON, or its complaint under ``said``."""
    done = subprocess.run(
        [sys.executable, "-m", "edgeroot", "--json", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return {"said": done.stderr} if not done.stdout else dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The maker's folder: a key, images of 1.0.0 and 1.1.0, and some that another has signed."""
    folder = tmp_path_factory.mktemp("maker")
    (folder / "key.pem").write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)
    options = ("--key", folder / "key.pem", "--version", "1.0.0", "--security-counter", "1")
    edgeroot("device", "build-images", *options, folder / "1.0.0")
    for version, key in ((Version(1, 1), KEY), (Version(1, 2), ec.generate_private_key(ec.SECP256R1()))):
        (folder / version.short).mkdir()
        for name in IMAGES:
            body = bytes(decode_image((folder / "1.0.0" / f"{name}.img").read_bytes()).body)
            image = sign_image(body, key, version=version, security_counter=1 + version.minor)
            (folder / version.short / f"{name}.img").write_bytes(image)
    return folder


@pytest.fixture
def publish(maker: Path, tmp_path: Path) -> Publish:
    """Publishes a version."""

    def publish_one(version: str, *options: str | Path) -> dict[str, Any]:
        places = ("--repository", tmp_path / "www", "--keys", tmp_path / "keys", "--images", maker / version)
        return edgeroot("update", "publish", *places, "--product", "gateway", *options)

    return publish_one


@pytest.fixture
def world(maker: Path) -> Iterator[World]:
    with running_world() as running:
        running.stop()
        options = ("--root-key", maker / "public.pem", "--security-counter", "1", "--images", maker / "1.0.0")
        edgeroot("device", "provision", "--state", running.state, *options)
        edgeroot("device", "lifecycle", "secured", "--state", running.state)
        running.start()
        yield running


class Device:
    def __init__(self, world: World, state: Path, www: Path) -> None:
        self.socket = ("--world-socket", world.socket)
        self.places = ("--state", state, *self.socket)
        self._first = ("--repository", www, "--root", www / "metadata" / "1.root.json", "--product", "gateway")

    def check(self, code: int) -> dict[str, Any]:
        return edgeroot("update", "check", *self._first, *self.places, code=code)

    def install(self, *options: str | Path, code: int = 0) -> dict[str, Any]:
        return edgeroot("update", "install", *options, *self.places, code=code)

    def decide(self, *what: str, code: int = 0) -> dict[str, Any]:
        return edgeroot("update", *what, *self.socket, code=code)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "edgeroot", "update", "install", *map(str, self.places)]

    def states(self) -> tuple[set[str], set[str], Any]:
        found = edgeroot("update", "status", *self.places)
        assert [one["component"] for one in found["components"]] == list(IMAGES)
        return (
            {one["state"] for one in found["components"]},
            {one["version"] for one in found["components"]},
            found["trial"],
        )


@pytest.fixture
def device(world: World, tmp_path: Path) -> Device:
    return Device(world, tmp_path / "device", tmp_path / "www")


def test_a_release_is_published_checked_installed_tried_and_accepted(
    publish: Publish,
    device: Device,
    world: World,
    tmp_path: Path,
) -> None:
    publish("1.0.0")
    assert device.check(0)["newer"] is None
    publish("1.1.0", "--implementation-id", IMPLEMENTATION, "--bundle", tmp_path / "gateway.tar")
    found = device.check(100)
    assert (found["running"], found["newer"], found["offered"]) == ("1.0.0", "1.1.0", ["1.0.0", "1.1.0"])
    assert "nothing is on trial" in device.decide("accept", "--without-verdict", code=1)["said"]

    assert set(device.install()["images"]) == set(IMAGES)
    assert device.states() == ({"STAGED"}, {"1.0.0"}, None)
    assert "restart the secure world" in device.install(code=1)["said"]
    device.decide("reject")
    assert device.states() == ({"READY"}, {"1.0.0"}, None)
    assert device.install("--from", tmp_path / "gateway.tar")["installed"] == "1.1.0"

    world.stop()
    world.start()
    assert device.states() == ({"TRIAL"}, {"1.1.0"}, {"boot": 1, "boots_at_most": 3})
    assert "--without-verdict" in device.decide("accept", code=2)["said"]
    assert "does not answer" in device.decide("accept", "--verifier", "http://127.0.0.1:1/", code=1)["said"]
    assert device.states()[0] == {"TRIAL"}
    assert device.decide("accept", "--without-verdict")["healthy"] == ["crypto", "storage", "attestation"]
    assert device.states() == ({"READY"}, {"1.1.0"}, None)
    assert device.check(0)["running"] == "1.1.0"
    assert "security counter is below" in device.install("--version", "1.0.0", code=1)["said"]
    assert device.states() == ({"READY"}, {"1.1.0"}, None)

    # What verifiers were told is what the token says.
    with world.transport() as transport, PsaClient(transport) as psa:
        claims = read_token(psa.psa_initial_attest_get_token(os.urandom(32))).claims
    told = read_corim((tmp_path / "www" / "gateway-1.1.0.corim").read_bytes()).components_of(
        bytes.fromhex(IMPLEMENTATION)
    )
    assert told is not None
    assert {(one.name, one.version, one.measurement, one.signer_id) for one in told} == {
        (one.measurement_type, one.version, one.measurement, one.signer_id)
        for one in claims.software_components
        if one.measurement_type in IMAGES
    }


def test_what_fails_or_is_killed_leaves_the_device_as_it_was(
    publish: Publish,
    device: Device,
    world: World,
    tmp_path: Path,
) -> None:
    publish("1.0.0")
    publish("1.2.0")  # another's key
    assert device.check(100)["newer"] == "1.2.0"
    assert "no signature of its maker's" in device.install(code=1)["said"]
    assert device.states() == ({"READY"}, {"1.0.0"}, None)

    publish("1.1.0")
    for written in (1, 2, 3):  # of five images
        process = subprocess.Popen(
            [*device.command(), "--version", "1.1.0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        with process:
            assert process.stderr is not None
            for _ in range(written):
                while not (line := process.stderr.readline()).startswith("written"):
                    assert line, "it has ended"
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        states, versions, _ = device.states()
        assert (states, versions) in (({"READY"}, {"1.0.0"}), ({"STAGED"}, {"1.0.0"}))
        if states == {"STAGED"}:
            device.decide("reject")
    device.install("--version", "1.1.0")
    world.stop()
    world.start()
    assert device.states()[:2] == ({"TRIAL"}, {"1.1.0"})
    assert device.decide("reject")["restart_needed"] is True
    assert "rejected and still runs" in device.install("--version", "1.1.0", code=1)["said"]
    world.stop()
    world.start()
    assert device.states() == ({"READY"}, {"1.0.0"}, None)
    world.stop()
    assert "may this user call it" in device.decide("accept", "--without-verdict", code=1)["said"]


class FleetDevice:
    """A device as the fleet's keeper sees it: the commands, and a restart that is the test's."""

    def __init__(self, device: Device, world: World, script: Path) -> None:
        places, socket = " ".join(map(str, device.places)), " ".join(map(str, device.socket))
        script.write_text(
            f'#!/bin/sh\ncase "$1" in accept|reject) set -- "$@" {socket};; *) set -- "$@" {places};; esac\n'
            f'exec {sys.executable} -m edgeroot update "$@"\n'
        )
        script.chmod(0o755)
        self._commands = Commands(restart=[], verifier=["--without-verdict"], update=[str(script)])
        self._world = world

    def status(self) -> Found:
        return self._commands.status()

    def carry_out(self, step: Step, version: str) -> None:
        if step is Step.RESTART:
            self._world.stop()
            self._world.start()
        else:
            self._commands.carry_out(step, version)


def brought_to(version: str, device: FleetDevice, memory: Path) -> tuple[list[Step], Report]:
    """The steps that a keeper takes, one started anew for each, and what it says in the end."""
    steps: list[Step] = []
    for _ in range(10):
        decision = FirmwareKeeper(device, memory, time.time).advance(version)
        if decision.step is Step.NOTHING:
            return steps, decision.report
        steps.append(decision.step)
    raise AssertionError(f"it does not end: {steps}")


def test_a_fleets_keeper_brings_the_device_there(
    publish: Publish, device: Device, world: World, tmp_path: Path
) -> None:
    publish("1.0.0")
    publish("1.1.0")
    device.check(100)  # from now on it knows repository, product and root
    fleet, memory = FleetDevice(device, world, tmp_path / "update.sh"), tmp_path / "fleet.json"
    steps, report = brought_to("1.1.0", fleet, memory)
    assert steps == [Step.INSTALL, Step.RESTART, Step.ACCEPT]
    assert report.phase is NodePhase.ACCEPTED
    assert device.states() == ({"READY"}, {"1.1.0"}, None)
    steps, report = brought_to("1.0.0", fleet, memory)
    assert steps == [Step.INSTALL] * 3
    assert report.phase is NodePhase.FAILED
    assert "its security counter is below the device's" in report.message
    assert device.states() == ({"READY"}, {"1.1.0"}, None)
