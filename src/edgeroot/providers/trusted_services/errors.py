"""What goes wrong between the provider and the secure world, as the errors that a provider raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from edgeroot.abi.rpc_status import RpcError
from edgeroot.providers.api import BackEndAnswer
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.tee.api import NoSuchServiceError, TeeBusyError, TeeError, TeeRefusedError

_T = TypeVar("_T")
_STATUSES: Final = {int(status): status for status in PsaStatus}


class RefusedCallError(PsaError):
    """The call reached no service: its RPC status, which the transport may hide, says so."""


def failed(error: TeeError) -> BackEndAnswer:
    """The answer to a call that the transport did not get through."""
    if isinstance(error, TeeRefusedError):
        return BackEndAnswer(error=RefusedCallError(PsaStatus.INVALID_ARGUMENT, str(error)))
    if isinstance(error, TeeBusyError):
        return BackEndAnswer(error=PsaError(PsaStatus.CONNECTION_BUSY, str(error)))
    if isinstance(error, NoSuchServiceError):
        return BackEndAnswer(error=PsaError(PsaStatus.NOT_SUPPORTED, str(error)))
    return BackEndAnswer(error=PsaError(PsaStatus.COMMUNICATION_FAILURE, str(error)))


def error_of(status: int) -> PsaError:
    """A service's status. Its INVALID_HANDLE means that there is no such key."""
    if status == PsaStatus.INVALID_HANDLE:
        return PsaError(PsaStatus.DOES_NOT_EXIST, "the secure world has no such key")
    return PsaError(_STATUSES.get(status, PsaStatus.GENERIC_ERROR), "the secure world says so")


def decoded(decode: Callable[[bytes], _T], response: bytes) -> _T:
    """The message in a response; COMMUNICATION_FAILURE if there is none."""
    try:
        return decode(response)
    except RpcError as error:
        raise PsaError(PsaStatus.COMMUNICATION_FAILURE, "the secure world's answer is malformed") from error
