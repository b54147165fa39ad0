from __future__ import annotations

import pytest

from edgeroot.client import Client
from edgeroot.client.transports.memory import MemoryTransport
from tests.unit.client.key_service import KeyService


@pytest.fixture
def key_service() -> KeyService:
    return KeyService()


@pytest.fixture
def client(key_service: KeyService) -> Client:
    return Client(transport=MemoryTransport(key_service.answer))
