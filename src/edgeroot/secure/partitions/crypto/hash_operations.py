"""Hashes in several parts (PSA Crypto API 1.2, clause 10.2.3)."""

from __future__ import annotations

from typing import Final

from edgeroot import engine
from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.psa import Algorithm
from edgeroot.secure.partitions.crypto.answers import EMPTY, Handlers, check_capacity
from edgeroot.secure.partitions.crypto.contexts import Contexts
from edgeroot.secure.runtime.api import Caller


class HashOperations:
    """The handlers, and the hashes under way."""

    def __init__(self) -> None:
        self.contexts: Final = Contexts[engine.HashOperation]()
        self.handlers: Final[Handlers] = {
            Op.HASH_SETUP: self._setup,
            Op.HASH_UPDATE: self._update,
            Op.HASH_FINISH: self._finish,
            Op.HASH_VERIFY: self._verify,
            Op.HASH_CLONE: self._clone,
            Op.HASH_ABORT: self._abort,
        }

    def _setup(self, caller: Caller, request: m.AlgorithmRequest, capacity_bytes: int) -> m.HandleResponse:
        check_capacity(capacity_bytes)
        return m.HandleResponse(self.contexts.add(caller, engine.hash_setup(Algorithm(request.algorithm))))

    def _update(self, caller: Caller, request: m.HandleDataRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self.contexts.get(caller, request.op_handle).update(request.data)
        return EMPTY

    def _finish(self, caller: Caller, request: m.HandleRequest, _capacity_bytes: int) -> m.DataResponse:
        hash_value = self.contexts.get(caller, request.op_handle).finish()
        self.contexts.remove(caller, request.op_handle)
        return m.DataResponse(hash_value)

    def _verify(self, caller: Caller, request: m.HandleDataRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self.contexts.get(caller, request.op_handle).verify(request.data)
        self.contexts.remove(caller, request.op_handle)
        return EMPTY

    def _clone(self, caller: Caller, request: m.HandleRequest, capacity_bytes: int) -> m.HandleResponse:
        check_capacity(capacity_bytes)
        return m.HandleResponse(self.contexts.add(caller, self.contexts.get(caller, request.op_handle).clone()))

    def _abort(self, caller: Caller, request: m.HandleRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self.contexts.remove(caller, request.op_handle)
        return EMPTY
