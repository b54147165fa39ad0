"""Calls from one partition to another: a channel, one shared buffer, and TS RPC over them.

A call waits for its answer. That cannot end in a ring: manifests let calls go only to partitions that boot earlier.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import Final
from uuid import UUID

from edgeroot.abi.emulation import FRAME, PAGE_BYTES
from edgeroot.abi.ffa import FunctionId, PartitionInfo
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.services import TS_RPC_FFA_UUID
from edgeroot.abi.ts_rpc import (
    Call,
    Words,
    call_outcome,
    call_request,
    check,
    interface_in,
    memory_relinquish_request,
    memory_retrieve_request,
    service_info_request,
)
from edgeroot.secure.runtime.manager import ManagerConnection

_BUFFER_PAGES: Final = 4
_ANSWER_S: Final = 60.0
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class _Line:
    """A connected session: the channel, the buffer's handle and the service's interface id."""

    def __init__(self, manager: ManagerConnection, own_id: int, endpoint_id: int, given_up: list[int]) -> None:
        """``given_up`` collects the handles of lines that were closed. RpcError."""
        self._route: Final = own_id << 16 | endpoint_id
        self._given_up = given_up
        self._channel = manager.open_channel(endpoint_id)
        self._channel.settimeout(_ANSWER_S)
        self._tag = 0
        descriptor = os.memfd_create("edgeroot-shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, _BUFFER_PAGES * PAGE_BYTES)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            self._handle: Final = manager.share(descriptor, _BUFFER_PAGES, endpoint_id)
            self.buffer: Final = mmap.mmap(descriptor, _BUFFER_PAGES * PAGE_BYTES)
        except BaseException:
            self._channel.close()
            raise
        finally:
            os.close(descriptor)
        try:
            check(self._exchange(memory_retrieve_request(self._handle)))
        except RpcError:
            self.close()
            raise

    def interface(self, service: UUID) -> int:
        """RpcError NOT_FOUND if this partition does not have the service."""
        return interface_in(self._exchange(service_info_request(service)))

    def call(self, interface: int, opcode: int, request: bytes) -> tuple[int, bytes]:
        self.buffer[: len(request)] = request
        outcome = call_outcome(self._exchange(call_request(Call(interface, opcode, self._handle, len(request)))))
        return outcome.service_status, self.buffer[: outcome.response_bytes]

    def leave(self) -> None:
        """Have the other partition give the memory back, and close."""
        try:
            check(self._exchange(memory_relinquish_request(self._handle)))
        except RpcError:
            pass  # it does so by itself when it notices
        self.close()

    def close(self) -> None:
        self._channel.close()
        self.buffer.close()
        self._given_up.append(self._handle)

    def _exchange(self, words: Words) -> Words:
        self._tag += 1
        try:
            self._channel.send(FRAME.pack(FunctionId.MSG_SEND_DIRECT_REQ_32, self._route, 0, *words, self._tag))
            data = self._channel.recv(FRAME.size)
        except OSError as error:
            raise RpcError(RpcStatus.TRANSPORT_LAYER, "the other partition has ended") from error
        if len(data) != FRAME.size:
            raise RpcError(RpcStatus.TRANSPORT_LAYER, "the other partition has ended")
        registers = FRAME.unpack(data)
        if registers[0] != FunctionId.MSG_SEND_DIRECT_RESP_32 or registers[8] != self._tag:
            raise RpcError(RpcStatus.TRANSPORT_LAYER, "the other partition did not answer the request")
        return registers[3:8]


class Session:
    """Calls to one service of another partition; connects at the first call, and anew after a failure."""

    capacity_bytes: Final = _BUFFER_PAGES * PAGE_BYTES

    def __init__(self, manager: ManagerConnection, own_id: int, service: UUID) -> None:
        self._manager = manager
        self._own_id = own_id
        self._service = service
        self._line: _Line | None = None
        self._interface = 0
        self._given_up: list[int] = []

    def call(self, opcode: int, request: bytes) -> tuple[int, bytes]:
        """The service's status and the response. RpcError."""
        if len(request) > self.capacity_bytes:
            raise RpcError(RpcStatus.INVALID_VALUE, "the request is longer than the shared buffer")
        line = self._line or self._connect()
        try:
            return line.call(self._interface, opcode, request)
        except RpcError as error:
            if error.status is RpcStatus.TRANSPORT_LAYER:
                self._line = None
                line.close()
            raise

    def _connect(self) -> _Line:
        # The other partition gives memory back as soon as it notices that the line is closed, or with its own end.
        self._given_up[:] = [handle for handle in self._given_up if not self._manager.reclaim(handle)]
        for info in PartitionInfo.decode_all(self._manager.partitions()):
            if info.uuid != TS_RPC_FFA_UUID or info.id == self._own_id:
                continue
            try:
                line = _Line(self._manager, self._own_id, info.id, self._given_up)
            except RpcError:
                continue  # not a partition that this one may call
            try:
                self._interface = line.interface(self._service)
            except RpcError:
                line.leave()
                continue
            self._line = line
            return line
        raise RpcError(RpcStatus.TRANSPORT_LAYER, f"no partition offers the service {self._service}")
