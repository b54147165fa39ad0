"""What goes wrong between the provider and the secure world, as the errors that a provider raises."""

from __future__ import annotations

from edgeroot.providers.api import BackEndAnswer
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.tee.api import TeeBusyError, TeeError, TeeRefusedError


class RefusedCallError(PsaError):
    """The call reached no service: its RPC status, which the transport may hide, says so."""


def failed(error: TeeError) -> BackEndAnswer:
    """The answer to a call that the transport did not get through."""
    if isinstance(error, TeeRefusedError):
        return BackEndAnswer(error=RefusedCallError(PsaStatus.INVALID_ARGUMENT, str(error)))
    if isinstance(error, TeeBusyError):
        return BackEndAnswer(error=PsaError(PsaStatus.CONNECTION_BUSY, str(error)))
    return BackEndAnswer(error=PsaError(PsaStatus.COMMUNICATION_FAILURE, str(error)))
