from __future__ import annotations

import mmap
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence

import pytest

from edgeroot.keystore.generation import RAISES_OF_A_WRITE, Generations
from edgeroot.keystore.records import KeyIdentity, KeyStoreError
from edgeroot.keystore.writes import (
    Commit,
    Finish,
    Insert,
    Mark,
    Release,
    Remove,
    RemoveClient,
    Replace,
    Reserve,
    Unmark,
    Write,
)
from edgeroot.testing.keystore_kit import ATTRIBUTES
from tests.unit.keystore.keystore_support import PROVIDER, SLOTS, Crash, Store, record

IDENTITY = record().identity


def test_raising_one_counter_leaves_the_others() -> None:
    generations = Generations(bytearray(Generations.size_bytes(4)), 4)
    generations.raise_(2)
    generations.raise_(2)

    assert [generations.read(slot) for slot in range(4)] == [0, 0, 2, 0]
    generations.raise_all()
    assert [generations.read(slot) for slot in range(4)] == [1, 1, 3, 1]


def test_forked_process_sees_the_same_slot_and_its_counter() -> None:
    buffer = mmap.mmap(-1, Generations.size_bytes(SLOTS))
    generations = Generations(buffer, SLOTS)
    child = os.fork()
    if child == 0:
        try:
            ours = Generations(buffer, SLOTS)
            ours.raise_(ours.slot(KeyIdentity(*IDENTITY)))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert generations.read(generations.slot(IDENTITY)) == 1


def test_process_that_hashes_differently_is_refused() -> None:
    buffer = bytearray(Generations.size_bytes(SLOTS))
    script = (
        "import sys; from edgeroot.keystore.generation import RAISES_OF_A_WRITE, Generations;"
        f"buffer = bytearray({len(buffer)}); Generations(buffer, {SLOTS}); sys.stdout.buffer.write(buffer)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"}
    strangers = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout

    with pytest.raises(KeyStoreError, match="forked from one interpreter"):
        Generations(bytearray(strangers), SLOTS)


def test_slots_must_be_a_power_of_two() -> None:
    for slots in (0, 3, 65535):
        with pytest.raises(ValueError, match="power of two"):
            Generations(bytearray(Generations.size_bytes(65536)), slots)


@pytest.mark.parametrize(
    ("before", "write"),
    [
        ([], Insert(record())),
        ([Insert(record())], Remove(IDENTITY, b"blob")),
        ([Reserve(record(), "h")], Commit(IDENTITY, "h", b"r", ATTRIBUTES[0])),
        ([Insert(record())], Mark(IDENTITY, "h")),
        ([Insert(record()), Mark(IDENTITY, "h")], Unmark(IDENTITY, "h")),
        ([Insert(record()), Mark(IDENTITY, "h")], Finish(IDENTITY, "h")),
        ([Reserve(record(), "h")], Release(IDENTITY, "h")),
        ([Insert(record())], Replace(IDENTITY, b"blob", b"new")),
        ([Insert(record())], RemoveClient(3, "1000", PROVIDER)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_change_is_announced_before_the_commit_and_before_the_answer(
    store: Store, before: Sequence[Write], write: Write
) -> None:
    store.apply(before)
    slot = store.generations.slot(IDENTITY)
    start = store.generations.read(slot)
    at_commit = []

    def watch(statement: str) -> None:
        if statement == "COMMIT":
            at_commit.append(store.generations.read(slot))

    store.mortal.connection.set_trace_callback(watch)
    store.apply([write])
    assert at_commit == [start + 1]
    assert store.generations.read(slot) == start + RAISES_OF_A_WRITE


def test_two_changes_in_one_batch_are_announced_twice(store: Store) -> None:
    """Whoever made the key counts: its own change and no other one leaves the key as it was made."""
    slot = store.generations.slot(IDENTITY)
    start = store.generations.read(slot)
    store.apply([Insert(record()), RemoveClient(3, "1000", PROVIDER)])
    assert store.generations.read(slot) == start + 2 * RAISES_OF_A_WRITE


def test_a_change_that_did_not_happen_is_not_announced(store: Store) -> None:
    before = store.generations.read(store.generations.slot(IDENTITY))
    store.apply([Remove(IDENTITY, b"blob"), Mark(IDENTITY, "h"), Release(IDENTITY, "h")])

    assert store.generations.read(store.generations.slot(IDENTITY)) == before


def test_a_failed_commit_and_a_new_writer_announce(store: Store) -> None:
    slot = store.generations.slot(IDENTITY)
    start = store.generations.read(slot)
    store.mortal.connection.set_authorizer(_refuse_commit)
    store.apply([Insert(record())])
    assert store.generations.read(slot) == start + RAISES_OF_A_WRITE
    store.mortal.connection.set_authorizer(None)

    store.mortal.statements_left = 3
    with pytest.raises(Crash):
        store.apply([Insert(record())])
    after_crash = store.generations.read(slot)
    store.reopen()
    assert store.generations.read(slot) > after_crash


def _refuse_commit(action: int, argument: str | None, *_: object) -> int:
    refused = action == sqlite3.SQLITE_TRANSACTION and argument == "COMMIT"
    return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK
