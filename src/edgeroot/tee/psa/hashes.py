"""Message digests (PSA Crypto API 1.2, clause 10.2)."""

from __future__ import annotations

from typing import Final, NoReturn

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.tee.psa.operation import Crypto, HashOperation

_NO_SUSPENSION: Final = "a hash in the secure world cannot be taken out of it"


class Hashes(Crypto):
    """``alg`` is a hash algorithm (``PSA_ALG_SHA_256``)."""

    def psa_hash_compute(self, alg: int, data: bytes, *, hash_size: int | None = None) -> bytes:
        operation = HashOperation()
        self.psa_hash_setup(operation, alg)
        try:
            self.psa_hash_update(operation, data)
            return self.psa_hash_finish(operation, hash_size=hash_size)
        finally:
            self.psa_hash_abort(operation)

    def psa_hash_compare(self, alg: int, data: bytes, hash_value: bytes) -> None:
        """INVALID_SIGNATURE if it is another's hash."""
        operation = HashOperation()
        self.psa_hash_setup(operation, alg)
        try:
            self.psa_hash_update(operation, data)
            self.psa_hash_verify(operation, hash_value)
        finally:
            self.psa_hash_abort(operation)

    def psa_hash_setup(self, operation: HashOperation, alg: int) -> None:
        self._set_up(operation, Op.HASH_SETUP, m.AlgorithmRequest(alg))

    def psa_hash_update(self, operation: HashOperation, data: bytes) -> None:
        self._feed(operation, Op.HASH_UPDATE, data)

    def psa_hash_finish(self, operation: HashOperation, *, hash_size: int | None = None) -> bytes:
        return self._last_data(operation, Op.HASH_FINISH, size=hash_size)

    def psa_hash_verify(self, operation: HashOperation, hash_value: bytes) -> None:
        """INVALID_SIGNATURE if it is another's hash."""
        self._last(operation, Op.HASH_VERIFY, m.EmptyResponse, hash_value)

    def psa_hash_abort(self, operation: HashOperation) -> None:
        self._abort(operation, Op.HASH_ABORT)

    def psa_hash_clone(self, source_operation: HashOperation, target_operation: HashOperation) -> None:
        """BAD_STATE unless the source is active and the target inactive."""
        self._set_up(target_operation, Op.HASH_CLONE, m.HandleRequest(self._handle_of(source_operation)))

    def psa_hash_suspend(self, operation: HashOperation) -> NoReturn:
        """The services' protocol has no such call."""
        self._lacks(operation, _NO_SUSPENSION)

    def psa_hash_resume(self, operation: HashOperation, hash_state: bytes) -> NoReturn:
        """The services' protocol has no such call."""
        self._require_inactive(operation)
        raise PsaError(PsaStatus.NOT_SUPPORTED, _NO_SUSPENSION)
