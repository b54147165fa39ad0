"""A node's way to a release, over a simulated device that boots, tries and comes back as PSA's update agent does."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgeroot.edge.firmware.keeper import Commands, FirmwareKeeper, StepError
from edgeroot.edge.firmware.node import TRIAL_S, Found, Step
from edgeroot.edge.firmware.plan import NodePhase


@dataclass
class Simulated:
    running: str = "1.0.0"
    before: str = "1.0.0"
    state: str = "READY"
    staged: str = ""
    bad_images: frozenset[str] = frozenset()
    bad_boots: frozenset[str] = frozenset()
    bad_verdicts: frozenset[str] = frozenset()
    steps: list[str] = field(default_factory=list)

    def status(self) -> Found:
        return Found(running=self.running, state=self.state)

    def carry_out(self, step: Step, version: str) -> None:
        self.steps.append(step.name)
        if step is Step.INSTALL:
            if version in self.bad_images:
                raise StepError("its security counter is below the device's")
            assert self.state == "READY"
            self.staged, self.state = version, "STAGED"
        elif step is Step.RESTART:
            self._restart()
        elif step is Step.ACCEPT:
            assert self.state == "TRIAL"
            if version in self.bad_verdicts:
                raise StepError("the verifier does not affirm this device")
            self.state = "READY"
        else:
            assert self.state in {"STAGED", "TRIAL"}
            self.state = "REJECTED" if self.state == "TRIAL" else "READY"

    def _restart(self) -> None:
        if self.state == "REJECTED":
            self.running, self.state = self.before, "READY"
        elif self.state == "STAGED" and self.staged in self.bad_boots:
            self.state = "READY"
        elif self.state == "STAGED":
            self.before, self.running, self.state = self.running, self.staged, "TRIAL"


@dataclass
class Scene:
    path: Path
    device: Simulated = field(default_factory=Simulated)
    now_s: float = 1_000_000.0

    def run(self, wanted: str, *, at_most: int = 60) -> NodePhase:
        """Until nothing more is done. Each step is taken by a keeper that was started just now."""
        for _ in range(at_most):
            keeper = FirmwareKeeper(self.device, self.path, lambda: self.now_s)
            decision = keeper.advance(wanted)
            self.message = decision.report.message
            assert decision.report.version == wanted
            if decision.step is Step.NOTHING:
                return decision.report.phase
            self.now_s += 60
        raise AssertionError(f"it does not end: {self.device.steps}")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "firmware.json")


def test_installed_tried_and_accepted(scene: Scene) -> None:
    assert scene.run("1.1.0") is NodePhase.ACCEPTED
    assert scene.device.running == "1.1.0"
    assert scene.device.steps == ["INSTALL", "RESTART", "ACCEPT"]
    assert scene.run("1.1.0") is NodePhase.ACCEPTED
    assert len(scene.device.steps) == 3


def test_an_image_that_is_refused_is_tried_three_times_and_no_more(scene: Scene) -> None:
    scene.device.bad_images = frozenset({"1.1.0"})
    assert scene.run("1.1.0") is NodePhase.FAILED
    assert scene.message == "it could not be installed: its security counter is below the device's"
    assert scene.device.steps == ["INSTALL"] * 3
    assert scene.run("1.1.0") is NodePhase.FAILED
    assert len(scene.device.steps) == 3


def test_firmware_that_does_not_boot(scene: Scene) -> None:
    scene.device.bad_boots = frozenset({"1.1.0"})
    assert scene.run("1.1.0") is NodePhase.FAILED
    assert "did not boot" in scene.message
    assert scene.device.running == "1.0.0"


def test_firmware_that_is_not_affirmed_is_taken_back(scene: Scene) -> None:
    scene.device.bad_verdicts = frozenset({"1.1.0"})
    begun_s = scene.now_s
    assert scene.run("1.1.0") is NodePhase.FAILED
    assert "the verifier does not affirm this device" in scene.message
    assert scene.device.running == "1.0.0"
    assert scene.device.steps[-2:] == ["REJECT", "RESTART"]
    assert TRIAL_S <= scene.now_s - begun_s <= TRIAL_S + 600


def test_a_rollout_that_is_called_off_on_trial(scene: Scene) -> None:
    scene.device.bad_verdicts = frozenset({"1.1.0"})
    with pytest.raises(AssertionError, match="does not end"):
        scene.run("1.1.0", at_most=4)
    assert scene.device.state == "TRIAL"
    assert scene.run("1.0.0") is NodePhase.ACCEPTED
    assert scene.device.running == "1.0.0"


def test_a_rollout_that_is_called_off_before_the_boot(scene: Scene) -> None:
    with pytest.raises(AssertionError, match="does not end"):
        scene.run("1.1.0", at_most=1)
    assert scene.device.state == "STAGED"
    assert scene.run("1.0.0") is NodePhase.ACCEPTED
    assert scene.device.steps == ["INSTALL", "REJECT"]


def test_a_fixed_release_after_one_that_failed(scene: Scene) -> None:
    scene.device.bad_boots = frozenset({"1.1.0"})
    scene.run("1.1.0")
    assert scene.run("1.1.1") is NodePhase.ACCEPTED
    assert scene.device.running == "1.1.1"


def test_a_clock_that_is_set_back_gives_no_more_time_on_trial(scene: Scene) -> None:
    scene.device.bad_verdicts = frozenset({"1.1.0"})
    with pytest.raises(AssertionError, match="does not end"):
        scene.run("1.1.0", at_most=4)
    scene.now_s -= 1_000_000
    assert scene.run("1.1.0", at_most=5) is NodePhase.FAILED


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1.1.0", "unknown": 1}'])
def test_a_memory_that_is_damaged_begins_anew(scene: Scene, content: str) -> None:
    scene.path.write_text(content)
    assert scene.run("1.1.0") is NodePhase.ACCEPTED


def test_the_memory_is_written_before_the_step(scene: Scene) -> None:
    """A node that is cut off in each installation does not try for ever."""

    class CutOff(Simulated):
        def carry_out(self, step: Step, version: str) -> None:
            raise KeyboardInterrupt

    scene.device = CutOff()
    for _ in range(10):
        with pytest.raises(KeyboardInterrupt):
            scene.run("1.1.0")
    assert scene.run("1.1.0") is NodePhase.FAILED
    assert scene.message == "it could not be installed: it was cut off each time"


def test_who_was_cut_off_has_more_tries_than_who_was_refused(scene: Scene) -> None:
    """Its keeper's restarts say nothing about a release."""
    for _ in range(9):
        with pytest.raises(AssertionError, match="does not end"):
            scene.run("1.1.0", at_most=1)
        scene.device = Simulated()  # nothing has become of it
    assert scene.run("1.1.0") is NodePhase.ACCEPTED


def test_commands_tell_what_they_said_last(tmp_path: Path) -> None:
    script = tmp_path / "update"
    script.write_text("#!/bin/sh\necho working >&2\necho 'edgeroot: no such release' >&2\nexit 1\n")
    script.chmod(0o755)
    commands = Commands(restart=["true"], verifier=[], update=[str(script)])
    with pytest.raises(StepError, match=r"^no such release$"):
        commands.carry_out(Step.INSTALL, "1.1.0")
    with pytest.raises(StepError, match="No such file"):
        Commands(restart=["/nowhere"], verifier=[]).carry_out(Step.RESTART, "1.1.0")


def test_the_status_is_that_of_the_component_that_is_furthest(tmp_path: Path) -> None:
    told = {
        "components": [
            {"component": "crypto", "state": "TRIAL", "version": "1.1.0"},
            {"component": "manager", "state": "READY", "version": "1.0.0"},
        ]
    }
    script = tmp_path / "update"
    script.write_text(f"#!/bin/sh\necho '{json.dumps(told)}'\n")
    script.chmod(0o755)
    assert Commands(restart=[], verifier=[], update=[str(script)]).status() == Found(running="1.0.0", state="TRIAL")
