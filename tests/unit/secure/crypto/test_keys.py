"""Keys over the packed-c interface: life, statuses, isolation, and what two contexts see of each other."""

from __future__ import annotations

import pytest

from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.secure.partitions.crypto.keys import KeyStore
from edgeroot.secure.partitions.crypto.storage_port import RpcKeyStorage
from edgeroot.secure.runtime.api import Caller
from tests.support.crypto_partition import (
    ALICE,
    BOB,
    TRANSPORT_LAYER,
    Context,
    StorageService,
    World,
    attributes,
    tlv,
    u32,
)

GENERATE, DESTROY, EXPORT, EXPORT_PUBLIC, IMPORT, SIGN = 0x0101, 0x0102, 0x0105, 0x0106, 0x0107, 0x0108
COPY, PURGE, GET_ATTRIBUTES = 0x010D, 0x010E, 0x010F
SET, GET, REMOVE, SET_EXTENDED = 0x100, 0x101, 0x103, 0x105
NOT_PERMITTED, NOT_SUPPORTED, INVALID_ARGUMENT, INVALID_HANDLE = -133, -134, -135, -136
TOO_SMALL, EXISTS, DOES_NOT_EXIST, NO_MEMORY, COMMUNICATION, CORRUPT = -138, -139, -140, -141, -145, -152
P256, AES, RAW, HMAC, RSA, P256_PUBLIC = 0x7112, 0x2400, 0x1001, 0x1100, 0x7001, 0x4112
ECDSA_SHA256, ECDSA_ANY_HASH, GCM, CTR = 0x06000609, 0x060006FF, 0x05500200, 0x04C01000
EXPORT_FLAG, COPY_FLAG, ENCRYPT_FLAG, SIGN_HASH_FLAG, VERIFY_HASH_FLAG = 0x1, 0x2, 0x100, 0x1000, 0x2000
HASH = bytes(range(32))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def context(world: World) -> Context:
    return world.context()


def p256(key_id: int = 0, usage: int = 0x3000, alg: int = ECDSA_SHA256) -> bytes:
    return attributes(P256, 256, usage=usage, alg=alg, key_id=key_id)


def import_raw(context: Context, data: bytes, *, key_id: int = 0, usage: int = EXPORT_FLAG) -> tuple[int, bytes]:
    return context.call(IMPORT, attributes(RAW, 0, usage=usage, alg=0, key_id=key_id) + tlv(1, data))


class TestLife:
    def test_a_persistent_key_has_the_id_that_was_asked_for(self, context: Context, world: World) -> None:
        assert context.ok(GENERATE, p256(0x90)) == u32(0x90)
        assert list(world.storage.objects) == [ALICE.source_id << 32 | 0x90]

    def test_volatile_ids_come_from_the_top_of_the_vendor_range(self, context: Context, world: World) -> None:
        assert [context.ok(GENERATE, p256()) for _ in range(2)] == [u32(0x7FFFFFE0), u32(0x7FFFFFE1)]
        assert not world.storage.calls

    def test_a_volatile_key_drops_the_id(self, context: Context) -> None:
        asked = attributes(P256, 256, usage=0x3000, alg=ECDSA_SHA256, key_id=5, lifetime=0)
        assert context.ok(GENERATE, asked) == u32(0x7FFFFFE0)

    def test_a_used_id_already_exists(self, context: Context) -> None:
        context.ok(GENERATE, p256(7))
        assert context.call(GENERATE, p256(7)) == (EXISTS, b"")
        assert import_raw(context, b"x", key_id=7) == (EXISTS, b"")

    def test_destroyed_keys_are_unknown(self, context: Context) -> None:
        for key_id in (context.ok(GENERATE, p256(7)), context.ok(GENERATE, p256())):
            context.ok(SIGN, key_id + u32(ECDSA_SHA256) + tlv(1, HASH))
            context.ok(DESTROY, key_id)
            assert context.call(SIGN, key_id + u32(ECDSA_SHA256) + tlv(1, HASH))[0] == INVALID_HANDLE
            assert context.call(DESTROY, key_id)[0] == INVALID_HANDLE

    @pytest.mark.parametrize("key_id", [0, 1, 0x3FFFFFFF, 0x40000000, 0x7FFFFFE0, 0x80000000, 0xFFFFFFFF])
    def test_unknown_ids(self, context: Context, key_id: int) -> None:
        assert context.call(GET_ATTRIBUTES, u32(key_id))[0] == INVALID_HANDLE
        assert context.call(EXPORT, u32(key_id))[0] == INVALID_HANDLE
        assert context.call(PURGE, u32(key_id))[0] == DOES_NOT_EXIST
        assert context.call(DESTROY, u32(key_id))[0] == (INVALID_HANDLE if key_id else 0)

    @pytest.mark.parametrize("key_id", [0, 0x40000000, 0x7FFFFFE0, 0xFFFFFFFF])
    def test_no_persistent_key_outside_the_user_range(self, context: Context, key_id: int) -> None:
        asked = attributes(P256, 256, usage=0x3000, alg=ECDSA_SHA256, key_id=key_id, lifetime=1)
        assert context.call(GENERATE, asked)[0] == INVALID_ARGUMENT

    def test_purging_leaves_the_key(self, context: Context) -> None:
        for key_id in (context.ok(GENERATE, p256(7)), context.ok(GENERATE, p256())):
            context.ok(PURGE, key_id)
            context.ok(GET_ATTRIBUTES, key_id)

    @pytest.mark.parametrize("lifetime", [2, 0xFF, 0x101, 0x80000001])
    def test_other_lifetimes_lose_the_id_and_so_the_key(self, context: Context, lifetime: int) -> None:
        asked = attributes(P256, 256, usage=0x3000, alg=ECDSA_SHA256, key_id=7, lifetime=lifetime)
        assert context.call(GENERATE, asked)[0] == INVALID_ARGUMENT

    def test_attributes_come_back_with_the_usage_extended(self, context: Context) -> None:
        context.ok(GENERATE, p256(0x90))
        assert context.ok(GET_ATTRIBUTES, u32(0x90)) == u32(P256, 256, 1, 0x90, 0x3C00, ECDSA_SHA256)
        volatile = context.ok(GENERATE, p256())
        assert context.ok(GET_ATTRIBUTES, volatile) == u32(P256, 256, 0, 0x7FFFFFE0, 0x3C00, ECDSA_SHA256)

    def test_an_import_infers_the_size(self, context: Context) -> None:
        key_id = context.ok(IMPORT, attributes(AES, 0, usage=0x300, alg=GCM) + tlv(1, bytes(32)))
        assert context.ok(GET_ATTRIBUTES, key_id)[4:8] == u32(256)

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            (attributes(P256, 0, usage=0, alg=0), INVALID_ARGUMENT),
            (attributes(P256, 255, usage=0, alg=0), INVALID_ARGUMENT),
            (attributes(P256_PUBLIC, 256, usage=0, alg=0), INVALID_ARGUMENT),
            (attributes(0, 256, usage=0, alg=0), NOT_SUPPORTED),
            (attributes(0x17112, 256, usage=0, alg=0), INVALID_ARGUMENT),
            (attributes(RAW, 0x10000, usage=0, alg=0), NOT_SUPPORTED),
            (attributes(P256, 256, usage=0x10000, alg=0), INVALID_ARGUMENT),
        ],
    )
    def test_impossible_attributes(self, context: Context, asked: bytes, expected: int) -> None:
        assert context.call(GENERATE, asked) == (expected, b"")

    def test_impossible_material(self, context: Context) -> None:
        assert import_raw(context, b"")[0] == INVALID_ARGUMENT
        assert import_raw(context, bytes(0x2000))[0] == NOT_SUPPORTED
        assert context.call(IMPORT, p256() + tlv(1, bytes(31)))[0] == INVALID_ARGUMENT

    def test_the_longest_persistent_key(self, world: World) -> None:
        data = bytes(range(251)) * 32 + bytes(159)
        assert len(data) == 0x1FFF
        for capacity_bytes in (16384, 4096, 300):
            world.storage.capacity_bytes = capacity_bytes
            assert import_raw(world.context(), data, key_id=capacity_bytes) == (0, u32(capacity_bytes))
            assert world.context().call(EXPORT, u32(capacity_bytes), capacity_bytes=9000) == (0, tlv(1, data))

    def test_a_volatile_key_is_bounded(self, context: Context) -> None:
        assert import_raw(context, bytes(4096))[0] == 0
        assert import_raw(context, bytes(4097))[0] == NO_MEMORY

    def test_no_key_is_made_for_whom_cannot_be_told_its_id(self, context: Context, world: World) -> None:
        assert context.call(GENERATE, p256(7), capacity_bytes=3) == (TOO_SMALL, b"")
        assert not world.storage.objects


class TestExport:
    def test_what_is_imported_is_exported(self, context: Context) -> None:
        _, key_id = import_raw(context, b"secret")
        assert context.ok(EXPORT, key_id) == tlv(1, b"secret")

    def test_not_without_the_flag(self, context: Context) -> None:
        _, key_id = import_raw(context, b"secret", usage=COPY_FLAG)
        assert context.call(EXPORT, key_id) == (NOT_PERMITTED, b"")

    def test_public_keys_need_no_flag(self, context: Context) -> None:
        point = context.ok(EXPORT_PUBLIC, context.ok(GENERATE, p256()))[4:]
        assert len(point) == 65
        assert point[0] == 4
        asked = attributes(P256_PUBLIC, 256, usage=VERIFY_HASH_FLAG, alg=ECDSA_SHA256)
        public = context.ok(IMPORT, asked + tlv(1, point))
        assert context.ok(EXPORT, public) == context.ok(EXPORT_PUBLIC, public) == tlv(1, point)

    def test_a_symmetric_key_has_no_public_one(self, context: Context) -> None:
        _, key_id = import_raw(context, b"secret")
        assert context.call(EXPORT_PUBLIC, key_id)[0] == INVALID_ARGUMENT

    def test_a_response_that_does_not_fit(self, context: Context) -> None:
        _, key_id = import_raw(context, b"secret")
        assert context.call(EXPORT, key_id, capacity_bytes=9) == (TOO_SMALL, b"")
        assert context.call(EXPORT, key_id, capacity_bytes=10)[0] == 0


class TestCopy:
    def test_the_policies_are_intersected(self, context: Context) -> None:
        source = context.ok(GENERATE, p256(usage=0x3003, alg=ECDSA_ANY_HASH))
        copy = context.ok(COPY, source + attributes(0, 0, usage=0x1001, alg=ECDSA_SHA256, key_id=9))
        assert copy == u32(9)
        assert context.ok(GET_ATTRIBUTES, copy) == u32(P256, 256, 1, 9, 0x1401, ECDSA_SHA256)
        assert context.ok(EXPORT, copy) == context.ok(EXPORT, source)

    def test_not_without_the_flag(self, context: Context) -> None:
        source = context.ok(GENERATE, p256(usage=0x3001))
        assert context.call(COPY, source + p256())[0] == NOT_PERMITTED

    @pytest.mark.parametrize(
        "wanted", [(AES, 0, ECDSA_SHA256), (0, 384, ECDSA_SHA256), (0, 0, 0x0600060A), (0, 0, GCM)]
    )
    def test_no_other_type_size_or_algorithm(self, context: Context, wanted: tuple[int, int, int]) -> None:
        source = context.ok(GENERATE, p256(usage=0x3003))
        key_type, bits, alg = wanted
        assert context.call(COPY, source + attributes(key_type, bits, usage=1, alg=alg))[0] == INVALID_ARGUMENT

    def test_unknown_source_and_taken_target(self, context: Context) -> None:
        assert context.call(COPY, u32(5) + p256())[0] == INVALID_HANDLE
        source = context.ok(GENERATE, p256(5, usage=0x3003))
        assert context.call(COPY, source + p256(5))[0] == EXISTS


class TestIsolation:
    def test_ids_belong_to_their_source(self, context: Context) -> None:
        for key_id in (7, 0):
            mine, yours = (context.ok(GENERATE, p256(key_id), caller=caller) for caller in (ALICE, BOB))
            assert mine == yours
            points = [context.ok(EXPORT_PUBLIC, mine, caller=caller) for caller in (ALICE, BOB)]
            assert points[0] != points[1]
            context.ok(DESTROY, mine, caller=ALICE)
            assert context.ok(EXPORT_PUBLIC, yours, caller=BOB) == points[1]

    def test_a_strangers_key_is_unknown(self, context: Context) -> None:
        for key_id in (context.ok(GENERATE, p256(7)), context.ok(GENERATE, p256())):
            context.ok(SIGN, key_id + u32(ECDSA_SHA256) + tlv(1, HASH))
            assert context.call(SIGN, key_id + u32(ECDSA_SHA256) + tlv(1, HASH), caller=BOB)[0] == INVALID_HANDLE
            assert context.call(DESTROY, key_id, caller=BOB)[0] == INVALID_HANDLE
            context.ok(GET_ATTRIBUTES, key_id)

    def test_keys_are_shared_by_a_sources_channels(self, context: Context) -> None:
        key_id = context.ok(GENERATE, p256())
        context.packed.channel_closed(ALICE)
        context.ok(GET_ATTRIBUTES, key_id, caller=Caller(ALICE.source_id, 2))

    def test_one_source_cannot_take_all_volatile_keys(self, context: Context) -> None:
        for _ in range(32):
            import_raw(context, b"x")
        assert import_raw(context, b"x") == (NO_MEMORY, b"")
        asked = attributes(RAW, 0, usage=1, alg=0) + tlv(1, b"x")
        assert context.ok(IMPORT, asked, caller=BOB) == u32(0x7FFFFFE0)
        context.ok(DESTROY, u32(0x7FFFFFE5))
        assert import_raw(context, b"x") == (0, u32(0x7FFFFFE5))

    def test_the_table_of_volatile_keys_ends(self, context: Context) -> None:
        asked = attributes(RAW, 0, usage=1, alg=0) + tlv(1, b"x")
        for source_id in range(8):
            for _ in range(32):
                context.ok(IMPORT, asked, caller=Caller(source_id, 1))
        assert context.call(IMPORT, asked, caller=Caller(99, 1))[0] == NO_MEMORY


class TestContexts:
    """Two contexts of one partition."""

    @pytest.mark.parametrize("key_id", [7, 0])
    def test_a_key_is_everywhere_or_nowhere(self, world: World, key_id: int) -> None:
        one, other = world.context(), world.context()
        made = one.ok(GENERATE, p256(key_id))
        sign = made + u32(ECDSA_SHA256) + tlv(1, HASH)
        other.ok(SIGN, sign)
        one.ok(DESTROY, made)
        assert other.call(SIGN, sign)[0] == INVALID_HANDLE

    @pytest.mark.parametrize("key_id", [7, 0])
    def test_a_key_made_anew_under_the_old_id(self, world: World, key_id: int) -> None:
        one, other = world.context(), world.context()
        made = one.ok(GENERATE, p256(key_id))
        first = other.ok(EXPORT_PUBLIC, made)
        one.ok(DESTROY, made)
        assert one.ok(GENERATE, p256(key_id)) == made
        second = other.ok(EXPORT_PUBLIC, made)
        assert second != first
        assert one.ok(EXPORT_PUBLIC, made) == second

    def test_no_id_is_given_twice(self, world: World) -> None:
        one, other = world.context(), world.context()
        one.ok(GENERATE, p256(7))
        assert other.call(GENERATE, p256(7))[0] == EXISTS
        assert one.ok(GENERATE, p256()) != other.ok(GENERATE, p256())

    def test_a_loaded_key_needs_no_storage(self, world: World) -> None:
        context = world.context()
        context.ok(GENERATE, p256(7))
        sign = u32(7, ECDSA_SHA256) + tlv(1, HASH)
        context.ok(SIGN, sign)
        world.storage.calls.clear()
        context.ok(SIGN, sign)
        assert not world.storage.calls

    def test_the_cache_is_bounded(self, world: World) -> None:
        store = KeyStore(world.shared, world.lock, RpcKeyStorage(world.storage), cached_keys=2)
        context = Context(store)
        for key_id in (1, 2, 3):
            context.ok(GENERATE, p256(key_id))
            context.ok(GET_ATTRIBUTES, u32(key_id))
        world.storage.calls.clear()
        context.ok(GET_ATTRIBUTES, u32(3))
        context.ok(GET_ATTRIBUTES, u32(2))
        assert not world.storage.calls
        context.ok(GET_ATTRIBUTES, u32(1))
        assert world.storage.calls

    def test_a_key_that_changes_while_it_is_looked_up_is_looked_up_again(self, world: World) -> None:
        one, other = world.context(), world.context()
        one.ok(GENERATE, p256(7))

        def destroyed(opcode: int) -> None:
            world.storage.after = lambda _opcode: None
            one.ok(DESTROY, u32(7))

        world.storage.after = destroyed
        assert other.call(GET_ATTRIBUTES, u32(7))[0] == INVALID_HANDLE

    def test_only_persistent_keys_outlive_the_partition(self, world: World) -> None:
        before = world.context()
        volatile, persistent = before.ok(GENERATE, p256()), before.ok(GENERATE, p256(7))
        point = before.ok(EXPORT_PUBLIC, persistent)
        after = world.restarted().context()
        assert after.ok(EXPORT_PUBLIC, persistent) == point
        assert after.call(GET_ATTRIBUTES, volatile)[0] == INVALID_HANDLE

    def test_nothing_of_a_destroyed_volatile_key_stays_in_memory(self, world: World) -> None:
        context = world.context()
        secret = b"a secret that nothing else contains"
        _, key_id = import_raw(context, secret)
        assert secret in bytes(world.shared)
        context.ok(DESTROY, key_id)
        assert secret not in bytes(world.shared)


class TestStorageFaults:
    def fail(self, storage: StorageService, opcode: int, *, carried_out: bool, times: int = 2) -> None:
        left = [times]

        def fail(called: int) -> None:
            if called == opcode and left[0]:
                left[0] -= 1
                raise RpcError(RpcStatus.TRANSPORT_LAYER)

        if carried_out:
            storage.after = fail
        else:
            storage.before = fail

    @pytest.mark.parametrize("carried_out", [False, True])
    def test_a_key_that_nobody_was_told_of_does_not_exist(self, world: World, carried_out: bool) -> None:
        one, other = world.context(), world.context()
        self.fail(world.storage, SET, carried_out=carried_out)
        assert one.call(GENERATE, p256(7)) == (COMMUNICATION, b"")
        assert (7 in {uid & 0xFFFFFFFF for uid in world.storage.objects}) is carried_out
        assert other.call(GET_ATTRIBUTES, u32(7))[0] == INVALID_HANDLE
        assert other.ok(GENERATE, p256(8)) == u32(8)
        assert [uid & 0xFFFFFFFF for uid in world.storage.objects] == [8]
        assert one.ok(GENERATE, p256(7)) == u32(7)

    @pytest.mark.parametrize("carried_out", [False, True])
    @pytest.mark.parametrize(
        ("opcode", "call", "request_"),
        [(SET, GENERATE, p256(8)), (GET, GET_ATTRIBUTES, u32(7)), (REMOVE, DESTROY, u32(7))],
    )
    def test_one_failure_of_the_transport_is_made_up_for(
        self, world: World, carried_out: bool, opcode: int, call: int, request_: bytes
    ) -> None:
        world.context().ok(GENERATE, p256(7))
        self.fail(world.storage, opcode, carried_out=carried_out, times=1)
        world.context().ok(call, request_)
        assert {uid & 0xFFFFFFFF for uid in world.storage.objects} == {GENERATE: {7, 8}, DESTROY: set()}.get(call, {7})

    def test_a_destruction_that_failed_can_be_repeated(self, world: World) -> None:
        context = world.context()
        context.ok(GENERATE, p256(7))
        self.fail(world.storage, REMOVE, carried_out=False)
        assert context.call(DESTROY, u32(7))[0] == COMMUNICATION
        context.ok(GET_ATTRIBUTES, u32(7))
        context.ok(DESTROY, u32(7))

    def test_a_record_written_in_pieces_is_a_key_at_the_end_only(self, world: World) -> None:
        world.storage.capacity_bytes = 300
        context = world.context()
        pieces = 0

        def killed(opcode: int) -> None:
            nonlocal pieces
            pieces += opcode == SET_EXTENDED
            if pieces == 3:
                raise SystemExit

        world.storage.after = killed
        with pytest.raises(SystemExit):
            import_raw(context, bytes(700), key_id=7)
        world.storage.after = lambda _opcode: None
        after = world.restarted().context()
        assert after.call(GET_ATTRIBUTES, u32(7))[0] == INVALID_HANDLE
        assert import_raw(after, b"x" * 700, key_id=7) == (0, u32(7))
        assert after.ok(EXPORT, u32(7)) == tlv(1, b"x" * 700)

    @pytest.mark.parametrize("status", [-142, -146, -144])
    def test_the_storages_statuses_are_passed_on(
        self, world: World, monkeypatch: pytest.MonkeyPatch, status: int
    ) -> None:
        monkeypatch.setattr(world.storage, "call", lambda opcode, request: (status, b""))
        assert world.context().call(GENERATE, p256(7))[0] == status
        assert world.context().call(GET_ATTRIBUTES, u32(7))[0] == status

    @pytest.mark.parametrize(
        "altered", [b"", b"EGK2", b"EGK3" + bytes(40), b"EGK2" + bytes(19), b"EGK2" + b"\xff" * 60, b"EGK1" + bytes(18)]
    )
    def test_a_corrupt_record_is_that_keys_fault_alone(self, world: World, altered: bytes) -> None:
        context = world.context()
        for key_id in (7, 8):
            context.ok(GENERATE, p256(key_id))
        world.storage.objects[ALICE.source_id << 32 | 7] = altered
        after = world.restarted().context()
        status, _ = after.call(SIGN, u32(7, ECDSA_SHA256) + tlv(1, HASH))
        assert status == (CORRUPT if altered else INVALID_HANDLE)
        after.ok(SIGN, u32(8, ECDSA_SHA256) + tlv(1, HASH))
        after.ok(DESTROY, u32(7))
        after.ok(GENERATE, p256(7))

    def test_storage_that_finds_corruption(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        context = world.context()
        monkeypatch.setattr(world.storage, "call", lambda opcode, request: (CORRUPT, b""))
        assert context.call(GET_ATTRIBUTES, u32(7))[0] == CORRUPT
        assert context.call(GENERATE, p256(7))[0] == EXISTS

    def test_volatile_keys_need_no_storage(self, world: World) -> None:
        def gone(_opcode: int) -> None:
            raise TRANSPORT_LAYER

        world.storage.before = gone
        context = world.context()
        context.ok(DESTROY, context.ok(GENERATE, p256()))
        assert context.call(GENERATE, p256(7))[0] == COMMUNICATION
