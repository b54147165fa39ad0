"""Key derivation (PSA Crypto API 1.2, clause 10.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgeroot import engine
from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.psa import Algorithm, DerivationStep, KeyOrigin, KeyType, PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.crypto import policy
from edgeroot.secure.partitions.crypto.answers import EMPTY, Deferred, Handlers, check_capacity, check_output
from edgeroot.secure.partitions.crypto.contexts import Contexts
from edgeroot.secure.partitions.crypto.keys import KeyStore
from edgeroot.secure.partitions.crypto.new_key import new_key, require_local
from edgeroot.secure.partitions.crypto.record import KeyRecord
from edgeroot.secure.partitions.crypto.slow import Function, Task
from edgeroot.secure.runtime.api import Caller

_SECRET_STEPS: Final = (DerivationStep.SECRET, DerivationStep.OTHER_SECRET)


class DerivationOperations:
    """The handlers over one context's key store, and the derivations under way."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys: Final = keys
        self.contexts: Final = Contexts[_Derivation]()
        self.handlers: Final[Handlers] = {
            Op.KEY_DERIVATION_SETUP: self._setup,
            Op.KEY_DERIVATION_GET_CAPACITY: self._get_capacity,
            Op.KEY_DERIVATION_SET_CAPACITY: self._set_capacity,
            Op.KEY_DERIVATION_INPUT_BYTES: self._input_bytes,
            Op.KEY_DERIVATION_INPUT_KEY: self._input_key,
            Op.KEY_DERIVATION_KEY_AGREEMENT: self._key_agreement,
            Op.KEY_DERIVATION_OUTPUT_BYTES: self._output_bytes,
            Op.KEY_DERIVATION_OUTPUT_KEY: self._output_key,
            Op.KEY_DERIVATION_ABORT: self._abort,
        }

    def _setup(self, caller: Caller, request: m.AlgorithmRequest, capacity_bytes: int) -> m.HandleResponse:
        check_capacity(capacity_bytes)
        algorithm = Algorithm(request.algorithm)
        operation = _Derivation(algorithm, engine.key_derivation_setup(algorithm))
        return m.HandleResponse(self.contexts.add(caller, operation))

    def _get_capacity(self, caller: Caller, request: m.HandleRequest, _capacity_bytes: int) -> m.CapacityResponse:
        return m.CapacityResponse(self._get(caller, request.op_handle).get_capacity())

    def _set_capacity(self, caller: Caller, request: m.SetCapacityRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self._get(caller, request.op_handle).set_capacity(request.capacity_bytes)
        return EMPTY

    def _input_bytes(self, caller: Caller, request: m.InputBytesRequest, _capacity_bytes: int) -> m.EmptyResponse:
        derivation = self.contexts.get(caller, request.op_handle)
        derivation.operation.input_bytes(request.step, request.data)
        if request.step in _SECRET_STEPS:
            derivation.may_make_keys = False
        return EMPTY

    def _input_key(self, caller: Caller, request: m.InputKeyRequest, _capacity_bytes: int) -> m.EmptyResponse:
        derivation = self.contexts.get(caller, request.op_handle)
        key = self._keys.find(caller.source_id, request.key_id)
        policy.require_derivation(key, derivation.algorithm)
        wanted = (KeyType.DERIVE,) if request.step in _SECRET_STEPS else (KeyType.DERIVE, KeyType.RAW_DATA)
        if key.attributes.key_type not in wanted:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a key of this type is no input of this step")
        derivation.operation.input_key(request.step, key.material)
        derivation.may_output &= policy.may_derive(key)
        return EMPTY

    def _key_agreement(
        self, caller: Caller, request: m.KeyAgreementRequest, _capacity_bytes: int
    ) -> m.EmptyResponse | Deferred:
        derivation = self.contexts.get(caller, request.op_handle)
        if not derivation.algorithm.is_key_agreement:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "the algorithm has no key agreement")
        key = self._keys.find(caller.source_id, request.private_key_id)
        policy.require(key, policy.DERIVE, derivation.algorithm)
        agreement = derivation.algorithm.raw_key_agreement
        if not key.private_is_slow:
            derivation.operation.input_secret(request.step, key.engine.raw_key_agreement(agreement, request.peer_key))
            return EMPTY

        def finish(shared: bytes) -> m.EmptyResponse:
            derivation = self.contexts.get(caller, request.op_handle)  # which may be gone by now
            derivation.operation.input_secret(request.step, Secret(shared))
            return EMPTY

        task = Task(Function.AGREE, key.attributes, agreement, key.material, request.peer_key, location=key.location)
        return Deferred(task, finish)

    def _output_bytes(self, caller: Caller, request: m.OutputBytesRequest, capacity_bytes: int) -> m.DataResponse:
        derivation = self.contexts.get(caller, request.op_handle)
        check_output(capacity_bytes, request.length_bytes)
        _require_output(derivation)
        return m.DataResponse(derivation.operation.output_bytes(request.length_bytes))

    def _output_key(self, caller: Caller, request: m.OutputKeyRequest, capacity_bytes: int) -> m.KeyIdResponse:
        derivation = self.contexts.get(caller, request.op_handle)
        asked = new_key(request.attributes, self._keys.locations)
        require_local(asked)
        if asked.attributes.key_bits == 0:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a key to be derived needs a size")
        check_capacity(capacity_bytes)
        if not derivation.may_make_keys:
            raise PsaError(PsaStatus.NOT_PERMITTED, "a key comes of a key: the secret was no key of this partition")
        _require_output(derivation)
        material = derivation.operation.output_key(asked.attributes)
        key = KeyRecord(asked.attributes, material, origin=KeyOrigin.DERIVED)
        return m.KeyIdResponse(self._keys.create(caller.source_id, asked.key_id, key))

    def _abort(self, caller: Caller, request: m.HandleRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self.contexts.remove(caller, request.op_handle)
        return EMPTY

    def _get(self, caller: Caller, op_handle: int) -> engine.KeyDerivationOperation:
        return self.contexts.get(caller, op_handle).operation


@dataclass(slots=True)
class _Derivation:
    """A derivation.

    No key may come of it if a secret of it was plain bytes, and nothing at all if an input was a key for verifying.
    """

    algorithm: Algorithm
    operation: engine.KeyDerivationOperation
    may_make_keys: bool = True
    may_output: bool = True


def _require_output(derivation: _Derivation) -> None:
    if not derivation.may_output:
        raise PsaError(PsaStatus.NOT_PERMITTED, "an input is a key for verifying derivations, of which nothing comes")
