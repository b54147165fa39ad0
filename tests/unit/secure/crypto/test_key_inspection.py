"""What the crypto partition says of keys, and to whom."""

from __future__ import annotations

from struct import Struct

import pytest

from edgeroot.abi.rpc_status import RpcStatus
from edgeroot.psa import KeyOrigin
from edgeroot.secure.runtime.api import Caller
from tests.support.crypto_partition import ALICE, BOB, INSPECTOR, Context, World, attributes, call, rpc_status, u32

GENERATE, DESTROY, EXPORT, EXPORT_PUBLIC, IMPORT, COPY = 0x0101, 0x0102, 0x0105, 0x0106, 0x0107, 0x010D
INSPECT = 0x1001
NOT_PERMITTED, INVALID_ARGUMENT, INVALID_HANDLE, CORRUPT = -133, -135, -136, -152
P256, P256_PUBLIC, AES, RSA, X25519 = 0x7112, 0x4112, 0x2400, 0x7001, 0x7141
ECDSA_SHA256, ECDH, PKCS1 = 0x06000609, 0x09020000, 0x06000209
EXPORT_FLAG, COPY_FLAG = 0x1, 0x2
_OLD_RECORD = Struct("<4s14sI")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def context(world: World) -> Context:
    return world.context()


def p256(key_id: int, usage: int = 0x3000) -> bytes:
    return attributes(P256, 256, usage=usage, alg=ECDSA_SHA256, key_id=key_id)


def inspect(
    context: Context, key_id: int, *, owner: Caller = ALICE, caller: Caller = INSPECTOR, capacity_bytes: int = 8192
) -> tuple[int, bytes]:
    request = u32(owner.source_id, key_id)
    return call(context.inspection, INSPECT, request, caller=caller, capacity_bytes=capacity_bytes)


def origin_of(context: Context, key_id: int) -> KeyOrigin:
    status, response = inspect(context, key_id)
    assert status == 0
    return KeyOrigin(int.from_bytes(response[24:28], "little"))


@pytest.mark.parametrize("lifetime", [0, 1])
@pytest.mark.parametrize(
    ("key_type", "bits", "alg"), [(P256, 256, ECDSA_SHA256), (X25519, 255, ECDH), (RSA, 1024, PKCS1)]
)
def test_attributes_origin_and_public_key(context: Context, key_type: int, bits: int, alg: int, lifetime: int) -> None:
    asked = attributes(key_type, bits, usage=0x7000, alg=alg, key_id=9, lifetime=lifetime)
    key_id = int.from_bytes(context.ok(GENERATE, asked), "little")
    status, response = inspect(context, key_id)
    assert status == 0
    assert response[:24] == context.ok(0x010F, u32(key_id))
    assert response[24:28] == u32(KeyOrigin.GENERATED)
    assert response[28:] == context.ok(EXPORT_PUBLIC, u32(key_id))


def test_origins(context: Context) -> None:
    context.ok(GENERATE, p256(1, 0x3003))
    scalar = context.ok(EXPORT, u32(1))
    context.ok(IMPORT, p256(2) + scalar)
    context.ok(COPY, u32(1) + p256(3))
    assert [origin_of(context, key_id) for key_id in (1, 2, 3)] == [
        KeyOrigin.GENERATED,
        KeyOrigin.IMPORTED,
        KeyOrigin.COPIED,
    ]


def test_the_origin_outlives_the_partition(world: World, context: Context) -> None:
    context.ok(GENERATE, p256(7))
    assert origin_of(world.restarted().context(), 7) is KeyOrigin.GENERATED


def test_a_record_of_the_first_version_has_no_origin(world: World, context: Context) -> None:
    context.ok(GENERATE, p256(7))
    name = ALICE.source_id << 32 | 7
    record = world.storage.objects[name]
    material = record[23:]
    world.storage.objects[name] = _OLD_RECORD.pack(b"EGK1", record[4:18], len(material)) + material
    after = world.restarted().context()
    assert origin_of(after, 7) is KeyOrigin.UNKNOWN
    assert after.ok(EXPORT_PUBLIC, u32(7)) == context.ok(EXPORT_PUBLIC, u32(7))
    after.ok(DESTROY, u32(7))


def test_an_origin_that_there_is_not_is_corruption(world: World, context: Context) -> None:
    context.ok(GENERATE, p256(7))
    name = ALICE.source_id << 32 | 7
    record = bytearray(world.storage.objects[name])
    record[18] = max(KeyOrigin) + 1
    world.storage.objects[name] = bytes(record)
    assert inspect(world.restarted().context(), 7)[0] == CORRUPT


@pytest.mark.parametrize("caller", [ALICE, BOB, Caller(0x8001, 1), Caller(0x8002, 1), Caller(0, 1)])
def test_nobody_else_may_ask(context: Context, caller: Caller) -> None:
    context.ok(GENERATE, p256(7))
    assert inspect(context, 7, caller=caller) == (NOT_PERMITTED, b"")
    assert inspect(context, 8, caller=caller) == (NOT_PERMITTED, b"")  # and it does not tell which keys there are


def test_keys_are_told_by_their_owner(context: Context) -> None:
    context.ok(GENERATE, p256(7))
    assert inspect(context, 7, owner=BOB)[0] == INVALID_HANDLE
    context.ok(DESTROY, u32(7))
    assert inspect(context, 7)[0] == INVALID_HANDLE


def test_what_has_no_pair_has_no_statement(context: Context) -> None:
    context.ok(GENERATE, attributes(AES, 128, usage=0x300, alg=0x05500200, key_id=1))
    context.ok(GENERATE, p256(2))
    public = context.ok(EXPORT_PUBLIC, u32(2))
    context.ok(IMPORT, attributes(P256_PUBLIC, 256, usage=0x2000, alg=ECDSA_SHA256, key_id=3) + public)
    assert [inspect(context, key_id)[0] for key_id in (1, 3)] == [INVALID_ARGUMENT] * 2


def test_requests(context: Context) -> None:
    context.ok(GENERATE, p256(7))
    assert rpc_status(context.inspection, 0x0101) is RpcStatus.INVALID_VALUE
    assert rpc_status(context.inspection, INSPECT, bytes(7)) is RpcStatus.INVALID_REQUEST_BODY
    assert inspect(context, 7, capacity_bytes=64)[0] == -138
    assert rpc_status(context.packed, INSPECT, u32(ALICE.source_id, 7)) is RpcStatus.INVALID_VALUE
