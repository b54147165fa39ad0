"""Authenticated encryption in several parts (PSA Crypto API 1.2, clause 10.5.3)."""

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


class AeadOperations:
    """The handlers over one context's key store, and the encryptions and decryptions under way."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys: Final = keys
        self.contexts: Final = Contexts[engine.AeadOperation]()
        self.handlers: Final[Handlers] = {
            Op.AEAD_ENCRYPT_SETUP: self._encrypt_setup,
            Op.AEAD_DECRYPT_SETUP: self._decrypt_setup,
            Op.AEAD_GENERATE_NONCE: self._generate_nonce,
            Op.AEAD_SET_NONCE: self._set_nonce,
            Op.AEAD_SET_LENGTHS: self._set_lengths,
            Op.AEAD_UPDATE_AD: self._update_ad,
            Op.AEAD_UPDATE: self._update,
            Op.AEAD_FINISH: self._finish,
            Op.AEAD_VERIFY: self._verify,
            Op.AEAD_ABORT: self._abort,
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
        if not algorithm.is_aead:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, f"{algorithm!r} is no authenticated encryption")
        key = self._keys.find(caller.source_id, request.key_id)
        policy.require(key, policy.ENCRYPT if encrypt else policy.DECRYPT, algorithm)
        operation = engine.aead_setup(key.engine, algorithm, encrypt=encrypt)
        return m.HandleResponse(self.contexts.add(caller, operation))

    def _generate_nonce(self, caller: Caller, request: m.HandleRequest, _capacity_bytes: int) -> m.DataResponse:
        return m.DataResponse(self.contexts.get(caller, request.op_handle).generate_nonce())

    def _set_nonce(self, caller: Caller, request: m.HandleDataRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self.contexts.get(caller, request.op_handle).set_nonce(request.data)
        return EMPTY

    def _set_lengths(self, caller: Caller, request: m.SetLengthsRequest, _capacity_bytes: int) -> m.EmptyResponse:
        operation = self.contexts.get(caller, request.op_handle)
        operation.set_lengths(request.additional_data_bytes, request.plaintext_bytes)
        return EMPTY

    def _update_ad(self, caller: Caller, request: m.HandleDataRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self.contexts.get(caller, request.op_handle).update_ad(request.data)
        return EMPTY

    def _update(self, caller: Caller, request: m.HandleDataRequest, _capacity_bytes: int) -> m.DataResponse:
        return m.DataResponse(self.contexts.get(caller, request.op_handle).update(request.data))

    def _finish(self, caller: Caller, request: m.HandleRequest, _capacity_bytes: int) -> m.AeadFinishResponse:
        ciphertext, tag = self.contexts.get(caller, request.op_handle).finish()
        self.contexts.remove(caller, request.op_handle)
        return m.AeadFinishResponse(ciphertext, tag)

    def _verify(self, caller: Caller, request: m.HandleDataRequest, _capacity_bytes: int) -> m.DataResponse:
        plaintext = self.contexts.get(caller, request.op_handle).verify(request.data)
        self.contexts.remove(caller, request.op_handle)
        return m.DataResponse(plaintext)

    def _abort(self, caller: Caller, request: m.HandleRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self.contexts.remove(caller, request.op_handle)
        return EMPTY
