"""Unauthenticated ciphers in several parts (PSA Crypto API 1.2, clause 10.4.3)."""

from __future__ import annotations

from typing import Final

from edgeroot import engine
from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.psa import Algorithm, PsaError, PsaStatus
from edgeroot.secure.partitions.crypto import policy
from edgeroot.secure.partitions.crypto.answers import EMPTY, Handlers, check_capacity
from edgeroot.secure.partitions.crypto.contexts import Contexts
from edgeroot.secure.partitions.crypto.keys import KeyStore
from edgeroot.secure.runtime.api import Caller


class CipherOperations:
    """The handlers over one context's key store, and the encryptions and decryptions under way."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys: Final = keys
        self.contexts: Final = Contexts[engine.CipherOperation]()
        self.handlers: Final[Handlers] = {
            Op.CIPHER_ENCRYPT_SETUP: self._encrypt_setup,
            Op.CIPHER_DECRYPT_SETUP: self._decrypt_setup,
            Op.CIPHER_GENERATE_IV: self._generate_iv,
            Op.CIPHER_SET_IV: self._set_iv,
            Op.CIPHER_UPDATE: self._update,
            Op.CIPHER_FINISH: self._finish,
            Op.CIPHER_ABORT: self._abort,
        }

    def _encrypt_setup(self, caller: Caller, request: m.KeyAlgorithmRequest, capacity_bytes: int) -> m.HandleResponse:
        return self._setup(caller, request, capacity_bytes, encrypt=True)

    def _decrypt_setup(self, caller: Caller, request: m.KeyAlgorithmRequest, capacity_bytes: int) -> m.HandleResponse:
        return self._setup(caller, request, capacity_bytes, encrypt=False)

    def _setup(
        self, caller: Caller, request: m.KeyAlgorithmRequest, capacity_bytes: int, *, encrypt: bool
    ) -> m.HandleResponse:
        check_capacity(capacity_bytes)
        algorithm = Algorithm(request.algorithm)
        if not algorithm.is_cipher:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, f"{algorithm!r} is no cipher")
        key = self._keys.find(caller.source_id, request.key_id)
        policy.require(key, policy.ENCRYPT if encrypt else policy.DECRYPT, algorithm)
        operation = engine.cipher_setup(key.engine, algorithm, encrypt=encrypt)
        return m.HandleResponse(self.contexts.add(caller, operation))

    def _generate_iv(self, caller: Caller, request: m.HandleRequest, _capacity_bytes: int) -> m.DataResponse:
        return m.DataResponse(self.contexts.get(caller, request.op_handle).generate_iv())

    def _set_iv(self, caller: Caller, request: m.HandleDataRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self.contexts.get(caller, request.op_handle).set_iv(request.data)
        return EMPTY

    def _update(self, caller: Caller, request: m.HandleDataRequest, _capacity_bytes: int) -> m.DataResponse:
        return m.DataResponse(self.contexts.get(caller, request.op_handle).update(request.data))

    def _finish(self, caller: Caller, request: m.HandleRequest, _capacity_bytes: int) -> m.DataResponse:
        output = self.contexts.get(caller, request.op_handle).finish()
        self.contexts.remove(caller, request.op_handle)
        return m.DataResponse(output)

    def _abort(self, caller: Caller, request: m.HandleRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self.contexts.remove(caller, request.op_handle)
        return EMPTY
