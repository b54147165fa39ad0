from __future__ import annotations

import pytest

from edgeroot.client import errors
from edgeroot.client.errors import ServiceError
from edgeroot.wire.status import ResponseStatus


@pytest.mark.parametrize("status", [status for status in ResponseStatus if status])
def test_every_status_becomes_an_error_that_carries_it_and_advises(status: ResponseStatus) -> None:
    error = ServiceError.of(status, "PsaSignHash")
    assert error.status is status
    assert error.operation == "PsaSignHash"
    start, advice = str(error).split(". ", 1)
    assert start == f"PsaSignHash: {status.display_name}"
    assert advice.endswith(".")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (ResponseStatus.PSA_ERROR_DOES_NOT_EXIST, errors.DoesNotExistError),
        (ResponseStatus.PSA_ERROR_ALREADY_EXISTS, errors.AlreadyExistsError),
        (ResponseStatus.PSA_ERROR_NOT_PERMITTED, errors.NotPermittedError),
        (ResponseStatus.PSA_ERROR_NOT_SUPPORTED, errors.NotSupportedError),
        (ResponseStatus.PSA_ERROR_INVALID_SIGNATURE, errors.InvalidSignatureError),
        (ResponseStatus.AUTHENTICATION_ERROR, errors.AuthenticationError),
        (ResponseStatus.ADMIN_OPERATION, errors.AdminOperationError),
        (ResponseStatus.KEY_INFO_MANAGER_ERROR, ServiceError),
    ],
)
def test_common_statuses_have_classes(status: ResponseStatus, kind: type[ServiceError]) -> None:
    assert type(ServiceError.of(status, "x")) is kind


def test_a_timeout_is_pythons_too() -> None:
    assert issubclass(errors.ServiceTimeoutError, TimeoutError)
    assert str(errors.ServiceTimeoutError("too late")) == "too late"
