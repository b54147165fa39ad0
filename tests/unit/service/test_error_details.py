"""What the log says of refused requests, with ``log_error_details`` and without it."""

from __future__ import annotations

import logging

import pytest

from edgeroot.daemon.redaction import describe_exception
from edgeroot.providers.api import Created
from edgeroot.psa import KeyAttributes, PsaError, PsaStatus, Secret
from edgeroot.service.pipeline import Rules
from edgeroot.wire import operations as ops
from edgeroot.wire.framing import Request
from edgeroot.wire.status import ResponseStatus
from tests.unit.service.pipeline_kit import ES256, P256, USER, BackEnd, Harness

NAME = "the key's name"


class Telling(BackEnd):
    """Says more than it should when it fails."""

    def create(self, reference: bytes | None, attributes: KeyAttributes, material: Secret | None) -> Created:
        raise PsaError(PsaStatus.HARDWARE_FAILURE, f"no room for {NAME}")


class Faulty(BackEnd):
    def plan(self, attributes: KeyAttributes) -> bytes | None:
        raise KeyError(NAME)


def logged(caplog: pytest.LogCaptureFixture, back_end: BackEnd, operation: ops.Operation, *, details: bool) -> str:
    """Everything that serving the operation logs, on any level, as it is written out."""
    harness = Harness(back_end, rules=Rules(log_error_details=details))
    with caplog.at_level(logging.DEBUG):
        assert harness.status(operation) is not ResponseStatus.SUCCESS
    return "\n".join(
        record.getMessage() + (describe_exception(record.exc_info[1]) if record.exc_info and record.exc_info[1] else "")
        for record in caplog.records
    )


REFUSED = {
    "by the rules": (BackEnd, ops.PsaSignHash(NAME, ES256, bytes(32)), "PsaErrorDoesNotExist"),
    "by the back end": (Telling, ops.PsaGenerateKey(NAME, P256), "PSA_ERROR_HARDWARE_FAILURE: no room"),
}


@pytest.mark.parametrize(("back_end", "operation", "why"), REFUSED.values(), ids=REFUSED)
def test_with_details_the_log_says_who_was_refused_and_why(
    caplog: pytest.LogCaptureFixture, back_end: type[BackEnd], operation: ops.Operation, why: str
) -> None:
    text = logged(caplog, back_end(), operation, details=True)

    assert f"application '{USER.uid}', key \"{NAME}\": {why}" in text


@pytest.mark.parametrize(("back_end", "operation", "_why"), REFUSED.values(), ids=REFUSED)
def test_without_details_the_log_says_nothing_of_it(
    caplog: pytest.LogCaptureFixture, back_end: type[BackEnd], operation: ops.Operation, _why: str
) -> None:
    assert logged(caplog, back_end(), operation, details=False) == ""


@pytest.mark.parametrize("details", [False, True])
def test_a_fault_of_ours_is_always_told_but_its_message_only_with_details(
    caplog: pytest.LogCaptureFixture, details: bool
) -> None:
    text = logged(caplog, Faulty(), ops.PsaGenerateKey(NAME, P256), details=details)

    assert "a fault in the service itself" in text
    assert "KeyError" in text
    assert "in plan" in text
    assert (NAME in text) is details


def test_what_is_no_operation_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    harness = Harness(BackEnd(), rules=Rules(log_error_details=True))
    with caplog.at_level(logging.DEBUG):
        harness.pipeline.handle(Request(0, 1, 0, 0, 0, 3, 0x1D, b"", b"", 36), USER, harness.door)

    assert [record.getMessage() for record in caplog.records] == [
        "refused: opcode 0x1d, application -, key -: OpcodeDoesNotExist: opcode 0x1d"
    ]


def test_long_names_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    text = logged(caplog, BackEnd(), ops.PsaSignHash("n" * 100_000, ES256, bytes(32)), details=True)

    assert f"key '{'n' * 200}…'" in text
    assert len(text) < 400
