"""Key records in the storage partition itself, whole and in pieces."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from uuid import UUID

import pytest

from edgeroot.psa import PsaError, Secret
from edgeroot.secure.partitions.crypto.storage_port import RpcKeyStorage
from edgeroot.secure.partitions.storage import partition
from edgeroot.secure.runtime.api import Caller, Reply, Service
from edgeroot.secure.runtime.environment import Environment, PeerSession

CRYPTO = Caller(source_id=0x8002, channel=1)
UID = 0x0001 << 32 | 7
RECORD = b"EGK2" + bytes(range(256)) * 4


class Session:
    """The storage partition's first service, called without processes in between."""

    def __init__(self, service: Service, capacity_bytes: int) -> None:
        self.service = service
        self.capacity_bytes = capacity_bytes

    def call(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        assert len(request) <= self.capacity_bytes
        try:
            reply = self.service.call(CRYPTO, opcode, request, capacity_bytes=self.capacity_bytes)
        except PsaError as error:
            return int(error.status), b""
        assert isinstance(reply, Reply)
        return reply.status, reply.payload


@pytest.fixture
def service(tmp_path: Path) -> Service:
    def session(service: UUID) -> PeerSession:
        raise AssertionError("storage calls nobody")

    storage, counters = tmp_path / "storage", tmp_path / "counters"
    storage.mkdir()
    counters.mkdir()
    environment = Environment(
        name="storage",
        id=0x8001,
        secret=Secret(bytes(32)),
        shared=memoryview(bytearray(4096)),
        lock=nullcontext(),
        session=session,
        storage_folder=storage,
        counters_folder=counters,
    )
    return partition.create(environment)[0]


@pytest.mark.parametrize("capacity_bytes", [16384, 1048, 300])
def test_a_record_is_kept_until_it_is_removed(service: Service, capacity_bytes: int) -> None:
    storage = RpcKeyStorage(Session(service, capacity_bytes))
    assert storage.get(UID) is None
    assert not storage.exists(UID)
    for data in (RECORD, RECORD[::-1][:-4] + b"EGK2"):
        storage.set(UID, data)
        assert storage.get(UID) == data
        assert storage.exists(UID)
        assert storage.remove(UID)
        assert not storage.remove(UID)
        assert storage.get(UID) is None


def test_a_record_as_long_as_a_message(service: Service) -> None:
    storage = RpcKeyStorage(Session(service, len(RECORD)))
    storage.set(UID, RECORD)
    assert storage.get(UID) == RECORD
