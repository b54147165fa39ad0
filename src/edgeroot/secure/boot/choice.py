"""Which bank boots: pure rules over the update agent's metadata (DEN0118) and the attempts that were counted.

An update that nobody has accepted boots on trial, and only so often: who never gets to accept it may have been locked
out by it. Then, and where a bank holds nothing that may run, it is the other bank's turn.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeroot.abi.fwu_objects import BankState, FwuMetadata
from edgeroot.secure.boot.trial import ANY_BANK, MAX_TRIAL_BOOTS, Attempts
from edgeroot.secure.partitions.firmware_update import banks


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A bank to boot. ``attempts`` are to be remembered before it runs: None if there is no trial any more."""

    bank: int
    is_trial: bool
    attempts: Attempts | None


def choose(metadata: FwuMetadata, attempts: Attempts | None, *, failed: frozenset[int]) -> Choice | None:
    """The bank that boots; None if none is left. ``failed`` are those that were tried in this boot already."""
    for bank in _in_order(metadata, attempts):
        if bank in failed or metadata.bank_states[bank] == BankState.INVALID:
            continue
        is_active = bank == metadata.active_index
        if banks.is_accepted(metadata, bank):
            # Instead of an update that does not boot: until the update agent writes that down, it stays counted.
            return Choice(bank=bank, is_trial=False, attempts=None if is_active else attempts)
        if is_active:
            return Choice(bank=bank, is_trial=True, attempts=Attempts(bank, _count(attempts, bank) + 1))
    return None


def _in_order(metadata: FwuMetadata, attempts: Attempts | None) -> tuple[int, int]:
    active = metadata.active_index
    if not banks.is_accepted(metadata, active) and _count(attempts, active) >= MAX_TRIAL_BOOTS:
        return banks.other(active), active
    return active, banks.other(active)


def _count(attempts: Attempts | None, bank: int) -> int:
    return attempts.count if attempts is not None and attempts.bank in (bank, ANY_BANK) else 0
