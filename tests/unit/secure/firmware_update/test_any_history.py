"""Updates in any order, with the power cut at any change: what holds after every boot of every history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgeroot.abi.fwu_objects import FwuState
from edgeroot.secure.boot.trial import MAX_TRIAL_BOOTS
from edgeroot.secure.partitions.firmware_update.agent import FwuError
from tests.support.powered_device import (
    FIRST,
    RELEASES_MAX,
    SECOND,
    Device,
    Loss,
    Outcome,
    PowerCutError,
    kept,
    lost,
    restarted,
    torn,
)

CHANGES: Final = st.none() | st.integers(0, 9) | st.integers(0, 30)
LOSSES: Final = st.sampled_from((lost, kept)) | st.integers(0, 1000).map(torn)
KINDS: Final = st.sampled_from(((FIRST,), (SECOND,), (FIRST, SECOND)))


class History(RuleBasedStateMachine):
    """``accepted`` is all that was accepted so far, or may have been when the power went."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted: set[tuple[int, ...]] = {(1, 1)}
        self.release = 1
        self.counter = 1
        self.trials = 0

    @initialize()
    def leave_the_factory(self) -> None:
        self.device = restarted(Device.from_factory())
        self.boot()

    def boot(self, cut: int | None = None, loss: Loss = kept) -> None:
        while True:
            if cut is not None:
                self.device.power.cut_at = self.device.power.changes + cut
                cut = None
            try:
                self.outcome = self.device.boot()
            except PowerCutError:
                self.device = restarted(self.device, loss)
            else:
                break
        self.trials = self.trials + 1 if self.outcome.state is FwuState.TRIAL else 0
        assert self.trials <= MAX_TRIAL_BOOTS

    def go(self, step: Callable[[], object], cut: int | None, loss: Loss) -> None:
        """One step, after which the device boots if the power went."""
        if cut is not None:
            self.device.power.cut_at = self.device.power.changes + cut
        try:
            step()
        except FwuError:
            pass  # not in this state
        except PowerCutError:
            self.device = restarted(self.device, loss)
            self.boot()

    @rule(cut=CHANGES, loss=LOSSES)
    def reboot(self, cut: int | None, loss: Loss) -> None:
        self.device = restarted(self.device)
        self.boot(cut, loss)

    @precondition(lambda self: self.release < RELEASES_MAX)
    @rule(kinds=KINDS, cut=CHANGES, loss=LOSSES)
    def install(self, kinds: tuple[UUID, ...], cut: int | None, loss: Loss) -> None:
        self.release += 1
        if self.device.agent.state is FwuState.REGULAR:
            self.trials = 0
        self.go(lambda: self.device.update(self.release, *kinds), cut, loss)

    @rule(cut=CHANGES, loss=LOSSES)
    def stage_and_give_up(self, cut: int | None, loss: Loss) -> None:
        def step() -> None:
            self.device.agent.begin_staging()
            self.device.install(self.release, FIRST)
            self.device.agent.cancel_staging()

        self.go(step, cut, loss)

    @rule(kind=st.sampled_from((FIRST, SECOND)), cut=CHANGES, loss=LOSSES)
    def accept_one(self, kind: UUID, cut: int | None, loss: Loss) -> None:
        if self.device.agent.state is FwuState.TRIAL:
            self.accepted |= {self.device.releases(self.device.bank)}
        self.go(lambda: self.device.agent.accept_image(kind), cut, loss)

    @rule(cut=CHANGES, loss=LOSSES)
    def accept(self, cut: int | None, loss: Loss) -> None:
        if self.device.agent.state is FwuState.TRIAL:
            self.accepted |= {self.device.releases(self.device.bank)}
        self.go(self.device.accept, cut, loss)

    @rule(cut=CHANGES, loss=LOSSES)
    def reject(self, cut: int | None, loss: Loss) -> None:
        self.go(self.device.agent.select_previous, cut, loss)

    @invariant()
    def what_runs_was_accepted_or_is_on_trial(self) -> None:
        outcome: Outcome = self.device.outcome()
        assert outcome.counter >= self.counter
        self.counter = outcome.counter
        assert outcome.counter <= max(min(releases) for releases in self.accepted)
        assert min(outcome.releases) >= outcome.counter
        if self.outcome.state is FwuState.REGULAR:
            assert outcome.releases in self.accepted


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
