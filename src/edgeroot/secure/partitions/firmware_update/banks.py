"""What happens to the banks, as changes of the metadata alone (DEN0118; Trusted Services 1.2).

``booted`` is the bank that this boot came from; the other one is for updates. Each change is written as one, so the
first boot stages see the state before or after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from uuid import UUID

from edgeroot.abi.fwu_objects import BankImage, BankState, FwuMetadata, FwuState, ImageEntry
from edgeroot.secure.partitions.firmware_update.layout import BANKS, FlashLayout

_VERSION: Final = 2


def other(bank: int) -> int:
    return 1 - bank


def fresh(layout: FlashLayout, booted: int) -> FwuMetadata:
    """Where there is no metadata: the bank that has booted is all that can be relied on."""
    entries = tuple(
        ImageEntry(
            image_type=image.image_type,
            location=layout.location,
            banks=tuple(BankImage(image=area, accepted=int(bank == booted)) for bank, area in enumerate(image.areas)),
        )
        for image in layout.images
    )
    states = tuple(BankState.ACCEPTED if bank == booted else BankState.INVALID for bank in range(BANKS))
    return FwuMetadata(
        version=_VERSION, active_index=booted, previous_active_index=booted, images=entries, bank_states=states
    )


def fits(metadata: FwuMetadata, layout: FlashLayout) -> bool:
    """Whether the metadata is of this flash: version, banks, and the same images in the same order."""
    described = [(entry.image_type, tuple(bank.image for bank in entry.banks)) for entry in metadata.images]
    return (
        metadata.version == _VERSION
        and len(metadata.bank_states) == BANKS
        and metadata.active_index < BANKS
        and metadata.previous_active_index < BANKS
        and described == [(image.image_type, image.areas) for image in layout.images]
    )


def is_accepted(metadata: FwuMetadata, bank: int) -> bool:
    """Whether every image in the bank is."""
    return all(entry.banks[bank].accepted for entry in metadata.images)


def bank_to_boot(metadata: FwuMetadata) -> int:
    """What the first boot stages choose: the active bank, and if that holds nothing, the previous one."""
    active = metadata.active_index
    return metadata.previous_active_index if metadata.bank_states[active] == BankState.INVALID else active


def state_of(metadata: FwuMetadata, booted: int) -> FwuState:
    """The state outside of staging.

    A trial that was rejected is over, although its bank still runs until the next boot: REGULAR.
    """
    accepted = is_accepted(metadata, booted)
    if metadata.active_index == booted:
        return FwuState.REGULAR if accepted else FwuState.TRIAL
    return FwuState.TRIAL_PENDING if accepted else FwuState.REGULAR


def fall_back(metadata: FwuMetadata, booted: int) -> FwuMetadata:
    """The active bank did not boot: do not let it fail again."""
    return replace(metadata, active_index=booted, previous_active_index=booted)


def begin(metadata: FwuMetadata, booted: int) -> FwuMetadata:
    """The other bank is about to be overwritten: nobody may boot from it."""
    emptied = _with_accepted(metadata, other(booted), dict.fromkeys(_types(metadata), False))
    return _with_state(fall_back(emptied, booted), other(booted), BankState.INVALID)


def finish(metadata: FwuMetadata, booted: int, accepted: Mapping[UUID, bool]) -> FwuMetadata:
    """The other bank is complete: boot from it next. ``accepted``: which of its images need no trial."""
    complete = _with_accepted(metadata, other(booted), accepted)
    state = BankState.ACCEPTED if is_accepted(complete, other(booted)) else BankState.VALID
    switched = replace(complete, active_index=other(booted), previous_active_index=booted)
    return _with_state(switched, other(booted), state)


def accept(metadata: FwuMetadata, booted: int, image_type: UUID) -> FwuMetadata:
    """An image on trial is good; with the last one, the bank is."""
    changed = _with_accepted(metadata, booted, {image_type: True})
    return _with_state(changed, booted, BankState.ACCEPTED) if is_accepted(changed, booted) else changed


def select(metadata: FwuMetadata, bank: int) -> FwuMetadata:
    """Boot from a bank that was accepted before, and never fall back to the one that was rejected."""
    changed = _with_accepted(metadata, bank, dict.fromkeys(_types(metadata), True))
    return _with_state(fall_back(changed, bank), bank, BankState.ACCEPTED)


def _types(metadata: FwuMetadata) -> list[UUID]:
    return [entry.image_type for entry in metadata.images]


def _with_state(metadata: FwuMetadata, bank: int, state: BankState) -> FwuMetadata:
    states = list(metadata.bank_states)
    states[bank] = state
    return replace(metadata, bank_states=tuple(states))


def _with_accepted(metadata: FwuMetadata, bank: int, accepted: Mapping[UUID, bool]) -> FwuMetadata:
    return replace(metadata, images=tuple(_entry_with(entry, bank, accepted) for entry in metadata.images))


def _entry_with(entry: ImageEntry, bank: int, accepted: Mapping[UUID, bool]) -> ImageEntry:
    if entry.image_type not in accepted:
        return entry
    banks = list(entry.banks)
    banks[bank] = replace(banks[bank], accepted=int(accepted[entry.image_type]))
    return replace(entry, banks=tuple(banks))
