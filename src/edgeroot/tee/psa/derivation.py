"""Key derivation and key agreement (PSA Crypto API 1.2, clauses 10.6 and 10.9)."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final, NoReturn

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.psa import KeyType, PsaError, PsaStatus, Secret
from edgeroot.tee.psa.attributes import PsaKeyAttributes
from edgeroot.tee.psa.keys import Keys
from edgeroot.tee.psa.operation import KeyDerivationOperation, Operation, fail, fitting

# Clause 10.6.5: too little left is no fault of the operation's, whose capacity is 0 from then on; and a capacity that
# is refused leaves the old one.
_EXHAUSTED: Final = frozenset((PsaStatus.INSUFFICIENT_DATA,))
_TOO_LARGE: Final = frozenset((PsaStatus.INVALID_ARGUMENT,))
_AGREED_TYPES: Final = (KeyType.DERIVE, KeyType.RAW_DATA, KeyType.HMAC)


class KeyDerivation(Keys):
    """``step`` is a :class:`~edgeroot.psa.DerivationStep`."""

    def psa_key_derivation_setup(self, operation: KeyDerivationOperation, alg: int) -> None:
        self._set_up(operation, Op.KEY_DERIVATION_SETUP, m.AlgorithmRequest(alg))

    def psa_key_derivation_get_capacity(self, operation: KeyDerivationOperation) -> int:
        """How many bytes may still be had."""
        return self._step(operation, Op.KEY_DERIVATION_GET_CAPACITY, m.CapacityResponse).capacity_bytes

    def psa_key_derivation_set_capacity(self, operation: KeyDerivationOperation, capacity: int) -> None:
        """INVALID_ARGUMENT for more than there is, which changes nothing."""
        self._step(
            operation,
            Op.KEY_DERIVATION_SET_CAPACITY,
            m.EmptyResponse,
            capacity,
            request=m.SetCapacityRequest,
            harmless=_TOO_LARGE,
        )

    def psa_key_derivation_input_bytes(self, operation: KeyDerivationOperation, step: int, data: bytes) -> None:
        self._take(operation, Op.KEY_DERIVATION_INPUT_BYTES, step, data, request=m.InputBytesRequest)

    def psa_key_derivation_input_integer(self, operation: KeyDerivationOperation, step: int, value: int) -> NoReturn:
        """The services' protocol has no such call."""
        self._lacks(operation, "the secure world takes no numbers as input of a key derivation")

    def psa_key_derivation_input_key(self, operation: KeyDerivationOperation, step: int, key: int) -> None:
        self._take(operation, Op.KEY_DERIVATION_INPUT_KEY, step, key, request=m.InputKeyRequest)

    def psa_key_derivation_key_agreement(
        self, operation: KeyDerivationOperation, step: int, private_key: int, peer_key: bytes
    ) -> None:
        """The shared secret is the step's input."""
        request = m.KeyAgreementRequest
        self._take(operation, Op.KEY_DERIVATION_KEY_AGREEMENT, step, private_key, peer_key, request=request)

    def psa_key_derivation_output_bytes(self, operation: KeyDerivationOperation, output_length: int) -> Secret:
        """The next bytes; INSUFFICIENT_DATA if there are not so many, of which none is given then."""
        return Secret(b"".join(self._output(operation, size) for size in self._sizes(output_length)))

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
            fail(operation, PsaStatus.INVALID_SIGNATURE, "the derived bytes are others")

    def psa_key_derivation_verify_key(self, operation: KeyDerivationOperation, expected: int) -> NoReturn:
        """The services' protocol has no such call, nor keys of type PSA_KEY_TYPE_PASSWORD_HASH."""
        del expected
        self._lacks(operation, "the secure world compares no derived bytes with a key")

    def psa_key_derivation_abort(self, operation: KeyDerivationOperation) -> None:
        self._abort(operation, Op.KEY_DERIVATION_ABORT)

    def psa_raw_key_agreement(
        self, alg: int, private_key: int, peer_key: bytes, *, output_size: int | None = None
    ) -> Secret:
        """The shared secret, which is not uniformly random: derive keys from it."""
        shared = self._data(Op.RAW_KEY_AGREEMENT, m.RawKeyAgreementRequest(alg, private_key, peer_key))
        return Secret(fitting(shared, output_size))

    def psa_key_agreement(self, private_key: int, peer_key: bytes, alg: int, attributes: PsaKeyAttributes) -> int:
        """The id of a key that is the shared secret.

        The services' protocol has no such call: the secret passes through this program on its way back, as that of
        :meth:`psa_raw_key_agreement`. Where it must not, :meth:`psa_key_derivation_key_agreement` keeps it inside.
        """
        if attributes.psa_get_key_type() not in _AGREED_TYPES:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "no shared secret is a key of this type")
        return self.psa_import_key(attributes, self.psa_raw_key_agreement(alg, private_key, peer_key))

    def _output(self, operation: KeyDerivationOperation, length: int) -> bytes:
        response = self._step(
            operation,
            Op.KEY_DERIVATION_OUTPUT_BYTES,
            m.DataResponse,
            length,
            request=m.OutputBytesRequest,
            harmless=_EXHAUSTED,
        )
        return response.data

    def _take(self, operation: Operation, opcode: Op, *arguments: object, request: Callable[..., object]) -> None:
        self._step(operation, opcode, m.EmptyResponse, *arguments, request=request)
