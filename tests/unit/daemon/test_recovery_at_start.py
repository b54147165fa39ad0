"""What a service does at its start about what earlier processes reserved or marked, however much that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from edgeroot.daemon.assembly import _recover
from edgeroot.keystore.records import KeyIdentity, KeyRecord
from edgeroot.keystore.recovery import MAX_ORPHANS
from edgeroot.keystore.writes import Outcome, Reserve, Write
from edgeroot.psa import PsaStatus
from edgeroot.service.mounted import MountedProvider
from tests.unit.keystore.keystore_support import Store
from tests.unit.service.pipeline_kit import P256, PROVIDER, BackEnd

COUNT = 3 * MAX_ORPHANS + 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    names = [KeyIdentity(3, "1000", PROVIDER, str(number)) for number in range(COUNT)]
    made.apply([Reserve(KeyRecord(name, name.key_name.encode(), P256), "dead") for name in names])
    yield made
    made.close()


def recovered(store: Store, back_end: BackEnd) -> int:
    """How many are left."""

    def write(_path: Path, batch: Sequence[Write]) -> list[Outcome]:
        assert len(batch) <= MAX_ORPHANS  # what a writer that runs is sent in one piece
        return store.apply(batch)

    mounted = MountedProvider(index=0, wire_id=1, name=PROVIDER, store=0, provider=back_end)
    _recover(store.path, {PROVIDER: mounted}, write)
    return sum(len(store.reader.pending(holder)) for holder in store.reader.pending_holders())


def test_all_of_them_are_resolved(store: Store) -> None:
    back_end = BackEnd()
    back_end.keys = {str(number).encode() for number in range(COUNT)}
    assert recovered(store, back_end) == 0
    assert back_end.keys == set()


def test_what_has_to_wait_is_asked_for_once_and_found_again_later(store: Store) -> None:
    back_end = BackEnd()
    back_end.fails["destroy"] = [PsaStatus.COMMUNICATION_FAILURE] * COUNT
    assert recovered(store, back_end) == COUNT
    assert back_end.fails["destroy"] == []
    assert recovered(store, back_end) == 0
