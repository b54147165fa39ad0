"""Message authentication codes in several parts (PSA Crypto API 1.2, clause 10.3.3)."""

from __future__ import annotations

from typing import Final

from edgeroot import engine
from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.psa import Algorithm
from edgeroot.secure.partitions.crypto import policy
from edgeroot.secure.partitions.crypto.answers import EMPTY, Handlers, check_capacity
from edgeroot.secure.partitions.crypto.contexts import Contexts
from edgeroot.secure.partitions.crypto.keys import KeyStore
from edgeroot.secure.runtime.api import Caller


class MacOperations:
    """The handlers over one context's key store, and the MACs under way."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys: Final = keys
        self.contexts: Final = Contexts[engine.MacOperation]()
        self.handlers: Final[Handlers] = {
            Op.MAC_SIGN_SETUP: self._sign_setup,
            Op.MAC_VERIFY_SETUP: self._verify_setup,
            Op.MAC_UPDATE: self._update,
            Op.MAC_SIGN_FINISH: self._sign_finish,
            Op.MAC_VERIFY_FINISH: self._verify_finish,
            Op.MAC_ABORT: self._abort,
        }

    def _sign_setup(self, caller: Caller, request: m.KeyAlgorithmRequest, capacity_bytes: int) -> m.HandleResponse:
        return self._setup(caller, request, capacity_bytes, sign=True)

    def _verify_setup(self, caller: Caller, request: m.KeyAlgorithmRequest, capacity_bytes: int) -> m.HandleResponse:
        return self._setup(caller, request, capacity_bytes, sign=False)

    def _setup(
        self, caller: Caller, request: m.KeyAlgorithmRequest, capacity_bytes: int, *, sign: bool
    ) -> m.HandleResponse:
        check_capacity(capacity_bytes)
        algorithm = Algorithm(request.algorithm)
        key = self._keys.find(caller.source_id, request.key_id)
        policy.require(key, policy.SIGN_MESSAGE if sign else policy.VERIFY_MESSAGE, algorithm)
        operation = engine.mac_setup(key.engine, algorithm, sign=sign)
        return m.HandleResponse(self.contexts.add(caller, operation))

    def _update(self, caller: Caller, request: m.HandleDataRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self.contexts.get(caller, request.op_handle).update(request.data)
        return EMPTY

    def _sign_finish(self, caller: Caller, request: m.HandleRequest, _capacity_bytes: int) -> m.DataResponse:
        mac = self.contexts.get(caller, request.op_handle).sign_finish()
        self.contexts.remove(caller, request.op_handle)
        return m.DataResponse(mac)

    def _verify_finish(self, caller: Caller, request: m.HandleDataRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self.contexts.get(caller, request.op_handle).verify_finish(request.data)
        self.contexts.remove(caller, request.op_handle)
        return EMPTY

    def _abort(self, caller: Caller, request: m.HandleRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self.contexts.remove(caller, request.op_handle)
        return EMPTY
