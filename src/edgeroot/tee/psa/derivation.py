"""Key derivation and key agreement (PSA Crypto API 1.2, clauses 10.6 and 10.9)."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final, NoReturn

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.tee.psa.attributes import PsaKeyAttributes
from edgeroot.tee.psa.operation import Crypto, KeyDerivationOperation, Operation, fitting

# Clause 10.6.5: too little left is no fault of the operation's, whose capacity is 0 from then on.
_EXHAUSTED: Final = frozenset((PsaStatus.INSUFFICIENT_DATA,))


class KeyDerivation(Crypto):
    """``step`` is a :class:`~edgeroot.psa.DerivationStep`."""

    def psa_key_derivation_setup(self, operation: KeyDerivationOperation, alg: int) -> None:
        self._set_up(operation, Op.KEY_DERIVATION_SETUP, m.AlgorithmRequest(alg))

    def psa_key_derivation_get_capacity(self, operation: KeyDerivationOperation) -> int:
        """How many bytes may still be had."""
        return self._step(operation, Op.KEY_DERIVATION_GET_CAPACITY, m.CapacityResponse).capacity_bytes

    def psa_key_derivation_set_capacity(self, operation: KeyDerivationOperation, capacity: int) -> None:
        """INVALID_ARGUMENT for more than there is."""
        self._take(operation, Op.KEY_DERIVATION_SET_CAPACITY, capacity, request=m.SetCapacityRequest)

    def psa_key_derivation_input_bytes(self, operation: KeyDerivationOperation, step: int, data: bytes) -> None:
        self._take(operation, Op.KEY_DERIVATION_INPUT_BYTES, step, data, request=m.InputBytesRequest)

    def psa_key_derivation_input_integer(self, operation: KeyDerivationOperation, step: int, value: int) -> NoReturn:
        """The services' protocol has no such call."""
        raise PsaError(PsaStatus.NOT_SUPPORTED, "the secure world takes no numbers as input of a key derivation")

    def psa_key_derivation_input_key(self, operation: KeyDerivationOperation, step: int, key: int) -> None:
        self._take(operation, Op.KEY_DERIVATION_INPUT_KEY, step, key, request=m.InputKeyRequest)

    def psa_key_derivation_key_agreement(
        self, operation: KeyDerivationOperation, step: int, private_key: int, peer_key: bytes
    ) -> None:
        """The shared secret is the step's input."""
        request = m.KeyAgreementRequest
        self._take(operation, Op.KEY_DERIVATION_KEY_AGREEMENT, step, private_key, peer_key, request=request)

    def psa_key_derivation_output_bytes(self, operation: KeyDerivationOperation, output_length: int) -> Secret:
        """The next bytes; INSUFFICIENT_DATA if there are not so many."""
        response = self._step(
            operation,
            Op.KEY_DERIVATION_OUTPUT_BYTES,
            m.DataResponse,
            output_length,
            request=m.OutputBytesRequest,
            harmless=_EXHAUSTED,
        )
        return Secret(response.data)

    def psa_key_derivation_output_key(self, attributes: PsaKeyAttributes, operation: KeyDerivationOperation) -> int:
        """The id of a key that is made of the next bytes."""
        response = self._step(
            operation,
            Op.KEY_DERIVATION_OUTPUT_KEY,
            m.KeyIdResponse,
            attributes.to_abi(),
            request=m.OutputKeyRequest,
            harmless=_EXHAUSTED,
        )
        return response.key_id

    def psa_key_derivation_verify_bytes(self, operation: KeyDerivationOperation, expected: bytes) -> None:
        """INVALID_SIGNATURE if the next bytes are others."""
        if not hmac.compare_digest(self.psa_key_derivation_output_bytes(operation, len(expected)), expected):
            operation._failed = True
            raise PsaError(PsaStatus.INVALID_SIGNATURE, "the derived bytes are others")

    def psa_key_derivation_abort(self, operation: KeyDerivationOperation) -> None:
        self._abort(operation, Op.KEY_DERIVATION_ABORT)

    def psa_raw_key_agreement(
        self, alg: int, private_key: int, peer_key: bytes, *, output_size: int | None = None
    ) -> Secret:
        """The shared secret, which is not uniformly random: derive keys from it."""
        shared = self._data(Op.RAW_KEY_AGREEMENT, m.RawKeyAgreementRequest(alg, private_key, peer_key))
        return Secret(fitting(shared, output_size))

    def _take(self, operation: Operation, opcode: Op, *arguments: object, request: Callable[..., object]) -> None:
        self._step(operation, opcode, m.EmptyResponse, *arguments, request=request)
