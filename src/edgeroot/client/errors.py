"""What can go wrong in the client. Every message ends with what to do about it."""

from __future__ import annotations

from typing import Final

from edgeroot.wire.status import ResponseStatus as Status


class ClientError(Exception):
    """Root of everything this client raises by itself."""


class EndpointError(ClientError):
    """The service's address cannot be used, or nobody listens there."""


class NoProviderError(ClientError):
    """The service offers no provider for cryptography, or not the one that was asked for."""


class NoAuthenticatorError(ClientError):
    """The service has no authenticator that this client can serve."""


class TransportError(ClientError):
    """The connection broke. Nothing was created or destroyed by the call."""


class ServiceTimeoutError(TransportError, TimeoutError):
    """The service did not answer within the call's time. Nothing was created or destroyed by the call."""


class OutcomeUnknownError(TransportError):
    """A request that creates or destroys was sent whole, and no answer came: it may or may not have been done."""


class UnexpectedResponseError(ClientError):
    """The answer is not one that the Parsec wire protocol allows here."""


class InvalidRequestError(ClientError, ValueError):
    """An argument cannot be written down in the protocol; nothing was sent."""


class KeyPolicyError(ClientError, ValueError):
    """A key object was asked for something that its key's policy does not permit; nothing was sent."""


class NotExportableError(KeyPolicyError, TypeError):
    """A key object was asked for its private part, which does not leave the service."""


class ServiceError(ClientError):
    """The service refused: ``status`` is the response's status, ``operation`` the contract's name of what was asked.

    ``ServiceError.of`` gives the subclass of the status, so ``except DoesNotExistError`` and
    ``except ServiceError as e: e.status`` both work.
    """

    def __init__(self, status: Status, operation: str) -> None:
        advice = (_STORAGE_ADVICE if operation.startswith("Storage") else {}).get(status) or _ADVICE.get(status)
        super().__init__(f"{operation}: {status.display_name}. {advice or _ADVICE_OTHERWISE}")
        self.status = status
        self.operation = operation

    @staticmethod
    def of(status: Status, operation: str) -> ServiceError:
        return _CLASSES.get(status, ServiceError)(status, operation)


class ProviderNotRegisteredError(ServiceError):
    """Status 5."""


class AuthenticationError(ServiceError):
    """Status 11."""


class AuthenticatorNotRegisteredError(ServiceError):
    """Status 13."""


class NotAuthenticatedError(ServiceError):
    """Status 19."""


class BodySizeExceedsLimitError(ServiceError):
    """Status 20."""


class AdminOperationError(ServiceError):
    """Status 21."""


class DeprecatedPrimitiveError(ServiceError):
    """Status 22."""


class NotPermittedError(ServiceError):
    """PSA_ERROR_NOT_PERMITTED."""


class NotSupportedError(ServiceError):
    """PSA_ERROR_NOT_SUPPORTED, or an operation number that the service does not know."""


class InvalidArgumentError(ServiceError):
    """PSA_ERROR_INVALID_ARGUMENT."""


class AlreadyExistsError(ServiceError):
    """PSA_ERROR_ALREADY_EXISTS."""


class DoesNotExistError(ServiceError):
    """PSA_ERROR_DOES_NOT_EXIST."""


class InvalidSignatureError(ServiceError):
    """PSA_ERROR_INVALID_SIGNATURE: a signature, a MAC, a hash or an AEAD's tag does not match."""


class InvalidPaddingError(ServiceError):
    """PSA_ERROR_INVALID_PADDING."""


_CLASSES: Final[dict[int, type[ServiceError]]] = {
    Status.PROVIDER_NOT_REGISTERED: ProviderNotRegisteredError,
    Status.PROVIDER_DOES_NOT_EXIST: ProviderNotRegisteredError,
    Status.OPCODE_DOES_NOT_EXIST: NotSupportedError,
    Status.AUTHENTICATION_ERROR: AuthenticationError,
    Status.AUTHENTICATOR_DOES_NOT_EXIST: AuthenticatorNotRegisteredError,
    Status.AUTHENTICATOR_NOT_REGISTERED: AuthenticatorNotRegisteredError,
    Status.NOT_AUTHENTICATED: NotAuthenticatedError,
    Status.BODY_SIZE_EXCEEDS_LIMIT: BodySizeExceedsLimitError,
    Status.ADMIN_OPERATION: AdminOperationError,
    Status.DEPRECATED_PRIMITIVE: DeprecatedPrimitiveError,
    Status.PSA_ERROR_NOT_PERMITTED: NotPermittedError,
    Status.PSA_ERROR_NOT_SUPPORTED: NotSupportedError,
    Status.PSA_ERROR_INVALID_ARGUMENT: InvalidArgumentError,
    Status.PSA_ERROR_ALREADY_EXISTS: AlreadyExistsError,
    Status.PSA_ERROR_DOES_NOT_EXIST: DoesNotExistError,
    Status.PSA_ERROR_INVALID_SIGNATURE: InvalidSignatureError,
    Status.PSA_ERROR_INVALID_PADDING: InvalidPaddingError,
}
_NO_SUCH_PROVIDER: Final = "This service has no such provider; list_providers() shows which it has."
_NO_SUCH_AUTHENTICATOR: Final = (
    "This service does not accept this way of authenticating; list_authenticators() shows what it accepts."
)
_BACK_END_FAILED: Final = "The provider's back end failed; the service's log says why."
_ADVICE_OTHERWISE: Final = "The service's log says more."
_ADVICE: Final[dict[int, str]] = {
    Status.PROVIDER_NOT_REGISTERED: _NO_SUCH_PROVIDER,
    Status.PROVIDER_DOES_NOT_EXIST: _NO_SUCH_PROVIDER,
    Status.OPCODE_DOES_NOT_EXIST: "This service does not know the operation; list_opcodes() shows what it offers.",
    Status.RESPONSE_TOO_LARGE: "Ask for less at a time, or raise the service's buffer_size_limit.",
    Status.AUTHENTICATION_ERROR: "The service does not believe who this client says it is; check app_name, the user "
    "that this process runs as, or the token and the slot that it came through.",
    Status.AUTHENTICATOR_DOES_NOT_EXIST: _NO_SUCH_AUTHENTICATOR,
    Status.AUTHENTICATOR_NOT_REGISTERED: _NO_SUCH_AUTHENTICATOR,
    Status.KEY_INFO_MANAGER_ERROR: "The service's key store failed; its log says why.",
    Status.CONNECTION_ERROR: "The service could not read or do the request in its time; try again.",
    Status.INVALID_ENCODING: "The request holds a value that this service does not know.",
    Status.NOT_AUTHENTICATED: "This operation needs an identity; do not pass NoAuth().",
    Status.BODY_SIZE_EXCEEDS_LIMIT: "Send less data in one request, or raise the service's body_len_limit.",
    Status.ADMIN_OPERATION: "Only applications that the service's configuration names as admins may do this.",
    Status.DEPRECATED_PRIMITIVE: "Choose a stronger algorithm or curve, or set allow_deprecated in the service's "
    "configuration.",
    Status.PSA_ERROR_NOT_PERMITTED: "The key's usage flags and algorithm do not permit this; key_attributes() shows "
    "them. Or this application's quota in the service's configuration does not.",
    Status.PSA_ERROR_NOT_SUPPORTED: "This provider cannot do this with such a key; list_opcodes() and can_do_crypto() "
    "show what it can.",
    Status.PSA_ERROR_INVALID_ARGUMENT: "A length, a size or a combination of arguments is not allowed.",
    Status.PSA_ERROR_ALREADY_EXISTS: "There is a key of this name; choose another, or destroy that one first.",
    Status.PSA_ERROR_DOES_NOT_EXIST: "There is no key of this name for this application in this provider; list_keys() "
    "shows which there are.",
    Status.PSA_ERROR_INVALID_SIGNATURE: "It does not belong to this data, this key and this algorithm: do not trust "
    "the data.",
    Status.PSA_ERROR_INVALID_PADDING: "The ciphertext was not made for this key and this algorithm.",
    Status.PSA_ERROR_INSUFFICIENT_STORAGE: "The provider's storage is full, or this application has as many keys "
    "as it may; destroy keys that are not needed.",
    Status.PSA_ERROR_INSUFFICIENT_MEMORY: "The service is short of memory, or this application asks more often than "
    "it may; try again later.",
    Status.PSA_ERROR_COMMUNICATION_FAILURE: _BACK_END_FAILED,
    Status.PSA_ERROR_STORAGE_FAILURE: _BACK_END_FAILED,
    Status.PSA_ERROR_HARDWARE_FAILURE: _BACK_END_FAILED,
    Status.PSA_ERROR_GENERIC_ERROR: _BACK_END_FAILED,
}
_STORAGE_ADVICE: Final[dict[int, str]] = {
    Status.PSA_ERROR_NOT_PERMITTED: "The object is write-once: it can never be changed or removed.",
    Status.PSA_ERROR_NOT_SUPPORTED: "This provider stores no objects; choose another one, such as Trusted Services "
    "(provider 4).",
    Status.PSA_ERROR_ALREADY_EXISTS: "Somebody else is just making or removing this object; try again.",
    Status.PSA_ERROR_DOES_NOT_EXIST: "There is no object of this name for this application in this provider; "
    "storage_list() shows which there are.",
    Status.PSA_ERROR_DATA_CORRUPT: "The stored object was changed outside of the service: do not trust the device, and "
    "restore the object from where it came from.",
    Status.PSA_ERROR_INSUFFICIENT_STORAGE: "The object is too long, or protected storage is full; remove objects that "
    "are not needed.",
}
