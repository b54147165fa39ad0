from __future__ import annotations

import pytest

from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.providers.trusted_services.errors import RefusedCallError, decoded, error_of, failed
from edgeroot.psa import PsaStatus
from edgeroot.tee.api import NoSuchServiceError, TeeBusyError, TeeError, TeeRefusedError
from edgeroot.tee.transports.emulated import NotReadyError, WorldGoneError
from tests.vectors.keys import refused


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TeeRefusedError("why"), PsaStatus.INVALID_ARGUMENT),
        (TeeBusyError("why"), PsaStatus.CONNECTION_BUSY),
        (NoSuchServiceError("why"), PsaStatus.NOT_SUPPORTED),
        (NotReadyError("why"), PsaStatus.COMMUNICATION_FAILURE),
        (WorldGoneError("why"), PsaStatus.COMMUNICATION_FAILURE),
        (TeeError("why"), PsaStatus.COMMUNICATION_FAILURE),
    ],
)
def test_what_the_transport_did_not_get_through(error: TeeError, status: PsaStatus) -> None:
    answer = failed(error)
    assert answer.error is not None
    assert answer.error.status is status
    assert "why" in str(answer.error)
    # Only after a refusal may the same be tried in another way: nothing has happened.
    assert isinstance(answer.error, RefusedCallError) is isinstance(error, TeeRefusedError)


@pytest.mark.parametrize("status", sorted(set(PsaStatus) - {PsaStatus.SUCCESS, PsaStatus.INVALID_HANDLE}))
def test_a_services_status_is_what_the_provider_raises(status: PsaStatus) -> None:
    assert error_of(int(status)).status is status


def test_a_key_that_the_partition_does_not_know_does_not_exist() -> None:
    assert error_of(-136).status is PsaStatus.DOES_NOT_EXIST


@pytest.mark.parametrize("number", [1, -1, -9999, 2**31 - 1, -(2**31)])
def test_a_status_that_psa_does_not_know(number: int) -> None:
    assert error_of(number).status is PsaStatus.GENERIC_ERROR


def test_an_answer_that_cannot_be_read_leaves_open_what_has_happened() -> None:
    def decode(_response: bytes) -> None:
        raise RpcError(RpcStatus.INVALID_RESPONSE_BODY)

    with refused(PsaStatus.COMMUNICATION_FAILURE):
        decoded(decode, b"")
    assert decoded(bytes.hex, b"\x01") == "01"
