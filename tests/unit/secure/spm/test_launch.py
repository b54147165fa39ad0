"""Starting a partition: it gets its connections and its secret, and a start that fails leaves nothing open."""

from __future__ import annotations

import os
import resource
import selectors
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import pytest

from edgeroot.abi.ffa import FunctionId
from edgeroot.element.settings import ElementSettings
from edgeroot.psa import Secret
from edgeroot.secure.runtime.boot import BootInformation
from edgeroot.secure.runtime.frames import receive_frame
from edgeroot.secure.spm import launch as launch_module
from edgeroot.secure.spm.launch import Launcher, Process
from edgeroot.secure.spm.log import LineReader
from edgeroot.secure.spm.manifest import Manifest, built_in_manifests
from edgeroot.secure.spm.sandbox import SandboxSpec
from edgeroot.secure.spm.state import State
from tests.support.descriptors import no_descriptor_left, open_descriptors

BUILT_IN = {manifest.name: manifest for manifest in built_in_manifests()}


class World:
    """A launcher, what secrets it has derived, and the partitions that it has started."""

    def __init__(self, folder: Path) -> None:
        for one in (folder, *folder.parents[:2]):
            one.chmod(0o755)  # a partition may have a user of its own
        self.state = State(folder / "state", folder / "run")
        self.state.prepare()
        self.derived: list[bytes] = []
        self.launcher = Launcher(self.state, derive=self.derive, boot_seed=bytes(32), event_log=b"", cores=3)
        self.processes: list[Process] = []

    def derive(self, label: bytes) -> Secret:
        self.derived.append(label)
        return Secret(sha256(label).digest())

    def launch(self, manifest: Manifest) -> Process:
        self.processes.append(self.launcher.launch(manifest))
        return self.processes[-1]

    def close(self) -> None:
        for process in self.processes:
            for control in process.controls:
                control.close()
            process.popen.wait(20)
            os.close(process.log)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    before = open_descriptors()
    yield made
    made.close()
    assert open_descriptors() <= before


def said_by(process: Process) -> list[str]:
    """All that the partition says until its end."""
    reader, lines = LineReader(), []
    with selectors.DefaultSelector() as selector:
        selector.register(process.log, selectors.EVENT_READ)
        while selector.select(20):
            data = os.read(process.log, 4096)
            lines += reader.lines(data)
            if not data:
                return lines
    raise AssertionError(f"the partition goes on: {lines}")


def test_every_context_of_a_partition_says_that_it_is_ready_and_ends_with_its_manager(world: World) -> None:
    process = world.launch(replace(BUILT_IN["crypto"], execution_contexts=2, slow_contexts=1))
    assert len(process.controls) == 2
    for control in process.controls:
        control.settimeout(20)
        received = receive_frame(control)
        assert received is not None
        assert received.frame[0] == FunctionId.MSG_WAIT
    assert world.derived == [b"partition crypto"]
    for control in process.controls:
        control.close()
    assert process.popen.wait(20) == 0


def test_a_partition_has_the_flash_that_its_manifest_asks_for(world: World) -> None:
    process = world.launch(BUILT_IN["firmware-update"])
    process.controls[0].settimeout(20)
    assert receive_frame(process.controls[0]) is not None
    flash = world.state.path / "flash" / "flash"
    assert flash.exists()
    assert process.user_id == (flash.stat().st_uid if os.geteuid() == 0 else None)


def test_one_context_for_each_core_where_the_manifest_leaves_it_open(world: World) -> None:
    assert [world.launcher.contexts_of(BUILT_IN[name]) for name in ("storage", "crypto")] == [1, 3]


def test_a_partition_that_cannot_start_says_why_and_ends(world: World) -> None:
    process = world.launch(replace(BUILT_IN["storage"], storage=False))
    lines = said_by(process)
    assert process.popen.wait(20) != 0
    assert any("asks for no storage" in line for line in lines), lines


def test_secrets_are_on_no_command_line_and_in_no_environment(world: World) -> None:
    process = world.launch(BUILT_IN["attestation"])
    process.controls[0].settimeout(20)
    assert receive_frame(process.controls[0]) is not None
    secret = sha256(b"partition attestation").digest()
    for name in ("cmdline", "environ"):
        content = Path(f"/proc/{process.popen.pid}/{name}").read_bytes()
        assert content or name == "environ"
        assert secret not in content
        assert secret.hex().encode() not in content


def test_a_start_that_fails_leaves_no_descriptor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(launch_module, "spawn", refuse)
    before = open_descriptors()
    with pytest.raises(OSError, match="temporarily unavailable"):
        world.launcher.launch(BUILT_IN["crypto"])
    assert open_descriptors() == before


@pytest.mark.parametrize("room", range(12))
def test_a_start_with_too_few_descriptors_leaves_none_open(world: World, room: int) -> None:
    manifest = replace(BUILT_IN["attestation"], execution_contexts=3)
    world.state.folders_of(manifest)
    before = open_descriptors()
    with no_descriptor_left():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft + room, hard))
        with pytest.raises(OSError, match="Too many open files"):
            world.launch(manifest)
    assert open_descriptors() == before


def test_the_element_and_its_bus_are_given_to_the_partition_that_asks_and_to_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node, folder and the system call that it takes; and to that one neither where no element was named."""

    class NotStartedError(OSError):
        """What is seen of a start is enough."""

    seen: dict[str, tuple[SandboxSpec, BootInformation]] = {}

    def look(spec: SandboxSpec, _arguments: object, *, pass_fds: Sequence[int], stderr: int) -> NoReturn:
        del stderr
        with os.fdopen(os.dup(pass_fds[0]), "rb") as memory:
            seen[spec.name] = spec, BootInformation.decode(memory.read())
        raise NotStartedError

    monkeypatch.setattr(launch_module, "spawn", look)
    node = Path("/dev/i2c-7")
    element = ElementSettings("atecc608a", "i2c", bus=7)
    launcher = Launcher(world.state, derive=world.derive, boot_seed=bytes(32), event_log=b"", cores=1, element=element)
    without = Launcher(world.state, derive=world.derive, boot_seed=bytes(32), event_log=b"", cores=1)
    for manifest in BUILT_IN.values():
        with pytest.raises(NotStartedError):
            launcher.launch(manifest)
    given = {name for name, (spec, _) in seen.items() if spec.devices or "/element" in spec.writable}
    told = {name for name, (_, boot) in seen.items() if boot.element or boot.devices or boot.element_folder}
    filters = {name: boot.system_calls for name, (_, boot) in seen.items()}
    assert given == told == {"crypto"}
    spec, boot = seen["crypto"]
    assert (tuple(spec.devices), boot.devices) == ((node,), (str(node),))
    assert boot.element == asdict(element)
    assert len({filters[name] for name in filters if name != "crypto"}) == 1
    assert not filters["crypto"] or filters["crypto"] != filters["storage"]
    with pytest.raises(NotStartedError):
        without.launch(BUILT_IN["crypto"])
    spec, boot = seen["crypto"]
    assert not spec.devices
    assert not spec.writable
    assert (boot.element, boot.devices, boot.element_folder) == ({}, (), "")
    assert boot.system_calls == filters["storage"]
