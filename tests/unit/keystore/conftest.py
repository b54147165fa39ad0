from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.keystore.keystore_support import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.sqlite3.edgeroot"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = Store(path)
    yield store
    store.close()
