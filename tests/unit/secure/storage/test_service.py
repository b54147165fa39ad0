"""Storage as its callers reach it: messages, RPC statuses, and the partition's two services."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from uuid import UUID

import pytest

from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.psa import PsaStatus, Secret
from edgeroot.secure.partitions.storage import partition
from edgeroot.secure.partitions.storage.objects import Objects
from edgeroot.secure.partitions.storage.store import ObjectLog
from edgeroot.secure.platform.counters import FileCounter
from edgeroot.secure.platform.log_file import LogFile
from edgeroot.secure.runtime.api import Caller, Reply, Service
from edgeroot.secure.runtime.environment import Environment, PeerSession
from tests.support.stored_objects import refused

ALICE, BOB = Caller(source_id=1, channel=1), Caller(source_id=2, channel=1)
UID = bytes.fromhex("0500000000000000")
LENGTH_5 = UID
NO_FLAGS = bytes(4)
SET = UID + LENGTH_5 + NO_FLAGS + b"hello"
GET = UID + bytes(8) + (100).to_bytes(8, "little")


def folders_in(tmp_path: Path) -> tuple[Path, Path]:
    folders = tmp_path / "storage", tmp_path / "counters"
    for folder in folders:
        folder.mkdir(exist_ok=True)
    return folders


def services(tmp_path: Path) -> tuple[Service, ...]:
    def session(service: UUID) -> PeerSession:
        raise AssertionError("storage calls nobody")

    storage, counters = folders_in(tmp_path)
    return partition.create(
        Environment(
            name="storage",
            id=0x8001,
            secret=Secret(bytes(32)),
            shared=memoryview(bytearray(8)),
            lock=nullcontext(),
            session=session,
            storage_folder=storage,
            counters_folder=counters,
        )
    )


def call(service: Service, opcode: int, request: bytes, *, caller: Caller = ALICE, capacity_bytes: int = 4096) -> bytes:
    reply = service.call(caller, opcode, request, capacity_bytes=capacity_bytes)
    assert isinstance(reply, Reply)
    assert reply.status == 0
    return reply.payload


@pytest.fixture
def internal(tmp_path: Path) -> Service:
    return services(tmp_path)[0]


def test_services_are_known_by_their_uuids(tmp_path: Path) -> None:
    assert [str(service.uuid) for service in services(tmp_path)] == [
        "dc1eef48-b17a-4ccf-ac8b-dfcff7711b14",
        "751bf801-3dde-4768-a514-0f10aeed1790",
    ]


def test_each_operation(internal: Service) -> None:
    assert call(internal, 0x100, SET) == b""
    assert call(internal, 0x101, GET) == b"hello"
    assert call(internal, 0x102, UID) == LENGTH_5 + LENGTH_5 + NO_FLAGS
    assert call(internal, 0x103, UID) == b""
    assert call(internal, 0x104, UID + (8).to_bytes(8, "little") + NO_FLAGS) == b""
    assert call(internal, 0x105, UID + bytes(8) + (2).to_bytes(8, "little") + b"ab") == b""
    assert call(internal, 0x102, UID) == (8).to_bytes(8, "little") + (2).to_bytes(8, "little") + NO_FLAGS
    assert call(internal, 0x106, b"") == bytes((1, 0, 0, 0))


def test_get_is_clipped_to_the_callers_buffer(internal: Service) -> None:
    call(internal, 0x100, SET)
    assert call(internal, 0x101, GET, capacity_bytes=3) == b"hel"


def test_an_unknown_operation(internal: Service) -> None:
    for opcode in (0xFF, 0x107):
        with pytest.raises(RpcError, check=lambda error: error.status is RpcStatus.INVALID_VALUE):
            internal.call(ALICE, opcode, b"", capacity_bytes=4096)


@pytest.mark.parametrize(("opcode", "request_"), [(0x100, SET), (0x101, GET), (0x102, UID), (0x103, UID)])
def test_a_request_that_is_too_short(internal: Service, opcode: int, request_: bytes) -> None:
    for length in range(len(request_)):
        with pytest.raises(RpcError, check=lambda error: error.status is RpcStatus.INVALID_REQUEST_BODY):
            internal.call(ALICE, opcode, request_[:length], capacity_bytes=4096)


def test_services_and_sources_have_objects_of_their_own(tmp_path: Path) -> None:
    internal, protected = services(tmp_path)
    call(internal, 0x100, SET)
    for service, caller in ((protected, ALICE), (internal, BOB)):
        with refused(PsaStatus.DOES_NOT_EXIST):
            call(service, 0x101, GET, caller=caller)


def damage(path: Path) -> None:
    path.write_bytes(bytes(9))


@pytest.mark.parametrize("spoil", [Path.unlink, damage])
def test_without_its_counter_nothing_is_served(
    tmp_path: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The partition runs, so that its callers are told."""
    storage, counters = folders_in(tmp_path)
    with closing(LogFile(storage)) as log, closing(FileCounter(counters / "storage", create=True)) as counter:
        Objects(ObjectLog(log, counter, Secret(bytes(32))), 0).set(ALICE.source_id, 5, b"hello", 0)
    spoil(counters / "storage")
    for service in services(tmp_path):
        with refused(PsaStatus.CORRUPTION_DETECTED):
            call(service, 0x101, GET)
    assert "counter" in caplog.text
