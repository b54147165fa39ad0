"""What a node does next to run the firmware that it is told to run. Pure: what is there comes in, one step comes out.

The steps are those of ``edgeroot update``, which carries them out: what is a good image, and what may follow what, is
the device's own to say, and nothing here can change it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from edgeroot.edge.firmware.plan import NodePhase, Report

# How long firmware on trial has to get its verdict; after that it is taken back.
TRIAL_S: Final = 900.0
# So often a release is refused before it counts as one that cannot be installed. Who was only cut off, by a restart
# or for want of power, has more tries, but not for ever: it may be the installation that brings the node down.
_REFUSALS: Final = 3
_INSTALLS: Final = 10


class Step(Enum):
    """``RESTART``: of the secure world, which boots what was installed, or comes back to what was before."""

    INSTALL = auto()
    RESTART = auto()
    ACCEPT = auto()
    REJECT = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What ``edgeroot update status`` says: the manager's version, and the state of the components as a whole.

    ``state`` is the most advanced of PSA's component states (PSA Firmware Update API 1.0, clause 4.2.1).
    """

    running: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered over restarts, of the version that is wanted now.

    ``installs`` were begun, and ``refusals`` of them were refused. ``restarted``: it was booted, or was to be.
    ``trial_since_s``: since when it is on trial. ``trouble`` is what the last step failed with, ``failure`` why nothing
    more is tried.
    """

    version: str
    installs: int = 0
    refusals: int = 0
    restarted: bool = False
    trial_since_s: float | None = None
    trouble: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``memory`` is written down before the step is carried out: a crash in between is no excuse for one more try."""

    step: Step
    memory: Memory
    report: Report


def decide(wanted: str, found: Found, memory: Memory | None, now_s: float) -> Decision:
    """The next step towards the wanted version."""
    if memory is None or memory.version != wanted:
        memory = Memory(version=wanted)
    if found.state == "STAGED":
        if memory.installs == 0 or memory.failure:  # another version than is wanted now: it never has to boot
            return _decision(Step.REJECT, memory, NodePhase.INSTALLING)
        return _decision(Step.RESTART, replace(memory, restarted=True), NodePhase.INSTALLING)
    if found.state == "REJECTED":
        return _decision(Step.RESTART, memory, NodePhase.FAILED if memory.failure else NodePhase.INSTALLING)
    if found.state == "TRIAL":
        return _on_trial(wanted, found, memory, now_s)
    if found.running == wanted:
        return _decision(Step.NOTHING, replace(memory, failure="", trouble=""), NodePhase.ACCEPTED)
    if not memory.failure and memory.restarted:
        memory = replace(memory, failure="it did not boot, or did not stay: the firmware before came back")
    if not memory.failure and (memory.refusals >= _REFUSALS or memory.installs >= _INSTALLS):
        memory = replace(memory, failure=f"it could not be installed: {memory.trouble or 'it was cut off each time'}")
    if memory.failure:
        return _decision(Step.NOTHING, memory, NodePhase.FAILED)
    return _decision(Step.INSTALL, replace(memory, installs=memory.installs + 1), NodePhase.INSTALLING)


def after_trouble(decision: Decision, trouble: str) -> Decision:
    """What is remembered and reported of a step that was refused."""
    refusals = decision.memory.refusals + (decision.step is Step.INSTALL)
    memory = replace(decision.memory, refusals=refusals, trouble=trouble)
    report = replace(decision.report, message=memory.failure or trouble)
    return replace(decision, memory=memory, report=report)


def _on_trial(wanted: str, found: Found, memory: Memory, now_s: float) -> Decision:
    if found.running != wanted:  # it was called off meanwhile
        return _decision(Step.REJECT, memory, NodePhase.INSTALLING)
    since_s = memory.trial_since_s if memory.trial_since_s is not None else now_s
    memory = replace(memory, trial_since_s=since_s)
    if not 0 <= now_s - since_s <= TRIAL_S:  # a clock that was set back gives no more time
        why = memory.trouble or "no verdict"
        memory = replace(memory, failure=f"it was not accepted while it was on trial ({why}), and was taken back")
        return _decision(Step.REJECT, memory, NodePhase.FAILED)
    return _decision(Step.ACCEPT, memory, NodePhase.ON_TRIAL)


def _decision(step: Step, memory: Memory, phase: NodePhase) -> Decision:
    message = memory.failure or memory.trouble
    return Decision(step=step, memory=memory, report=Report(version=memory.version, phase=phase, message=message))
