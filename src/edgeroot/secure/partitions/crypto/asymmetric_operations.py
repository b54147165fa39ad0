"""Signatures, public-key encryption, raw key agreement and random numbers (PSA Crypto API 1.2, clauses 10.7 to 10.10).

Messages to be signed may have any length that a record carries; upstream's service takes 64 bytes, by mistake.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from edgeroot import engine
from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.psa import Algorithm, PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.crypto import policy
from edgeroot.secure.partitions.crypto.answers import (
    EMPTY,
    RECORD_BYTES,
    RECORD_MAX_BYTES,
    Deferred,
    Handlers,
)
from edgeroot.secure.partitions.crypto.keys import KeyStore, LoadedKey
from edgeroot.secure.partitions.crypto.slow import Function, Task
from edgeroot.secure.runtime.api import Caller


class _Inputs(NamedTuple):
    first: bytes
    second: bytes = b""


class AsymmetricOperations:
    """The handlers over one context's key store."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys: Final = keys
        self._find = keys.find
        self.handlers: Final[Handlers] = {
            Op.SIGN_HASH: self._sign_hash,
            Op.VERIFY_HASH: self._verify_hash,
            Op.SIGN_MESSAGE: self._sign_message,
            Op.VERIFY_MESSAGE: self._verify_message,
            Op.ASYMMETRIC_ENCRYPT: self._encrypt,
            Op.ASYMMETRIC_DECRYPT: self._decrypt,
            Op.RAW_KEY_AGREEMENT: self._agree,
            Op.GENERATE_RANDOM: _random,
        }

    def _sign_hash(self, caller: Caller, request: m.SignRequest, _capacity_bytes: int) -> m.DataResponse | Deferred:
        algorithm = Algorithm(request.algorithm)
        key = self._find(caller.source_id, request.key_id)
        # The check of policy.require, without a call for what was found before: this is the partition's busiest path.
        if (policy.SIGN_HASH, algorithm) not in key.permitted:
            _check_sign(algorithm)
            policy.require(key, policy.SIGN_HASH, algorithm)
        if key.private_is_slow:
            return _deferred(Function.SIGN_HASH, key, algorithm, _Inputs(request.data))
        return m.DataResponse(key.engine.sign_hash(algorithm, request.data))

    def _sign_message(self, caller: Caller, request: m.SignRequest, _capacity_bytes: int) -> m.DataResponse | Deferred:
        algorithm = Algorithm(request.algorithm)
        _check_sign_message(algorithm)
        key = self._find(caller.source_id, request.key_id)
        policy.require(key, policy.SIGN_MESSAGE, algorithm)
        if key.private_is_slow:
            return _deferred(Function.SIGN_MESSAGE, key, algorithm, _Inputs(request.data))
        return m.DataResponse(key.engine.sign_message(algorithm, request.data))

    def _verify_hash(
        self, caller: Caller, request: m.VerifyRequest, _capacity_bytes: int
    ) -> m.EmptyResponse | Deferred:
        algorithm = Algorithm(request.algorithm)
        _check_sign(algorithm)
        key = self._find(caller.source_id, request.key_id)
        policy.require(key, policy.VERIFY_HASH, algorithm)
        if key.public_is_slow:
            return _deferred(Function.VERIFY_HASH, key, algorithm, _Inputs(request.data, request.signature))
        key.engine.verify_hash(algorithm, request.data, request.signature)
        return EMPTY

    def _verify_message(
        self, caller: Caller, request: m.VerifyRequest, _capacity_bytes: int
    ) -> m.EmptyResponse | Deferred:
        algorithm = Algorithm(request.algorithm)
        _check_sign_message(algorithm)
        key = self._find(caller.source_id, request.key_id)
        policy.require(key, policy.VERIFY_MESSAGE, algorithm)
        if key.public_is_slow:
            return _deferred(Function.VERIFY_MESSAGE, key, algorithm, _Inputs(request.data, request.signature))
        key.engine.verify_message(algorithm, request.data, request.signature)
        return EMPTY

    def _encrypt(
        self, caller: Caller, request: m.AsymmetricEncryptRequest, _capacity_bytes: int
    ) -> m.DataResponse | Deferred:
        algorithm = Algorithm(request.algorithm)
        _check_encryption(algorithm, request.salt)
        key = self._find(caller.source_id, request.key_id)
        policy.require(key, policy.ENCRYPT, algorithm)
        if key.public_is_slow:
            return _deferred(Function.ENCRYPT, key, algorithm, _Inputs(request.plaintext, request.salt))
        return m.DataResponse(key.engine.asymmetric_encrypt(algorithm, request.plaintext, request.salt))

    def _decrypt(
        self, caller: Caller, request: m.AsymmetricDecryptRequest, _capacity_bytes: int
    ) -> m.DataResponse | Deferred:
        algorithm = Algorithm(request.algorithm)
        _check_encryption(algorithm, request.salt)
        key = self._find(caller.source_id, request.key_id)
        policy.require(key, policy.DECRYPT, algorithm)
        if key.private_is_slow:
            return _deferred(Function.DECRYPT, key, algorithm, _Inputs(request.ciphertext, request.salt))
        return m.DataResponse(key.engine.asymmetric_decrypt(algorithm, request.ciphertext, request.salt))

    def _agree(
        self, caller: Caller, request: m.RawKeyAgreementRequest, _capacity_bytes: int
    ) -> m.DataResponse | Deferred:
        algorithm = Algorithm(request.algorithm)
        if not algorithm.is_raw_key_agreement:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, f"{algorithm!r} is no raw key agreement")
        key = self._find(caller.source_id, request.private_key_id)
        policy.require(key, policy.DERIVE, algorithm)
        if key.private_is_slow:
            return _deferred(Function.AGREE, key, algorithm, _Inputs(request.peer_key))
        return m.DataResponse(key.engine.raw_key_agreement(algorithm, request.peer_key))


def _random(_caller: Caller, request: m.GenerateRandomRequest, capacity_bytes: int) -> m.DataResponse:
    if request.size_bytes > RECORD_MAX_BYTES or request.size_bytes + RECORD_BYTES > capacity_bytes:
        raise RpcError(RpcStatus.INTERNAL, "the buffer cannot take as many random bytes")
    return m.DataResponse(engine.random(request.size_bytes))


def _deferred(function: Function, key: LoadedKey, algorithm: Algorithm, inputs: _Inputs) -> Deferred:
    task = Task(function, key.attributes, algorithm, key.material, inputs.first, inputs.second, location=key.location)
    if function in (Function.VERIFY_HASH, Function.VERIFY_MESSAGE):
        return Deferred(task, lambda _result: EMPTY)
    return Deferred(task, lambda result: m.DataResponse(Secret(result)))


def _check_sign(algorithm: Algorithm) -> None:
    if not algorithm.is_sign or algorithm.is_wildcard:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"nothing is signed with {algorithm!r}")


def _check_sign_message(algorithm: Algorithm) -> None:
    _check_sign(algorithm)
    if algorithm.hash is None:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"{algorithm!r} takes a hash and no message")


def _check_encryption(algorithm: Algorithm, salt: bytes) -> None:
    if salt and not algorithm.is_rsa_oaep:
        raise PsaError(PsaStatus.INVALID_ARGUMENT, f"{algorithm!r} has no label")
