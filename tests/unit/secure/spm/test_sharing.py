"""Shared memory: who may retrieve, relinquish and reclaim what."""

from __future__ import annotations

import pytest

from edgeroot.abi.ffa import FfaError
from edgeroot.secure.spm.sharing import RefusedError, Shares

OWNER, OTHER, PARTITION = object(), object(), object()


@pytest.fixture
def shares() -> Shares[str]:
    return Shares()


def share(
    shares: Shares[str], *, source: int = 1, owner: object = OWNER, receiver: int = 0x8001, limit: int = 2
) -> int:
    return shares.share(source_id=source, owner=owner, receiver_id=receiver, page_count=1, memory="memory", limit=limit)


def refused(code: FfaError) -> pytest.RaisesExc[RefusedError]:
    return pytest.raises(RefusedError, check=lambda error: error.code is code)


def test_life_of_a_region(shares: Shares[str]) -> None:
    handle = share(shares)
    assert shares.retrieve(handle, source_id=1, receiver_id=0x8001, borrower=PARTITION).memory == "memory"
    with refused(FfaError.DENIED):
        shares.reclaim(handle, owner=OWNER)
    shares.relinquish(handle, borrower=PARTITION)
    assert shares.reclaim(handle, owner=OWNER).memory == "memory"
    with refused(FfaError.INVALID_PARAMETERS):
        shares.reclaim(handle, owner=OWNER)


@pytest.mark.parametrize(("source", "receiver"), [(2, 0x8001), (1, 0x8002), (0x8001, 1)])
def test_region_is_for_its_receiver_and_from_its_source(shares: Shares[str], source: int, receiver: int) -> None:
    handle = share(shares)
    with refused(FfaError.INVALID_PARAMETERS):
        shares.retrieve(handle, source_id=source, receiver_id=receiver, borrower=PARTITION)


def test_nobody_takes_or_returns_what_is_another_ones(shares: Shares[str]) -> None:
    handle = share(shares)
    with refused(FfaError.INVALID_PARAMETERS):
        shares.reclaim(handle, owner=OTHER)
    with refused(FfaError.INVALID_PARAMETERS):
        shares.relinquish(handle, borrower=PARTITION)
    with refused(FfaError.INVALID_PARAMETERS):
        shares.retrieve(handle + 1, source_id=1, receiver_id=0x8001, borrower=PARTITION)


def test_slots_are_bounded_for_each_source_and_receiver(shares: Shares[str]) -> None:
    for _ in range(2):
        share(shares)
    with refused(FfaError.NO_MEMORY):
        share(shares)
    share(shares, source=2)
    share(shares, receiver=0x8002)


def test_what_belongs_to_a_connection_ends_with_it(shares: Shares[str]) -> None:
    kept, gone = share(shares, owner=OTHER), share(shares)
    shares.retrieve(kept, source_id=1, receiver_id=0x8001, borrower=PARTITION)
    assert [one.handle for one in shares.forget(OWNER)] == [gone]
    with refused(FfaError.DENIED):
        shares.reclaim(kept, owner=OTHER)
    assert shares.forget(PARTITION) == []
    shares.reclaim(kept, owner=OTHER)
    assert share(shares) not in (kept, gone)
