"""The partition's interfaces: packed-c, protobuf with fewer operations, and the inspection of keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple
from uuid import UUID

from edgeroot.abi import crypto, crypto_protobuf
from edgeroot.abi.crypto import CryptoOpcode
from edgeroot.abi.key_statement import INSPECT_KEY
from edgeroot.abi.layout import Operation
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.services import CRYPTO, CRYPTO_PROTOBUF, KEY_INSPECTION
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.partitions.crypto import slow
from edgeroot.secure.partitions.crypto.answers import Deferred, Handler, Handlers
from edgeroot.secure.partitions.crypto.core import CryptoCore
from edgeroot.secure.partitions.crypto.key_inspection import KeyInspection
from edgeroot.secure.runtime.api import Caller, Reply, Service, SlowWork

# The protobuf interface knows these only by their numbers, and upstream's answers as if their bodies were malformed.
_NOT_IN_PROTOBUF: Final = frozenset((CryptoOpcode.COPY_KEY, CryptoOpcode.PURGE_KEY, CryptoOpcode.GET_KEY_ATTRIBUTES))


class _Row(NamedTuple):
    decode: Callable[[bytes], Any]
    handle: Handler
    encode: Callable[[Any], bytes]


class _CryptoService(Service):
    """Decodes, has the core answer, and encodes."""

    def __init__(self, core: CryptoCore, operations: Mapping[int, Operation], handlers: Handlers) -> None:
        self._core = core
        self._rows = _rows(operations, handlers)

    def call(self, caller: Caller, opcode: int, request: bytes, *, capacity_bytes: int) -> Reply | SlowWork:
        row = self._rows.get(opcode)
        if row is None:
            raise RpcError(RpcStatus.INVALID_VALUE, f"there is no operation {opcode:#06x}")
        decode, handle, encode = row
        response = handle(caller, decode(request), capacity_bytes)
        if type(response) is Deferred:
            return _slow_work(response, encode, capacity_bytes)
        return _reply(response, encode, capacity_bytes)

    def work(self, task: bytes) -> bytes:
        return slow.work(task, self._core.load)

    def channel_closed(self, caller: Caller) -> None:
        self._core.channel_closed(caller)


class PackedCService(_CryptoService):
    """The packed-c interface, with all families of operations."""

    uuid: ClassVar[UUID] = CRYPTO

    def __init__(self, core: CryptoCore) -> None:
        super().__init__(core, crypto.OPERATIONS, core.handlers)


class ProtobufService(_CryptoService):
    """The protobuf interface: keys, asymmetric cryptography and random numbers."""

    uuid: ClassVar[UUID] = CRYPTO_PROTOBUF

    def __init__(self, core: CryptoCore) -> None:
        super().__init__(core, crypto_protobuf.OPERATIONS, core.handlers)

    def call(self, caller: Caller, opcode: int, request: bytes, *, capacity_bytes: int) -> Reply | SlowWork:
        if opcode in _NOT_IN_PROTOBUF:
            raise RpcError(RpcStatus.INVALID_REQUEST_BODY, f"operation {opcode:#06x} has no protobuf encoding")
        return super().call(caller, opcode, request, capacity_bytes=capacity_bytes)


class KeyInspectionService(_CryptoService):
    """What keys are, for partitions with the right to know."""

    uuid: ClassVar[UUID] = KEY_INSPECTION

    def __init__(self, core: CryptoCore, inspection: KeyInspection) -> None:
        super().__init__(core, {INSPECT_KEY.opcode: INSPECT_KEY}, inspection.handlers)


def _rows(operations: Mapping[int, Operation], handlers: Handlers) -> dict[int, _Row]:
    return {
        opcode: _Row(operation.request.decode, handlers[opcode], operation.response.encode)
        for opcode, operation in operations.items()
    }


def _slow_work(deferred: Deferred, encode: Callable[[Any], bytes], capacity_bytes: int) -> SlowWork:
    return SlowWork(deferred.task.encode(), lambda result: _reply(deferred.finish(result), encode, capacity_bytes))


def _reply(response: object, encode: Callable[[Any], bytes], capacity_bytes: int) -> Reply:
    try:
        payload = encode(response)
    except ValueError as error:
        raise PsaError(PsaStatus.BUFFER_TOO_SMALL, "the response is longer than a record") from error
    if len(payload) > capacity_bytes:
        raise PsaError(PsaStatus.BUFFER_TOO_SMALL)
    return Reply(0, payload)
