"""The life of operations in several parts (PSA Crypto API 1.2, clause 3.3.3): inactive, active, in an error state.

One mechanism for all families: set-up makes an inactive operation active, an error in any later step puts it into the
error state, from which only abort leads back; the last step, and abort, make it inactive again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import OPERATIONS, CryptoOpcode
from edgeroot.abi.services import CRYPTO
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.tee.psa.calls import Calls, Message

_NOTHING: Final[frozenset[PsaStatus]] = frozenset()


class Operation:
    """One operation. A new one is inactive (``PSA_…_OPERATION_INIT``)."""

    __slots__ = ("_failed", "_handle", "_losses")

    def __init__(self) -> None:
        self._handle: int | None = None
        self._failed = False
        self._losses = 0  # of sessions, when it was set up: its handle means nothing after another one

    @property
    def is_active(self) -> bool:
        """Whether it may be continued."""
        return self._handle is not None and not self._failed


class HashOperation(Operation):
    """``psa_hash_operation_t``."""

    __slots__ = ()


class MacOperation(Operation):
    """``psa_mac_operation_t``."""

    __slots__ = ()


class CipherOperation(Operation):
    """``psa_cipher_operation_t``."""

    __slots__ = ()


class AeadOperation(Operation):
    """``psa_aead_operation_t``."""

    __slots__ = ()


class KeyDerivationOperation(Operation):
    """``psa_key_derivation_operation_t``."""

    __slots__ = ()


class Crypto:
    """What the families share: calls to the crypto service, once ``psa_crypto_init`` was called."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._initialized = False

    def psa_crypto_init(self) -> None:
        """Every other function of the Crypto API is BAD_STATE before it. To call it again changes nothing."""
        self._calls.room_bytes(CRYPTO)  # whether there is a crypto service at all
        self._initialized = True

    def _call(self, opcode: CryptoOpcode, request: object, expected: type[Message]) -> Message:
        if not self._initialized:
            raise PsaError(PsaStatus.BAD_STATE, "psa_crypto_init comes first")
        return self._calls.call(CRYPTO, OPERATIONS, opcode, request, expected)

    def _do(self, opcode: CryptoOpcode, request: object) -> None:
        self._call(opcode, request, m.EmptyResponse)

    def _data(self, opcode: CryptoOpcode, request: object) -> bytes:
        return self._call(opcode, request, m.DataResponse).data

    def _pieces(self, data: bytes) -> list[bytes]:
        if not self._initialized:
            raise PsaError(PsaStatus.BAD_STATE, "psa_crypto_init comes first")
        return list(self._calls.pieces(CRYPTO, data))

    # Operations in several parts

    def _set_up(self, operation: Operation, opcode: CryptoOpcode, request: object) -> None:
        """BAD_STATE unless it is inactive; it stays so if the set-up fails."""
        if operation._handle is not None:
            raise PsaError(PsaStatus.BAD_STATE, "the operation was set up already: abort it first")
        operation._handle = self._call(opcode, request, m.HandleResponse).op_handle
        operation._losses = self._calls.losses

    def _step(
        self,
        operation: Operation,
        opcode: CryptoOpcode,
        expected: type[Message],
        *arguments: object,
        request: Callable[..., object] = m.HandleRequest,
        harmless: Collection[PsaStatus] = _NOTHING,
    ) -> Message:
        """One call about an active operation. ``harmless`` are the errors after which it is still active."""
        handle = self._handle_of(operation)
        try:
            return self._call(opcode, request(handle, *arguments), expected)
        except PsaError as error:
            operation._failed = error.status not in harmless
            raise

    def _handle_of(self, operation: Operation) -> int:
        """BAD_STATE unless it is active."""
        if operation._handle is None or operation._failed:
            raise PsaError(PsaStatus.BAD_STATE, "the operation is not active")
        if operation._losses != self._calls.losses:
            operation._failed = True
            raise PsaError(PsaStatus.BAD_STATE, "the partition that carried the operation out has ended")
        return operation._handle

    def _feed(self, operation: Operation, opcode: CryptoOpcode, data: bytes) -> None:
        """Input without output, in as many calls as it takes."""
        for piece in self._pieces(data):
            self._step(operation, opcode, m.EmptyResponse, piece, request=m.HandleDataRequest)

    def _pass(self, operation: Operation, opcode: CryptoOpcode, data: bytes, output_size: int | None) -> bytes:
        """Input and as much output as there is by now, in as many calls as it takes."""
        output = b"".join(
            self._step(operation, opcode, m.DataResponse, piece, request=m.HandleDataRequest).data
            for piece in self._pieces(data)
        )
        return _fitting_of(operation, output, output_size)

    def _drawn(self, operation: Operation, opcode: CryptoOpcode, size: int | None) -> bytes:
        """An IV or a nonce that the service has chosen."""
        return _fitting_of(operation, self._step(operation, opcode, m.DataResponse).data, size)

    def _last(self, operation: Operation, opcode: CryptoOpcode, expected: type[Message], *data: bytes) -> Message:
        """The step that ends an operation."""
        request = m.HandleDataRequest if data else m.HandleRequest
        response = self._step(operation, opcode, expected, *data, request=request)
        operation._handle = None
        return response

    def _last_data(self, operation: Operation, opcode: CryptoOpcode, *data: bytes, size: int | None) -> bytes:
        """The step that ends an operation with data, which ``size`` bounds."""
        return _fitting_of(operation, self._last(operation, opcode, m.DataResponse, *data).data, size)

    def _abort(self, operation: Operation, opcode: CryptoOpcode) -> None:
        """Never fails but for the call itself: to abort what is inactive is no error."""
        handle, operation._handle, operation._failed = operation._handle, None, False
        if handle is not None and operation._losses == self._calls.losses:
            self._do(opcode, m.HandleRequest(handle))


def fitting(data: bytes, size: int | None) -> bytes:
    """The data; BUFFER_TOO_SMALL if it is longer than the caller's buffer."""
    if size is not None and len(data) > size:
        raise PsaError(PsaStatus.BUFFER_TOO_SMALL, f"{len(data)} bytes are more than {size}")
    return data


def _fitting_of(operation: Operation, data: bytes, size: int | None) -> bytes:
    operation._failed = size is not None and len(data) > size
    return fitting(data, size)
