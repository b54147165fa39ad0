"""Which bank boots: what holds for all metadata, attempts and failures that there can be, tried one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Final
from uuid import UUID

import pytest

from edgeroot.abi.fwu_objects import BankState, FwuMetadata
from edgeroot.secure.boot.choice import Choice, choose
from edgeroot.secure.boot.trial import ANY_BANK, MAX_TRIAL_BOOTS, Attempts
from edgeroot.secure.partitions.firmware_update.banks import fresh, is_accepted, other
from edgeroot.secure.partitions.firmware_update.layout import BANKS, BLOCK_BYTES, FirmwareImage, FlashLayout

LAYOUT: Final = FlashLayout(
    location=UUID(int=1),
    images=tuple(
        FirmwareImage(image_type=UUID(int=number), areas=(UUID(int=8), UUID(int=9)), max_size_bytes=BLOCK_BYTES)
        for number in (2, 3)
    ),
)
DAMAGED: Final = Attempts(ANY_BANK, MAX_TRIAL_BOOTS)
BOTH: Final = range(BANKS)
ATTEMPTS: Final = (None, DAMAGED, *(Attempts(bank, count) for bank in (*BOTH, ANY_BANK) for count in range(5)))
FAILED: Final = tuple(map(frozenset, ((), (0,), (1,), (0, 1))))
INVALID, ACCEPTED = BankState.INVALID, BankState.ACCEPTED


def metadata(
    *,
    active: int,
    previous: int = 0,
    accepted: Iterable[tuple[int, ...]],
    states: tuple[BankState, ...] = (ACCEPTED, ACCEPTED),
) -> FwuMetadata:
    """``accepted`` has a pair for each image: its flags in bank 0 and bank 1."""
    images = tuple(
        replace(entry, banks=tuple(replace(bank, accepted=flag) for bank, flag in zip(entry.banks, flags, strict=True)))
        for entry, flags in zip(fresh(LAYOUT, 0).images, accepted, strict=True)
    )
    return replace(
        fresh(LAYOUT, 0), active_index=active, previous_active_index=previous, images=images, bank_states=states
    )


@cache
def everything() -> tuple[FwuMetadata, ...]:
    flags = tuple(product((0, 1), repeat=2))
    return tuple(
        metadata(active=active, previous=previous, accepted=(first, second), states=states)
        for active, previous, first, second in product(BOTH, BOTH, flags, flags)
        for states in product(BankState, repeat=2)
    )


def cases() -> Iterator[tuple[FwuMetadata, Attempts | None, frozenset[int], Choice | None]]:
    for found, attempts, failed in product(everything(), ATTEMPTS, FAILED):
        yield found, attempts, failed, choose(found, attempts, failed=failed)


def may_boot(found: FwuMetadata, bank: int, failed: frozenset[int]) -> bool:
    is_candidate = is_accepted(found, bank) or bank == found.active_index
    return bank not in failed and found.bank_states[bank] != INVALID and is_candidate


def counted(attempts: Attempts | None, bank: int) -> int:
    return attempts.count if attempts is not None and attempts.bank in (bank, ANY_BANK) else 0


def test_a_bank_that_may_boot_is_found_and_no_other() -> None:
    for found, _, failed, choice in cases():
        candidates = [bank for bank in BOTH if may_boot(found, bank, failed)]
        assert (choice is None) == (not candidates)
        if choice is not None:
            assert choice.bank in candidates


def test_a_bank_is_on_trial_if_it_is_active_and_was_not_accepted() -> None:
    for found, _, _, choice in cases():
        if choice is not None:
            assert choice.is_trial is not is_accepted(found, choice.bank)
            assert not choice.is_trial or choice.bank == found.active_index


def test_an_accepted_active_bank_comes_first_whatever_was_counted() -> None:
    for found, _, failed, choice in cases():
        active = found.active_index
        if is_accepted(found, active) and may_boot(found, active, failed):
            assert choice == Choice(bank=active, is_trial=False, attempts=None)


def test_the_other_bank_boots_only_for_a_reason_and_what_was_counted_stays() -> None:
    for found, attempts, failed, choice in cases():
        if choice is None or choice.bank == found.active_index:
            continue
        active = found.active_index
        was_tried = not is_accepted(found, active) and counted(attempts, active) >= MAX_TRIAL_BOOTS
        assert was_tried or not may_boot(found, active, failed)
        assert choice.attempts == attempts


def test_each_trial_boot_is_counted_and_there_are_not_too_many_while_the_other_bank_is_good() -> None:
    for found, attempts, failed, choice in cases():
        if choice is None or not choice.is_trial:
            continue
        assert choice.attempts == Attempts(choice.bank, counted(attempts, choice.bank) + 1)
        if may_boot(found, other(choice.bank), failed):
            assert choice.attempts.count <= MAX_TRIAL_BOOTS


def test_boot_after_boot_a_trial_ends_and_the_good_bank_stays() -> None:
    for found, first in product(everything(), ATTEMPTS):
        attempts, trials = first, []
        for _ in range(MAX_TRIAL_BOOTS + 2):
            choice = choose(found, attempts, failed=frozenset())
            if choice is None:
                break
            trials.append(choice.is_trial)
            attempts = choice.attempts
        if may_boot(found, other(found.active_index), frozenset()):
            assert sum(trials) <= MAX_TRIAL_BOOTS
            assert trials == sorted(trials, reverse=True), "a trial that was over began again"
        else:  # there is nothing to go back to, so what there is goes on booting
            assert len(set(trials)) <= 1


def test_where_the_count_is_lost_a_trial_is_over_and_the_device_boots() -> None:
    for found, failed in product(everything(), FAILED):
        choice, whole = choose(found, DAMAGED, failed=failed), choose(found, None, failed=failed)
        assert (choice is None) == (whole is None)
        if choice is not None and may_boot(found, other(found.active_index), failed):
            assert not choice.is_trial


def test_the_previous_bank_decides_nothing() -> None:
    for found, attempts, failed, choice in cases():
        turned = replace(found, previous_active_index=other(found.previous_active_index))
        assert choose(turned, attempts, failed=failed) == choice


@pytest.mark.parametrize(
    ("attempts", "failed", "expected"),
    [
        (None, (), Choice(bank=1, is_trial=True, attempts=Attempts(1, 1))),
        (Attempts(1, 2), (), Choice(bank=1, is_trial=True, attempts=Attempts(1, 3))),
        (Attempts(0, 3), (), Choice(bank=1, is_trial=True, attempts=Attempts(1, 1))),
        (Attempts(1, 3), (), Choice(bank=0, is_trial=False, attempts=Attempts(1, 3))),
        (Attempts(1, 1), (1,), Choice(bank=0, is_trial=False, attempts=Attempts(1, 1))),
        (Attempts(1, 3), (0,), Choice(bank=1, is_trial=True, attempts=Attempts(1, 4))),
        (DAMAGED, (), Choice(bank=0, is_trial=False, attempts=DAMAGED)),
        (None, (0, 1), None),
    ],
)
def test_an_update_that_waits_for_its_acceptance(
    attempts: Attempts | None, failed: tuple[int, ...], expected: Choice | None
) -> None:
    found = metadata(active=1, accepted=((1, 0), (1, 1)), states=(ACCEPTED, BankState.VALID))

    assert choose(found, attempts, failed=frozenset(failed)) == expected


def test_a_bank_that_is_being_overwritten_boots_never() -> None:
    found = metadata(active=0, accepted=((1, 0), (1, 0)), states=(ACCEPTED, INVALID))

    for attempts in ATTEMPTS:
        assert choose(found, attempts, failed=frozenset({0})) is None
