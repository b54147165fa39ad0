"""The power is cut at every change of every transition, and again while the device recovers from that.

Afterwards it boots what is whole and permitted, in a state that the transition allows, and takes the next update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from edgeroot.abi.fwu_objects import FwuState
from edgeroot.psa import Lifecycle
from edgeroot.secure.boot.commands import factory as factory_commands
from edgeroot.secure.boot.fuses import Fuses
from edgeroot.secure.boot.root_keys import RootKeys
from edgeroot.secure.boot.trial import MAX_TRIAL_BOOTS
from edgeroot.secure.partitions.firmware_update.firmware import FLASH_FILE
from edgeroot.secure.partitions.firmware_update.metadata_store import MetadataStore
from edgeroot.secure.spm.state import State
from edgeroot.secure.stage.places import FLASH
from tests.support.powered_device import (
    FIRST,
    LAYOUT,
    NEVER,
    SECOND,
    Device,
    Loss,
    Outcome,
    PowerCutError,
    Remains,
    image,
    kept,
    lost,
    restarted,
    torn,
)

REGULAR, TRIAL = FwuState.REGULAR, FwuState.TRIAL
LOSSES: Final[tuple[Loss, ...]] = (lost, kept, *(torn(seed) for seed in range(4)))
LOSSES_AGAIN: Final[tuple[Loss, ...]] = (lost, kept, torn(7))
Go = Callable[[Device], object]

OLD: Final = Outcome(REGULAR, (1, 1), 1)
NEW_ON_TRIAL: Final = Outcome(TRIAL, (2, 2), 1)
NEW: Final = Outcome(REGULAR, (2, 2), 2)
PARTLY_NEW_ON_TRIAL: Final = Outcome(TRIAL, (2, 1), 1)
NEXT_ON_TRIAL: Final = Outcome(TRIAL, (3, 3), 2)


def booted(device: Device) -> Device:
    device = restarted(device)
    device.boot()
    return device


def factory() -> Device:
    return restarted(Device.from_factory())


def regular() -> Device:
    return booted(factory())


def staging() -> Device:
    device = regular()
    device.agent.begin_staging()
    return device


def staged() -> Device:
    device = staging()
    device.install(2, FIRST, SECOND)
    return device


def partly_staged() -> Device:
    device = staging()
    device.install(2, FIRST)
    return device


def staged_without_trial() -> Device:
    device = staging()
    device.install(2, FIRST, SECOND, accepted=True)
    return device


def pending() -> Device:
    device = staged()
    device.agent.end_staging()
    return device


def pending_without_trial() -> Device:
    device = staged_without_trial()
    device.agent.end_staging()
    return device


def trial() -> Device:
    return booted(pending())


def half_accepted() -> Device:
    device = trial()
    device.agent.accept_image(FIRST)
    return device


def rejected() -> Device:
    device = trial()
    device.agent.select_previous()
    return device


def tried(boots: int) -> Callable[[], Device]:
    def make() -> Device:
        device = pending()
        for _ in range(boots):
            device = booted(device)
        return restarted(device)

    return make


def accepted() -> Device:
    """Release 2, from the second bank: what is installed next overwrites the first one."""
    device = half_accepted()
    device.agent.accept_image(SECOND)
    return booted(device)


def next_staged() -> Device:
    device = accepted()
    device.agent.begin_staging()
    device.install(3, FIRST, SECOND)
    return device


class Arrow(NamedTuple):
    start: Callable[[], Device]
    go: Go
    outcomes: frozenset[Outcome]


def arrow(start: Callable[[], Device], go: Go, *outcomes: Outcome) -> Arrow:
    return Arrow(start, go, frozenset(outcomes))


def boot(device: Device) -> object:
    return device.boot()


ARROWS: Final[dict[str, Arrow]] = {
    "first boot": arrow(factory, boot, OLD),
    "begin": arrow(regular, lambda device: device.agent.begin_staging(), OLD),
    "install": arrow(staging, lambda device: device.install(2, FIRST, SECOND), OLD),
    "install again": arrow(staged, lambda device: device.install(2, FIRST, SECOND), OLD),
    "begin anew": arrow(staged, lambda device: device.agent.begin_staging(), OLD),
    "end": arrow(staged, lambda device: device.agent.end_staging(), OLD, NEW_ON_TRIAL),
    "end of a part": arrow(partly_staged, lambda device: device.agent.end_staging(), OLD, PARTLY_NEW_ON_TRIAL),
    "end without a trial": arrow(staged_without_trial, lambda device: device.agent.end_staging(), OLD, NEW),
    "all of an update": arrow(regular, lambda device: device.update(2), OLD, NEW_ON_TRIAL),
    "first trial boot": arrow(lambda: restarted(pending()), boot, NEW_ON_TRIAL),
    "last trial boot": arrow(tried(MAX_TRIAL_BOOTS - 1), boot, NEW_ON_TRIAL, OLD),
    "fall back": arrow(tried(MAX_TRIAL_BOOTS), boot, OLD),
    "boot without a trial": arrow(lambda: restarted(pending_without_trial()), boot, NEW),
    "accept one": arrow(trial, lambda device: device.agent.accept_image(FIRST), NEW_ON_TRIAL),
    "accept the last": arrow(half_accepted, lambda device: device.agent.accept_image(SECOND), NEW_ON_TRIAL, NEW),
    "accept all": arrow(trial, lambda device: device.accept(), NEW_ON_TRIAL, NEW),
    "call off": arrow(pending, lambda device: device.agent.select_previous(), OLD, NEW_ON_TRIAL),
    "reject": arrow(trial, lambda device: device.agent.select_previous(), OLD, NEW_ON_TRIAL),
    "boot after rejecting": arrow(lambda: restarted(rejected()), boot, OLD),
    "begin over the older bank": arrow(accepted, lambda device: device.agent.begin_staging(), NEW),
    "end of the next": arrow(next_staged, lambda device: device.agent.end_staging(), NEW, NEXT_ON_TRIAL),
}


def cuts(start: Callable[[], Device], go: Go, losses: tuple[Loss, ...]) -> Iterator[Remains]:
    """What is left after each cut, and after none; each only once."""
    seen = set()
    cut_at = 0
    is_over = False
    while not is_over:
        device = start()
        device.power.cut_at = device.power.changes + cut_at
        try:
            go(device)
        except PowerCutError:
            cut_at += 1
        else:
            is_over = True
        for loss in losses:
            remains = device.without_power(loss)
            if remains not in seen:
                seen.add(remains)
                yield remains


def check_next_update(device: Device) -> None:
    """It works, whatever was before, and so do acceptance and the counter."""
    if device.agent.state is TRIAL:
        device.agent.select_previous()
        device = booted(device)
    device.update(4)
    device = booted(device)
    assert device.outcome().state is TRIAL
    device.accept()
    assert booted(device).outcome() == Outcome(REGULAR, (4, 4), 4)


@pytest.mark.parametrize("name", ARROWS)
def test_after_a_cut_and_another_one_it_boots_what_is_whole_and_permitted(name: str) -> None:
    start, go, outcomes = ARROWS[name]
    seen = set()
    for remains in cuts(start, go, LOSSES):
        for again in cuts(partial(Device, remains), boot, LOSSES_AGAIN):
            outcome = Device(again).boot()
            assert outcome in outcomes
        device = Device(remains)
        outcome = device.boot()
        seen.add(outcome)
        check_next_update(device)
    assert seen == outcomes


def test_after_a_fall_back_the_next_update_has_its_own_trial() -> None:
    """In the same boot, too: what was counted was the boots of the update before."""
    device = booted(tried(MAX_TRIAL_BOOTS)())
    assert device.outcome() == OLD
    device.update(3)

    for _ in range(MAX_TRIAL_BOOTS):
        device = booted(device)
        assert device.outcome() == Outcome(TRIAL, (3, 3), 1)
    assert booted(device).outcome() == OLD


def test_provisioning_leaves_no_firmware_or_all_of_it_and_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(tmp_path, tmp_path)
    (tmp_path / FLASH).mkdir()
    (tmp_path / FLASH / FLASH_FILE).touch()  # whose owner is changed; what is in it, is in the device
    names = dict(zip(("one", "two"), (FIRST, SECOND), strict=True))
    monkeypatch.setattr(factory_commands, "LAYOUT", LAYOUT)
    monkeypatch.setattr(factory_commands, "IMAGE_TYPES", names)

    def write(device: Device, release: int = 5) -> None:
        monkeypatch.setattr(factory_commands, "FileFlash", lambda *_, **__: device.flash)
        factory_commands.write_firmware(state, {name: image(release, kind) for name, kind in names.items()})

    for start, before in ((Device(Remains()), None), (trial(), NEW_ON_TRIAL)):
        seen: set[Outcome | None] = set()
        for remains in cuts(partial(restarted, start), write, LOSSES):
            device = Device(remains)
            seen.add(None if MetadataStore(device.flash).peek() is None else device.boot())
            again = Device(remains)
            write(again)
            assert booted(again).outcome().releases == (5, 5)
        after = {outcome.releases for outcome in seen if outcome not in (None, before)}
        assert None in seen
        assert after == {(5, 5)}


def test_a_restart_of_the_partition_alone_is_no_boot_and_loses_nothing() -> None:
    """The agent is made anew in the same boot, after a cut that only it felt."""
    for name in ("begin", "end", "accept the last", "reject"):
        start, go, outcomes = ARROWS[name]
        for cut_at in range(20):
            device = start()
            device.power.cut_at = device.power.changes + cut_at
            try:
                go(device)
            except PowerCutError:
                device.power.cut_at = NEVER
            device.agent.recover()
            device.check_copies()
            assert booted(device).outcome() in outcomes


@pytest.mark.parametrize("state", [Lifecycle.SECURED, Lifecycle.DECOMMISSIONED])
def test_the_life_cycle_is_the_old_or_the_new_one(state: Lifecycle) -> None:
    def start() -> Device:
        device = Device(Remains())
        Fuses(device.memory).provision([bytes(32)], security_counter=5)
        return device

    found = {
        (fuses.lifecycle(), fuses.security_counter(), fuses.root_keys())
        for remains in cuts(start, lambda device: Fuses(device.memory).advance(state), LOSSES)
        for fuses in [Fuses(Device(remains).memory)]
    }

    assert found == {(one, 5, RootKeys.of(bytes(32))) for one in (Lifecycle.PSA_ROT_PROVISIONING, state)}


def test_the_counter_is_the_old_or_the_new_one_until_there_is_no_word_left() -> None:
    device = Device.from_factory()
    for value in range(2, 65):
        remains = device.without_power()

        def raise_it(later: Device, value: int = value) -> None:
            Fuses(later.memory).raise_counter(value)

        found = {
            Fuses(Device(one).memory).security_counter() for one in cuts(partial(Device, remains), raise_it, (kept,))
        }
        assert found == {value - 1, value}
        raise_it(device)


def test_a_key_is_revoked_or_not() -> None:
    keys = RootKeys.of(bytes(32), b"\1" * 32)

    def start() -> Device:
        device = Device(Remains())
        Fuses(device.memory).provision([one.key_hash for one in keys.slots], security_counter=5)
        Fuses(device.memory).advance(Lifecycle.SECURED)
        return device

    found = {
        (fuses.lifecycle(), fuses.security_counter(), fuses.root_keys())
        for remains in cuts(start, lambda device: Fuses(device.memory).revoke(0), LOSSES)
        for fuses in [Fuses(Device(remains).memory)]
    }

    assert found == {(Lifecycle.SECURED, 5, one) for one in (keys, keys.without(0))}
