from __future__ import annotations

import pytest

from tests.unit.cli.command_line import CommandLine, FullKeyService


@pytest.fixture
def keys() -> FullKeyService:
    return FullKeyService()


@pytest.fixture
def edgeroot(keys: FullKeyService, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    for variable in ("PARSEC_SERVICE_ENDPOINT", "EDGEROOT_APP_NAME"):
        monkeypatch.delenv(variable, raising=False)
    return CommandLine(keys, monkeypatch)
