"""Operation contexts: what multi-part operations keep between calls.

A family of operations (hash, cipher, ...) has a pool for each caller, that is for each channel of a source. A pool
holds ten; when it is full, the one that was set up longest ago is given up for a new one. So nobody can push another
caller's operations out, and what one caller keeps is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.runtime.api import Caller

POOL_SIZE: Final = 10
_MAX_HANDLE: Final = 0xFFFFFFFF
T = TypeVar("T")


class _Pool(Generic[T]):
    __slots__ = ("last_handle", "operations")

    def __init__(self) -> None:
        self.last_handle = 0
        self.operations: OrderedDict[int, T] = OrderedDict()


class Contexts(Generic[T]):
    """The operations of one family."""

    def __init__(self) -> None:
        self._pools: dict[Caller, _Pool[T]] = {}

    def add(self, caller: Caller, operation: T) -> int:
        """Keep an operation that was set up; its handle counts up from 1 in each pool."""
        pool = self._pools.get(caller)
        if pool is None:
            pool = self._pools[caller] = _Pool()
        handle = pool.last_handle % _MAX_HANDLE + 1
        while handle in pool.operations:  # after 2^32 of them, an old one may still be there
            handle = handle % _MAX_HANDLE + 1
        if len(pool.operations) == POOL_SIZE:
            pool.operations.popitem(last=False)
        pool.operations[handle] = operation
        pool.last_handle = handle
        return handle

    def get(self, caller: Caller, handle: int) -> T:
        """The caller's operation; BAD_STATE if there is none with this handle."""
        pool = self._pools.get(caller)
        operation = None if pool is None else pool.operations.get(handle)
        if operation is None:
            raise PsaError(PsaStatus.BAD_STATE, "there is no such operation")
        return operation

    def remove(self, caller: Caller, handle: int) -> None:
        """Forget an operation, if there is one with this handle."""
        pool = self._pools.get(caller)
        if pool is not None:
            pool.operations.pop(handle, None)

    def drop(self, caller: Caller) -> None:
        """Forget all of a caller's operations."""
        self._pools.pop(caller, None)
