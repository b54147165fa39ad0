"""Whatever arrives: an answer, an RpcError or a PsaError, and nothing else."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.abi.crypto import OPERATIONS
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.services import CRYPTO, CRYPTO_PROTOBUF, INTERNAL_TRUSTED_STORAGE, KEY_INSPECTION
from edgeroot.psa import PsaError, Secret
from edgeroot.secure.partitions.crypto import partition
from edgeroot.secure.runtime.api import Reply, SlowWork
from edgeroot.secure.runtime.environment import Environment
from tests.support.crypto_partition import ALICE, Context, StorageService, World, attributes, rpc_status, tlv, u32

P256, ECDSA_SHA256 = 0x7112, 0x06000609
OPCODES = st.one_of(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 0xFFFF))
# Ids and handles that exist, algorithms and lengths that mean something, and anything else.
WORDS = st.one_of(
    st.sampled_from([0, 1, 2, 7, 0x90, 0x7FFFFFE0, ECDSA_SHA256, 0x05500200, 0x04C01000, 0x03800009, 0x08000109]),
    st.sampled_from([0x02000009, 0x09020000, 0x0101, 0x0202, 0x0203, 0x2400, P256, 0x1100, 0x1200, 128, 256, 0x3F03]),
    st.integers(0, 0xFFFFFFFF),
).map(u32)
PIECES = st.one_of(WORDS, st.builds(tlv, st.integers(1, 3), st.binary(max_size=80)), st.binary(max_size=9))
REQUESTS = st.lists(PIECES, max_size=9).map(b"".join)


def furnished() -> Context:
    """A context with keys, and operations under way."""
    context = World().context()
    for key_id, key_type, bits, alg in (
        (1, P256, 256, ECDSA_SHA256),
        (2, 0x2400, 128, 0x05500200),
        (7, 0x1100, 256, 0x03800009),
        (0x90, 0x1200, 256, 0x08000109),
        (0, 0x2400, 256, 0x04C01000),
    ):
        context.ok(0x0101, attributes(key_type, bits, usage=0x7F03, alg=alg, key_id=key_id))
    return context


@given(st.lists(st.tuples(OPCODES, REQUESTS, st.sampled_from([0, 3, 64, 8192])), max_size=30), st.booleans())
def test_anything_is_answered(calls: list[tuple[int, bytes, int]], protobuf: bool) -> None:
    context = furnished()
    service = context.protobuf if protobuf else context.packed
    for opcode, request, capacity_bytes in calls:
        try:
            answer = service.call(ALICE, opcode, request, capacity_bytes=capacity_bytes)
        except (PsaError, RpcError):
            continue
        if isinstance(answer, Reply):
            assert len(answer.payload) <= capacity_bytes
        else:
            assert isinstance(answer, SlowWork)


@given(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 23))
def test_a_request_that_is_cut_off_is_malformed(opcode: int, length: int) -> None:
    operation = OPERATIONS[opcode]
    shortest = operation.request
    try:
        shortest.decode(bytes(length))
    except RpcError:
        assert rpc_status(furnished().packed, opcode, bytes(length)) is RpcStatus.INVALID_REQUEST_BODY


@pytest.mark.parametrize("opcode", [0, 0x0100, 0x0103, 0x0104, 0x0114, 0x0200, 0x0207, 0x0308, 0x040B, 0x0507, 0x060B])
def test_unknown_opcodes(opcode: int) -> None:
    assert rpc_status(World().context().packed, opcode) is RpcStatus.INVALID_VALUE


@pytest.mark.parametrize(
    ("opcode", "request_"), [(0x0112, tlv(1, b"signature") + tlv(2, b"hash") + tlv(3, b"")), (0x0113, tlv(1, b"x"))]
)
def test_pkcs7_is_not_supported(opcode: int, request_: bytes) -> None:
    context = World().context()
    assert context.call(opcode, request_) == (-134, b"")
    assert rpc_status(context.packed, opcode) is RpcStatus.INVALID_REQUEST_BODY


def test_the_partition_is_put_together_from_its_environment() -> None:
    storage = StorageService()
    asked: list[UUID] = []

    def session(service: UUID) -> StorageService:
        asked.append(service)
        return storage

    lock: AbstractContextManager[None] = nullcontext()
    environment = Environment(
        name="crypto",
        id=0x8002,
        secret=Secret(bytes(32)),
        shared=memoryview(bytearray(partition.SHARED_BYTES)),
        lock=lock,
        session=session,
        storage_folder=Path("/nowhere"),
    )
    one, other = partition.create(environment), partition.create(environment)
    assert [service.uuid for service in one] == [CRYPTO, CRYPTO_PROTOBUF, KEY_INSPECTION]
    assert asked == [INTERNAL_TRUSTED_STORAGE] * 2
    request = attributes(P256, 256, usage=0x3000, alg=ECDSA_SHA256, key_id=7)
    assert one[0].call(ALICE, 0x0101, request, capacity_bytes=64) == Reply(0, u32(7))
    assert other[1].call(ALICE, 0x0102, b"\x08\x07", capacity_bytes=64) == Reply(0, b"")
