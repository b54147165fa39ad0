"""The store against a dictionary, with crashes at every point of a batch."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edgeroot.testing.keystore_kit import (
    KeyStoreModel,
    check_keystore,
    compare_outcomes,
    compare_with_model,
    random_batch,
)
from tests.unit.keystore.keystore_support import Crash, Store


@pytest.mark.parametrize("seed", range(3))
def test_store_keeps_the_contract(store: Store, seed: int) -> None:
    check_keystore(store, seed=seed)


class CrashingStore(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.directory.name) / "keys.edgeroot")
        self.model = KeyStoreModel()

    def teardown(self) -> None:
        self.store.close()
        self.directory.cleanup()

    @rule(seed=st.integers(0, 2**32))
    def apply(self, seed: int) -> None:
        batch = random_batch(random.Random(seed))
        compare_outcomes(batch, self.store.apply(batch), self.model.apply(batch))

    @rule(seed=st.integers(0, 2**32), statements=st.integers(1, 14))
    def crash(self, seed: int, statements: int) -> None:
        batch = random_batch(random.Random(seed))
        connection = self.store.mortal
        connection.statements_left = statements
        try:
            self.store.apply(batch)
        except Crash:
            is_committed = not connection.connection.in_transaction
        else:
            is_committed = True
        if is_committed:
            self.model.apply(batch)
        self.store.reopen()

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        compare_with_model(self.store.reader, self.model)


TestCrashingStore = CrashingStore.TestCase
TestCrashingStore.settings = settings(max_examples=20, stateful_step_count=12)
