"""Internal trusted storage and protected storage: one protocol, two services with objects of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from edgeroot.abi import services
from edgeroot.abi import storage as m
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.storage import OPERATIONS, StorageOpcode
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.partitions.storage.objects import Objects
from edgeroot.secure.runtime.api import Caller, Reply, Service

_EMPTY: Final = m.EmptyResponse()
_Handler: TypeAlias = Callable[[int, Any, int], object]
"""Of the source, the request's message and how long the response may be: the response's message."""


class _StorageService(Service):
    """Everything but the UUID."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._handlers: Final[dict[int, _Handler]] = {
            StorageOpcode.SET: self._set,
            StorageOpcode.GET: self._get,
            StorageOpcode.GET_INFO: self._get_info,
            StorageOpcode.REMOVE: self._remove,
            StorageOpcode.CREATE: self._create,
            StorageOpcode.SET_EXTENDED: self._set_extended,
            StorageOpcode.GET_SUPPORT: self._get_support,
        }

    def call(self, caller: Caller, opcode: int, request: bytes, *, capacity_bytes: int) -> Reply:
        handler = self._handlers.get(opcode)
        if handler is None:
            raise RpcError(RpcStatus.INVALID_VALUE, f"there is no operation {opcode:#06x}")
        operation = OPERATIONS[opcode]
        payload = operation.response.encode(
            handler(caller.source_id, operation.request.decode(request), capacity_bytes)
        )
        if len(payload) > capacity_bytes:
            raise PsaError(PsaStatus.BUFFER_TOO_SMALL)
        return Reply(payload=payload)

    def _set(self, source_id: int, request: m.SetRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self._objects.set(source_id, request.uid, request.data, request.create_flags)
        return _EMPTY

    def _get(self, source_id: int, request: m.GetRequest, capacity_bytes: int) -> m.GetResponse:
        size_bytes = min(request.size_bytes, capacity_bytes)
        return m.GetResponse(self._objects.get(source_id, request.uid, request.offset, size_bytes))

    def _get_info(self, source_id: int, request: m.UidRequest, _capacity_bytes: int) -> m.InfoResponse:
        info = self._objects.get_info(source_id, request.uid)
        return m.InfoResponse(info.capacity_bytes, info.size_bytes, info.flags)

    def _remove(self, source_id: int, request: m.UidRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self._objects.remove(source_id, request.uid)
        return _EMPTY

    def _create(self, source_id: int, request: m.CreateRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self._objects.create(source_id, request.uid, request.capacity_bytes, request.create_flags)
        return _EMPTY

    def _set_extended(self, source_id: int, request: m.SetExtendedRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self._objects.set_extended(source_id, request.uid, request.offset, request.data)
        return _EMPTY

    def _get_support(self, _source_id: int, _request: m.GetSupportRequest, _capacity_bytes: int) -> m.SupportResponse:
        return m.SupportResponse(self._objects.get_support())


class InternalTrustedStorage(_StorageService):
    """PSA ITS."""

    uuid = services.INTERNAL_TRUSTED_STORAGE


class ProtectedStorage(_StorageService):
    """PSA PS."""

    uuid = services.PROTECTED_STORAGE
