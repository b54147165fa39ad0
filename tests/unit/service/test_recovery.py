"""Orphans of a running service: who left them, when they are resolved, and what is left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from errno import EMFILE
from pathlib import Path
from typing import NoReturn

import pytest

from edgeroot.keystore.generation import Generations
from edgeroot.keystore.lease import Lease, leases_directory_for
from edgeroot.keystore.records import KeyIdentity, KeyRecord
from edgeroot.keystore.writes import NOBODY, Insert, Mark, Reserve
from edgeroot.psa import PsaStatus
from edgeroot.service.creation import KeyFactory
from edgeroot.service.effects import EffectOutcome, StoreWrite
from edgeroot.service.jobs import Executor, Job
from edgeroot.service.keys import KeyCache
from edgeroot.service.mounted import MountedProvider
from edgeroot.service.recovery import Recovery
from edgeroot.wire.status import ResponseStatus, WireError
from tests.unit.keystore.keystore_support import Store
from tests.unit.service.pipeline_kit import P256, PROVIDER, SLOTS, BackEnd


def key(name: str, *, provider: str = PROVIDER) -> KeyRecord:
    return KeyRecord(KeyIdentity(3, "1000", provider, name), f"place of {name}".encode(), P256)


class World:
    """A store on the disk, a back end, and the recovery of a process that lives."""

    def __init__(self, path: Path, *, remote: bool) -> None:
        self.store = Store(path)
        self.back_end = BackEnd()
        self.lease = Lease.acquire(leases_directory_for(path))
        mounted = MountedProvider(
            index=0, wire_id=1, name=PROVIDER, store=0, provider=self.back_end, remote=remote, stepped=None
        )
        readers = [self.store.reader]
        keys = KeyCache(readers, Generations(bytearray(Generations.size_bytes(SLOTS)), SLOTS))
        factory = KeyFactory([self.lease.holder], keys)
        self.recovery = Recovery([mounted], readers, [self.lease.holder], factory)
        self._executor = Executor({0: self.back_end})

    def round(self) -> list[str]:
        """Run one; which writes it sent."""
        steps = self.recovery.round()
        outcome: EffectOutcome = None
        writes: list[str] = []
        while True:
            try:
                effect = steps.send(outcome)
            except StopIteration:
                return writes
            outcome = self.outcome(effect)
            if isinstance(effect, StoreWrite):
                writes.append(type(effect.write).__name__)

    def outcome(self, effect: object) -> EffectOutcome:
        if isinstance(effect, StoreWrite):
            return self.store.apply([effect.write])[0]
        assert isinstance(effect, Job)
        return self._executor.execute(Job.decode(effect.encode()))

    def names(self) -> list[str]:
        reader = self.store.reader
        return sorted(
            one.record.identity.key_name for holder in reader.pending_holders() for one in reader.pending(holder)
        )


@pytest.fixture(params=[False, True], ids=["here", "in a host process"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "store", remote=request.param)
    yield made
    made.lease.release()
    made.store.close()


def test_an_orphan_that_is_seen_twice_is_resolved(world: World) -> None:
    reserved, marked = key("reserved"), key("marked")
    world.back_end.keys = {reserved.reference, marked.reference, b"somebody's"}
    world.store.apply([Reserve(reserved, "dead"), Insert(marked), Mark(marked.identity, NOBODY)])
    assert world.round() == []  # what its process had sent last may still be under way
    assert sorted(world.round()) == ["Claim", "Claim", "Finish", "Release"]
    assert world.names() == []
    assert world.back_end.keys == {b"somebody's"}
    assert not world.store.reader.exists_any_state(reserved.identity)
    assert world.round() == []


def test_what_is_under_way_is_left_alone(world: World) -> None:
    with_us = key("with us")
    world.store.apply([Reserve(with_us, world.lease.holder), Reserve(key("elsewhere", provider="other"), "dead")])
    assert [world.round() for _ in range(3)] == [[], [], []]
    assert world.names() == ["elsewhere", "with us"]


def test_while_the_back_end_is_away_it_is_asked_less_and_less_often(world: World) -> None:
    orphan = key("orphan")
    world.store.apply([Reserve(orphan, "dead")])
    world.back_end.fails["destroy"] = [PsaStatus.COMMUNICATION_FAILURE] * 20
    usual_s = world.recovery.pause_s
    world.round()
    pauses = []
    while len(world.back_end.fails["destroy"]) > 10:
        world.round()
        pauses.append(world.recovery.pause_s)
    assert pauses[0] == 2 * usual_s
    assert max(pauses) == pauses[-1] == 16 * usual_s
    world.back_end.fails.clear()
    for _ in range(2):
        world.round()
    assert world.names() == []
    assert world.recovery.pause_s == usual_s


def test_a_fault_of_the_store_is_for_others_to_say(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.store.apply([Reserve(key("orphan"), "dead")])
    world.round()

    def refuse(*_arguments: object) -> NoReturn:
        raise OSError(EMFILE, "no descriptor is left")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        assert world.round() == []
    assert world.names() == ["orphan"]
    assert world.round() == ["Claim", "Release"]


@pytest.mark.parametrize("write", ["Claim", "Release"])
@pytest.mark.parametrize("stored", [True, False])
def test_a_writer_that_does_not_answer_in_time_is_asked_again(world: World, write: str, stored: bool) -> None:
    orphan = key("orphan")
    world.back_end.keys = {orphan.reference}
    world.store.apply([Reserve(orphan, "dead")])
    world.round()
    steps, outcome = world.recovery.round(), None
    while not (isinstance(effect := steps.send(outcome), StoreWrite) and type(effect.write).__name__ == write):
        outcome = world.outcome(effect)
    if stored:
        world.store.apply([effect.write])
    with pytest.raises(StopIteration):
        steps.throw(WireError(ResponseStatus.KEY_INFO_MANAGER_ERROR))
    for _ in range(2):
        world.round()
    assert world.names() == []
    assert world.back_end.keys == set()


def test_what_may_not_be_destroyed_lives_on(world: World) -> None:
    orphan = key("orphan")
    world.store.apply([Reserve(orphan, "dead")])
    world.back_end.fails["destroy"] = [PsaStatus.NOT_PERMITTED]
    world.round()
    assert world.round() == ["Claim", "Commit"]
    assert world.store.reader.find(orphan.identity) == orphan


def test_another_process_may_be_first(world: World) -> None:
    orphan = key("orphan")
    world.store.apply([Reserve(orphan, "dead")])
    world.round()
    steps = world.recovery.round()
    claim = steps.send(None)
    assert isinstance(claim, StoreWrite)
    world.store.apply([claim.write])
    with pytest.raises(StopIteration):
        steps.send(world.store.apply([claim.write])[0])
    assert world.back_end.fails == {}
    assert world.names() == ["orphan"]
