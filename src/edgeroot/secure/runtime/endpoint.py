"""The TS RPC endpoint of a partition, sans-IO: a direct message's words in, the answer's words out (TS RPC v1).

The order of the checks is the reference's: interface id, then handle, then request length, then the service.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.ts_rpc import (
    MANAGEMENT_INTERFACE,
    NO_MEMORY,
    ManagementOpcode,
    Words,
    call_response,
    failure_response,
    handle_in,
    service_in,
    service_info_response,
    status_response,
    version_response,
)
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.runtime.api import Caller, Reply, Service, SlowWork

_log: Final = logging.getLogger(__name__)
_T = TypeVar("_T")


class SharedMemory(Protocol):
    """A retrieved region. The other side may write into it at any time, so it is read once and copied."""

    @property
    def size_bytes(self) -> int: ...

    def read(self, size_bytes: int) -> bytes: ...

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


class MemoryPort(Protocol):
    """The partition manager's memory calls."""

    def retrieve(self, source_id: int, handle: int) -> SharedMemory:
        """RpcError TRANSPORT_LAYER if the manager refuses."""

    def relinquish(self, handle: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Pending:
    """An answer that another process of the partition is working on."""

    service: int
    task: bytes
    finish: Callable[[bytes | PsaError], Words]


class Endpoint:
    """The services of one partition, and the memory that its callers share with it."""

    def __init__(self, services: Sequence[Service], memory: MemoryPort, *, memory_slots: int) -> None:
        self._services = tuple(services)
        self._interface_of = {service.uuid: index for index, service in enumerate(self._services)}
        self._memory = memory
        self._memory_slots = memory_slots
        self._regions: dict[tuple[int, int], tuple[Caller, SharedMemory]] = {}

    def answer(self, caller: Caller, words: Words) -> Words | Pending:
        """Answer a direct request. Whatever the caller sends, there is an answer."""
        control, handle_low, handle_high, request_bytes, _client_id = words
        interface = control >> 16 & 0xFF
        if interface == MANAGEMENT_INTERFACE:
            return self._manage(caller, words)
        if interface >= len(self._services):
            return failure_response(control, RpcStatus.INVALID_VALUE)
        handle = handle_high << 32 | handle_low
        if handle == NO_MEMORY:
            if request_bytes:
                return failure_response(control, RpcStatus.INVALID_VALUE)
            return self._call(caller, interface, control, None, b"")
        region = self._regions.get((caller.source_id, handle))
        if region is None:
            return failure_response(control, RpcStatus.NOT_FOUND)
        memory = region[1]
        if request_bytes > memory.size_bytes:
            return failure_response(control, RpcStatus.INVALID_VALUE)
        return self._call(caller, interface, control, memory, memory.read(request_bytes))

    def channel_closed(self, caller: Caller) -> None:
        """Forget what the channel's callers had here: contexts in the services, and the memory that came over it."""
        for service in self._services:
            service.channel_closed(caller)
        for slot, (owner, memory) in list(self._regions.items()):
            if owner == caller:
                del self._regions[slot]
                memory.close()
                self._memory.relinquish(slot[1])

    def _call(
        self, caller: Caller, interface: int, control: int, memory: SharedMemory | None, request: bytes
    ) -> Words | Pending:
        capacity_bytes = 0 if memory is None else memory.size_bytes
        service = self._services[interface]
        reply = _guarded(
            control, lambda: service.call(caller, control & 0xFFFF, request, capacity_bytes=capacity_bytes)
        )
        if isinstance(reply, SlowWork):
            return self._later(interface, control, memory, reply)
        return _answered(control, memory, reply)

    def _later(self, interface: int, control: int, memory: SharedMemory | None, work: SlowWork) -> Pending:
        def finish(result: bytes | PsaError) -> Words:
            if isinstance(result, PsaError):
                return _refused(control, result)
            return _answered(control, memory, _guarded(control, lambda: work.finish(result)))

        return Pending(interface, work.task, finish)

    def _manage(self, caller: Caller, words: Words) -> Words:
        control = words[0]
        match control & 0xFFFF:
            case ManagementOpcode.VERSION_GET:
                return version_response(control)
            case ManagementOpcode.MEMORY_RETRIEVE:
                return status_response(control, self._retrieve(caller, handle_in(words)))
            case ManagementOpcode.MEMORY_RELINQUISH:
                return status_response(control, self._relinquish(caller, handle_in(words)))
            case ManagementOpcode.SERVICE_INFO:
                interface = self._interface_of.get(service_in(words))
                if interface is None:
                    return failure_response(control, RpcStatus.NOT_FOUND)
                return service_info_response(control, interface)
        return failure_response(control, RpcStatus.INVALID_VALUE)

    def _retrieve(self, caller: Caller, handle: int) -> RpcStatus:
        slot = (caller.source_id, handle)
        if slot in self._regions:
            return RpcStatus.INVALID_VALUE
        if sum(source_id == caller.source_id for source_id, _ in self._regions) >= self._memory_slots:
            return RpcStatus.NOT_FOUND  # what the reference says of a full table
        try:
            self._regions[slot] = caller, self._memory.retrieve(caller.source_id, handle)
        except RpcError as error:
            return error.status
        return RpcStatus.SUCCESS

    def _relinquish(self, caller: Caller, handle: int) -> RpcStatus:
        region = self._regions.pop((caller.source_id, handle), None)
        if region is None:
            return RpcStatus.NOT_FOUND
        region[1].close()
        self._memory.relinquish(handle)
        return RpcStatus.SUCCESS


def _guarded(control: int, step: Callable[[], _T]) -> _T | Words:
    """What a service's step gives, or how its caller is told that it failed: whatever happens, he is answered."""
    try:
        return step()
    except (RpcError, PsaError) as error:
        return _refused(control, error)
    except Exception:  # noqa: BLE001 - the guard of each call, so that a fault in one ends nobody else's
        _log.exception("a fault in the service itself; please report it")
        return failure_response(control, RpcStatus.INTERNAL)


def _refused(control: int, error: RpcError | PsaError) -> Words:
    if isinstance(error, RpcError):
        return failure_response(control, error.status)
    return call_response(control, error.status, 0)


def _answered(control: int, memory: SharedMemory | None, reply: Reply | Words) -> Words:
    if isinstance(reply, tuple):
        return reply
    payload = reply.payload
    if payload:
        if memory is None:
            return failure_response(control, RpcStatus.INVALID_RESPONSE_BODY)
        if len(payload) > memory.size_bytes:
            return _refused(control, PsaError(PsaStatus.BUFFER_TOO_SMALL))
        memory.write(payload)
    return call_response(control, reply.status, len(payload))
