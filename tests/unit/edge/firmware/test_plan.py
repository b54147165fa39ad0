"""Rollouts over a simulated fleet: each node answers an assignment as the test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from edgeroot.edge.firmware.plan import Assignment, NodePhase, NodeView, Phase, Plan, Report, Rollout, plan
from edgeroot.edge.firmware.resource import EdgeFirmware

STEP_S = 30.0
FIRMWARE = EdgeFirmware(name="gateway", generation=1, version="1.1.0", selector={})
Behaviour = Callable[[NodeView, float], NodeView]


def updates_in_a_minute(node: NodeView, now_s: float) -> NodeView:
    assert node.assignment is not None
    if now_s - node.assignment.assigned_s < 60:
        return node
    return replace(node, running=node.assignment.version, state="Affirmed", evaluated_s=now_s)


def is_contraindicated_by_it(node: NodeView, now_s: float) -> NodeView:
    assert node.assignment is not None
    if node.assignment.version != FIRMWARE.version:
        return updates_in_a_minute(node, now_s)
    return replace(node, running=FIRMWARE.version, state="Contraindicated", evaluated_s=now_s)


def cannot_install_it(node: NodeView, now_s: float) -> NodeView:
    assert node.assignment is not None
    report = Report(version=node.assignment.version, phase=NodePhase.FAILED, message="no space")
    return replace(node, report=report, evaluated_s=now_s)


def does_not_answer(node: NodeView, now_s: float) -> NodeView:
    return node


@dataclass
class Fleet:
    nodes: dict[str, NodeView]
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    firmware: EdgeFirmware = FIRMWARE
    rollout: Rollout | None = None
    now_s: float = 1_000_000.0
    most_begun: int = 0

    @classmethod
    def of(cls, count: int, **behaviours: Behaviour) -> Fleet:
        views = (
            NodeView(name=f"node-{number}", state="Affirmed", running="1.0.0", evaluated_s=0.0)
            for number in range(count)
        )
        return cls({view.name: view for view in views}, dict(behaviours))

    def step(self) -> Plan:
        made = plan(self.firmware, self.rollout, self.nodes.values(), self.now_s)
        assert plan(self.firmware, self.rollout, reversed(self.nodes.values()), self.now_s) == made
        self.rollout = made.rollout
        for name, assignment in made.assign:
            self.nodes[name] = replace(self.nodes[name], assignment=assignment)
        self.now_s += STEP_S
        for name, node in self.nodes.items():
            if node.assignment is not None and node.running != node.assignment.version:
                self.nodes[name] = self.behaviours.get(name, updates_in_a_minute)(node, self.now_s)
        return made

    def run(self, steps: int, until: Phase | None = None) -> Plan:
        made = self.step()
        for _ in range(steps):
            if made.rollout.phase is until:
                break
            made = self.step()
        return made

    def with_it(self) -> int:
        return sum(one.assignment is not None and one.assignment.version == "1.1.0" for one in self.nodes.values())


def test_wave_after_wave_until_all_have_it() -> None:
    fleet = Fleet.of(100)
    begun: list[int] = []
    while (made := fleet.step()).rollout.phase is not Phase.COMPLETED:
        if fleet.with_it() not in begun:
            begun.append(fleet.with_it())
    assert begun == [1, 10, 50, 100]
    assert (made.updated, made.failed) == (100, ())
    # Four waves, each with its minutes of updating and ten of being healthy.
    assert 4 * 600 <= fleet.now_s - 1_000_000 <= 4 * 600 + 4 * 5 * STEP_S


def test_a_wave_that_is_not_healthy_is_not_followed_by_another() -> None:
    fleet = Fleet.of(100)
    fleet.run(10)
    assert fleet.with_it() == 1
    [first] = [name for name, node in fleet.nodes.items() if node.running == "1.1.0"]
    fleet.nodes[first] = replace(fleet.nodes[first], state="Expired")
    fleet.run(40)
    assert fleet.with_it() == 1
    fleet.nodes[first] = replace(fleet.nodes[first], state="Affirmed")
    made = fleet.run(19)
    assert made.rollout.wave == 0
    fleet.run(3)
    assert fleet.with_it() == 10


@pytest.mark.parametrize("behaviour", [is_contraindicated_by_it, cannot_install_it, does_not_answer])
def test_a_release_that_fails_goes_back_by_itself(behaviour: Behaviour) -> None:
    fleet = Fleet.of(100, **{f"node-{number}": behaviour for number in range(0, 100, 7)})
    made = fleet.run(1000, Phase.ROLLED_BACK)
    assert made.rollout.phase is Phase.ROLLED_BACK
    assert "go back to what they ran before" in made.rollout.message
    assert {node.running for node in fleet.nodes.values() if node.state == "Affirmed"} == {"1.0.0"}
    assert fleet.run(50).assign == ()


def test_allowed_failures_stop_nothing() -> None:
    fleet = Fleet.of(20, **{"node-3": cannot_install_it})
    fleet.firmware = replace(FIRMWARE, failures_allowed=1)
    made = fleet.run(1000, Phase.COMPLETED)
    assert made.rollout.phase is Phase.COMPLETED
    assert (made.updated, made.failed) == (19, ("node-3",))


def test_a_node_that_cannot_go_back_holds_up_nobody() -> None:
    fleet = Fleet.of(10, **{"node-1": is_contraindicated_by_it})
    fleet.firmware = replace(FIRMWARE, waves=("100%",))
    accepted = "node-2"
    fleet.run(4)

    def cannot_go_back(node: NodeView, now_s: float) -> NodeView:
        return cannot_install_it(node, now_s)

    fleet.behaviours[accepted] = cannot_go_back
    made = fleet.run(100, Phase.ROLLED_BACK)
    assert made.rollout.phase is Phase.ROLLED_BACK


def test_paused_by_hand() -> None:
    fleet = Fleet.of(100)
    fleet.run(3)
    fleet.firmware = replace(FIRMWARE, paused=True)
    made = fleet.run(100)
    assert made.rollout.phase is Phase.PAUSED
    assert fleet.with_it() == 1
    fleet.firmware = FIRMWARE
    assert fleet.run(1000, Phase.COMPLETED).rollout.phase is Phase.COMPLETED


def test_nodes_that_were_not_in_trust_take_it_last_and_only_the_end_waits_for_them() -> None:
    fleet = Fleet.of(10, **{"node-4": does_not_answer})
    fleet.nodes["node-4"] = replace(fleet.nodes["node-4"], state="Contraindicated", evaluated_s=2_000_000.0)
    fleet.nodes["node-5"] = replace(fleet.nodes["node-5"], state="Contraindicated")
    fleet.firmware = replace(FIRMWARE, waves=("8", "100%"))
    fleet.run(15)
    assert all(fleet.nodes[name].assignment is None for name in ("node-4", "node-5"))
    made = fleet.run(1000, Phase.COMPLETED)
    assert made.updated == 9
    assert fleet.nodes["node-5"].state == "Affirmed"
    told = fleet.nodes["node-4"].assignment
    assert told is not None
    assert fleet.now_s - told.assigned_s > FIRMWARE.node_timeout_s


def test_nothing_more_is_done_after_the_end() -> None:
    def takes_twenty_minutes(node: NodeView, now_s: float) -> NodeView:
        assert node.assignment is not None
        return updates_in_a_minute(node, now_s) if now_s - node.assignment.assigned_s > 1200 else node

    fleet = Fleet.of(10, **{"node-4": takes_twenty_minutes})
    fleet.nodes["node-4"] = replace(fleet.nodes["node-4"], state="Contraindicated")
    assert fleet.run(1000, Phase.COMPLETED).updating == 0
    assert fleet.nodes["node-4"].state == "Affirmed"


def test_the_end_does_not_wait_for_who_has_said_that_it_cannot() -> None:
    fleet = Fleet.of(2, **{"node-1": cannot_install_it})
    fleet.nodes["node-1"] = replace(fleet.nodes["node-1"], state="Contraindicated")
    fleet.run(1000, Phase.COMPLETED)
    told = fleet.nodes["node-1"].assignment
    assert told is not None
    assert fleet.now_s - told.assigned_s < FIRMWARE.node_timeout_s


def test_nodes_that_run_it_already_are_told_nothing() -> None:
    fleet = Fleet.of(3)
    fleet.nodes = {name: replace(node, running="1.1.0") for name, node in fleet.nodes.items()}
    assert fleet.run(100, Phase.COMPLETED).updated == 3
    assert fleet.with_it() == 0


def test_a_node_that_joins_later_gets_it() -> None:
    fleet = Fleet.of(3)
    fleet.run(1000, Phase.COMPLETED)
    fleet.nodes["late"] = NodeView(name="late", state="Affirmed", running="1.0.0", evaluated_s=0.0)
    assert fleet.step().rollout.phase is Phase.PROGRESSING
    assert fleet.run(1000, Phase.COMPLETED).updated == 4


def test_another_release_begins_anew() -> None:
    fleet = Fleet.of(10, **{f"node-{number}": is_contraindicated_by_it for number in range(10)})
    fleet.run(1000, Phase.ROLLED_BACK)
    fleet.behaviours = {}
    fleet.firmware = replace(FIRMWARE, version="1.1.1")
    made = fleet.run(1000, Phase.COMPLETED)
    assert (made.rollout.version, made.updated) == ("1.1.1", 10)


def test_no_nodes() -> None:
    assert Fleet.of(0).run(100).updated == 0


def test_an_assignment_says_what_was_before() -> None:
    fleet = Fleet.of(1)
    [(name, assignment)] = fleet.step().assign
    assert name == "node-0"
    assert assignment == Assignment(version="1.1.0", assigned_s=1_000_000.0, previous="1.0.0", was_affirmed=True)


@pytest.mark.parametrize(
    ("waves", "total", "sizes"),
    [
        (("1", "10%", "50%", "100%"), 100, (1, 10, 50, 100)),
        (("1", "10%", "50%", "100%"), 3, (1, 1, 2, 3)),
        (("10%",), 5, (1, 5)),
        (("50", "10"), 100, (50, 50, 100)),
        (("7",), 0, (0,)),
    ],
)
def test_waves(waves: tuple[str, ...], total: int, sizes: tuple[int, ...]) -> None:
    assert replace(FIRMWARE, waves=waves).wave_sizes(total) == sizes
