"""The life of operations in several parts (PSA Crypto API 1.2, clause 3.3.3): inactive, active, in an error state.

One mechanism for all families: set-up makes an inactive operation active, an error in any later step puts it into the
error state, from which only abort leads back; the last step, and abort, make it inactive again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum, auto
from typing import Final, NoReturn

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import OPERATIONS, CryptoOpcode
from edgeroot.abi.services import CRYPTO
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.tee.api import Session
from edgeroot.tee.psa.calls import Calls, Message

_NOTHING: Final[frozenset[PsaStatus]] = frozenset()


class _State(Enum):
    INACTIVE = auto()
    ACTIVE = auto()
    ERROR = auto()


class Operation:
    """One operation. A new one is inactive (``PSA_…_OPERATION_INIT``)."""

    __slots__ = ("_handle", "_session", "_state")

    def __init__(self) -> None:
        self._state = _State.INACTIVE
        self._handle: int | None = None  # None where the service knows nothing of it, or no more
        self._session: Session | None = None  # the one that it was set up in: in others its handle means nothing

    @property
    def is_active(self) -> bool:
        """Whether it may be continued."""
        return self._state is _State.ACTIVE


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

    __slots__ = ("has_nonce",)

    def __init__(self) -> None:
        super().__init__()
        self.has_nonce = False


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

    def _require_init(self) -> None:
        if not self._initialized:
            raise PsaError(PsaStatus.BAD_STATE, "psa_crypto_init comes first")

    def _call(self, opcode: CryptoOpcode, request: object, expected: type[Message]) -> Message:
        self._require_init()
        return self._calls.call(CRYPTO, OPERATIONS, opcode, request, expected)

    def _do(self, opcode: CryptoOpcode, request: object) -> None:
        self._call(opcode, request, m.EmptyResponse)

    def _data(self, opcode: CryptoOpcode, request: object) -> bytes:
        return self._call(opcode, request, m.DataResponse).data

    def _require_room(self, *inputs: bytes) -> None:
        """NOT_SUPPORTED for inputs that no rule forbids and that are too long for one call all the same."""
        self._require_init()
        if not self._calls.can_carry(CRYPTO, *inputs):
            raise PsaError(PsaStatus.NOT_SUPPORTED, "the input is longer than a call can carry")

    def _pieces(self, data: bytes) -> list[bytes]:
        self._require_init()
        return list(self._calls.pieces(CRYPTO, data))

    def _sizes(self, total_bytes: int) -> list[int]:
        """How many bytes to ask for in each call, so as to have so many; one call for none."""
        if total_bytes < 0:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a size is not negative")
        self._require_init()
        step = self._calls.room_bytes(CRYPTO)
        return [min(step, total_bytes - start) for start in range(0, total_bytes or 1, step)]

    # Operations in several parts

    def _set_up(self, operation: Operation, opcode: CryptoOpcode, request: object) -> None:
        """BAD_STATE unless it is inactive; it stays so if the set-up fails."""
        self._require_inactive(operation)
        operation._handle = self._call(opcode, request, m.HandleResponse).op_handle
        operation._session = self._calls.session(CRYPTO)
        operation._state = _State.ACTIVE

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
            if error.status not in harmless:
                operation._state = _State.ERROR
            raise

    def _require_inactive(self, operation: Operation) -> None:
        self._require_init()
        if operation._state is not _State.INACTIVE:
            raise PsaError(PsaStatus.BAD_STATE, "the operation was set up already: abort it first")

    def _handle_of(self, operation: Operation) -> int:
        """BAD_STATE unless it is active."""
        self._require_init()
        if operation._handle is None or operation._state is not _State.ACTIVE:
            raise PsaError(PsaStatus.BAD_STATE, "the operation is not active")
        if operation._session is not self._calls.session(CRYPTO):
            operation._state = _State.ERROR
            raise PsaError(PsaStatus.BAD_STATE, "the session that the operation was set up in has ended")
        return operation._handle

    def _lacks(self, operation: Operation, what: str) -> NoReturn:
        """A step of an active operation for which the services' protocol has no call: NOT_SUPPORTED."""
        self._handle_of(operation)
        fail(operation, PsaStatus.NOT_SUPPORTED, what)

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
        return fitting_output(operation, output, output_size)

    def _drawn(self, operation: Operation, opcode: CryptoOpcode, size: int | None) -> bytes:
        """An IV or a nonce that the service has chosen."""
        return fitting_output(operation, self._step(operation, opcode, m.DataResponse).data, size)

    def _last(self, operation: Operation, opcode: CryptoOpcode, expected: type[Message], *data: bytes) -> Message:
        """The step that ends an operation."""
        request = m.HandleDataRequest if data else m.HandleRequest
        response = self._step(operation, opcode, expected, *data, request=request)
        operation._handle = None
        operation._state = _State.INACTIVE
        return response

    def _last_data(self, operation: Operation, opcode: CryptoOpcode, *data: bytes, size: int | None) -> bytes:
        """The step that ends an operation with data, which ``size`` bounds."""
        return fitting_output(operation, self._last(operation, opcode, m.DataResponse, *data).data, size)

    def _abort(self, operation: Operation, opcode: CryptoOpcode) -> None:
        """Never fails but for the call itself: to abort what is inactive is no error."""
        handle, operation._handle, operation._state = operation._handle, None, _State.INACTIVE
        if handle is not None and operation._session is self._calls.session(CRYPTO):
            self._do(opcode, m.HandleRequest(handle))


def fail(operation: Operation, status: PsaStatus, message: str) -> NoReturn:
    """End an operation in its error state."""
    operation._state = _State.ERROR
    raise PsaError(status, message)


def fitting(data: bytes, size: int | None) -> bytes:
    """The data; BUFFER_TOO_SMALL if it is longer than the caller's buffer."""
    if size is not None and len(data) > size:
        raise PsaError(PsaStatus.BUFFER_TOO_SMALL, f"{len(data)} bytes are more than {size}")
    return data


def fitting_output(operation: Operation, data: bytes, size: int | None) -> bytes:
    """As :func:`fitting`, for what an operation gave; one whose output is lost is in its error state."""
    try:
        return fitting(data, size)
    except PsaError:
        operation._state = _State.ERROR
        raise
