"""The writer's process is killed at random moments; what it acknowledged is there, and nothing half of it."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NoReturn

from edgeroot.keystore.database import create_store
from edgeroot.keystore.generation import Generations
from edgeroot.keystore.reader import Reader
from edgeroot.keystore.writer import Writer
from edgeroot.testing.keystore_kit import KeyStoreModel, compare_with_model, random_batch
from tests.unit.keystore.keystore_support import SLOTS


def test_killed_writer_loses_nothing_it_acknowledged(path: Path, rng: random.Random, rounds: int) -> None:
    create_store(path)
    model = KeyStoreModel()
    for _ in range(rounds):
        seed = rng.getrandbits(32)
        acknowledged = _run_until_killed(path, seed, kill_after=rng.randrange(40))
        batches = random.Random(seed)
        for _ in range(acknowledged):
            model.apply(random_batch(batches))
        # The batch under way when the process ended is stored whole or not at all.
        with_one_more = model.copy()
        with_one_more.apply(random_batch(batches))
        reader = Reader.open(path)
        try:
            compare_with_model(reader, model)
        except AssertionError:
            compare_with_model(reader, with_one_more)
            model = with_one_more
        finally:
            reader.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def _run_until_killed(path: Path, seed: int, *, kill_after: int) -> int:
    """How many batches the writer acknowledged before it was killed, some time after the given number."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _write_for_ever(path, seed, write_end)
    os.close(write_end)
    with open(read_end, "rb", buffering=0) as acknowledgements:
        acknowledged = 0
        while acknowledged <= kill_after:
            assert acknowledgements.read(1), "the writer ended by itself"
            acknowledged += 1
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while rest := acknowledgements.read(4096):
            acknowledged += len(rest)
    # The first one says that the writer runs.
    return acknowledged - 1


def _write_for_ever(path: Path, seed: int, acknowledgements: int) -> NoReturn:
    try:
        batches = random.Random(seed)
        writer = Writer.open(path, Generations(bytearray(Generations.size_bytes(SLOTS)), SLOTS))
        os.write(acknowledgements, b"!")
        while True:
            writer.apply(random_batch(batches))
            os.write(acknowledgements, b".")
    finally:
        os._exit(1)
