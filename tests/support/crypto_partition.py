"""The crypto partition without processes: contexts over one shared memory, one lock and one storage service."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from struct import Struct
from typing import Final

from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.psa import PsaError
from edgeroot.secure.partitions.crypto.core import CryptoCore
from edgeroot.secure.partitions.crypto.key_inspection import KeyInspection
from edgeroot.secure.partitions.crypto.keys import SHARED_BYTES, KeyStore
from edgeroot.secure.partitions.crypto.ports import KeyElement
from edgeroot.secure.partitions.crypto.services import KeyInspectionService, PackedCService, ProtobufService
from edgeroot.secure.partitions.crypto.storage_port import RpcKeyStorage
from edgeroot.secure.runtime.api import Caller, Reply, Service, SlowWork

CAPACITY_BYTES: Final = 8192
ALICE: Final = Caller(source_id=0x0001, channel=1)
BOB: Final = Caller(source_id=0x0002, channel=1)
INSPECTOR: Final = Caller(source_id=0x8003, channel=1)
_SET: Final = Struct("<QQI")
_GET: Final = Struct("<QQQ")
_UID: Final = Struct("<Q")
TRANSPORT_LAYER: Final = RpcError(RpcStatus.TRANSPORT_LAYER)


class Lock(AbstractContextManager[None]):
    """Between "contexts" that run in one thread: to take it twice would be a deadlock."""

    def __init__(self) -> None:
        self.is_held = False

    def __enter__(self) -> None:
        assert not self.is_held, "the lock is not reentrant"
        self.is_held = True

    def __exit__(self, *_exception: object) -> None:
        self.is_held = False


class StorageService:
    """Internal trusted storage as the facts describe it, and ways to make it fail.

    ``before`` and ``after`` are called around the carrying out of each call with its opcode; what they raise is the
    call's outcome.
    """

    def __init__(self, capacity_bytes: int = 16384) -> None:
        self.capacity_bytes = capacity_bytes
        self.objects: dict[int, bytes] = {}
        self.calls: list[int] = []
        self.before: Callable[[int], None] = lambda _opcode: None
        self.after: Callable[[int], None] = lambda _opcode: None

    def call(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        assert len(request) <= self.capacity_bytes
        self.calls.append(opcode)
        self.before(opcode)
        answer = self._carry_out(opcode, request)
        self.after(opcode)
        return answer

    def _carry_out(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        if opcode == 0x100:
            uid, length, flags = _SET.unpack_from(request)
            assert flags == 0
            self.objects[uid] = request[_SET.size : _SET.size + length]
            return 0, b""
        uid = _UID.unpack_from(request)[0]
        if opcode == 0x104:
            if uid in self.objects:
                return -139, b""
            self.objects[uid] = b""
            return 0, b""
        data = self.objects.get(uid)
        if data is None:
            return -140, b""
        if opcode == 0x101:
            _, offset, size = _GET.unpack_from(request)
            if offset > len(data):
                return -135, b""
            return 0, data[offset : offset + min(size, self.capacity_bytes)]
        if opcode == 0x103:
            del self.objects[uid]
            return 0, b""
        assert opcode == 0x105
        _, offset, length = _GET.unpack_from(request)
        assert offset <= len(data)
        piece = request[_GET.size : _GET.size + length]
        self.objects[uid] = data[:offset] + piece + data[offset + length :]
        return 0, b""


class World:
    """What the contexts of one partition share."""

    def __init__(self, *, storage: StorageService | None = None, element: KeyElement | None = None) -> None:
        self.shared = memoryview(bytearray(SHARED_BYTES))
        self.lock = Lock()
        self.storage = storage or StorageService()
        self.element = element

    def store(self) -> KeyStore:
        return KeyStore(self.shared, self.lock, RpcKeyStorage(self.storage), element=self.element)

    def context(self) -> Context:
        return Context(self.store(), self.element)

    def restarted(self) -> World:
        """The partition after it was killed: only what is in storage is left."""
        return World(storage=self.storage, element=self.element)


class Context:
    """One execution context; its calls do slow work at once, in a context that has no keys."""

    def __init__(self, store: KeyStore, element: KeyElement | None = None) -> None:
        self._element = element
        core = CryptoCore(store)
        self.packed = PackedCService(core)
        self.protobuf = ProtobufService(core)
        self.inspection = KeyInspectionService(core, KeyInspection(store, frozenset({INSPECTOR.source_id})))

    def call(
        self, opcode: int, request: bytes = b"", *, caller: Caller = ALICE, capacity_bytes: int = CAPACITY_BYTES
    ) -> tuple[int, bytes]:
        """Status and response of a call to the packed-c interface."""
        return call(self.packed, opcode, request, caller=caller, capacity_bytes=capacity_bytes, element=self._element)

    def ok(self, opcode: int, request: bytes = b"", *, caller: Caller = ALICE) -> bytes:
        """The response of a packed-c call that must succeed."""
        status, response = self.call(opcode, request, caller=caller)
        assert status == 0, f"{opcode:#06x} ended with {status}"
        return response


def call(
    service: Service,
    opcode: int,
    request: bytes,
    *,
    caller: Caller = ALICE,
    capacity_bytes: int = CAPACITY_BYTES,
    element: KeyElement | None = None,
) -> tuple[int, bytes]:
    """Status and response of a call; RpcError as the service raises it."""
    try:
        answer = service.call(caller, opcode, request, capacity_bytes=capacity_bytes)
        if isinstance(answer, SlowWork):
            elsewhere = World(element=element).context()
            answer = answer.finish(elsewhere.packed.work(answer.task))
    except PsaError as error:
        return int(error.status), b""
    assert isinstance(answer, Reply)
    assert len(answer.payload) <= capacity_bytes
    return answer.status, answer.payload


def rpc_status(
    service: Service, opcode: int, request: bytes = b"", *, capacity_bytes: int = CAPACITY_BYTES
) -> RpcStatus:
    """The RPC status of a call that must not reach an operation."""
    try:
        service.call(ALICE, opcode, request, capacity_bytes=capacity_bytes)
    except RpcError as error:
        return error.status
    return RpcStatus.SUCCESS


def u32(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "little") for number in numbers)


def tlv(tag: int, value: bytes) -> bytes:
    return tag.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value


def attributes(
    key_type: int, bits: int, *, usage: int, alg: int, key_id: int = 0, lifetime: int | None = None
) -> bytes:
    """24 bytes; persistent if there is an id, unless a lifetime is given."""
    if lifetime is None:
        lifetime = 1 if key_id else 0
    return u32(key_type, bits, lifetime, key_id, usage, alg)
