"""What the log says of a back end that fails in a process of its own."""

from __future__ import annotations

import pytest

from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.service.jobs import Executor, Job
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import encode_operation
from edgeroot.wire.opcodes import BY_OPERATION
from edgeroot.wire.status import ResponseStatus as Status
from tests.unit.service.pipeline_kit import BackEnd

RANDOM = ops.PsaGenerateRandom(8)
JOB = Job(0, BY_OPERATION[ops.PsaGenerateRandom].opcode, encode_operation(RANDOM))


class Broken(BackEnd):
    """Fails in the ways that it is told, in turn, and works for None."""

    def __init__(self, *problems: PsaError | None) -> None:
        super().__init__()
        self.problems = list(problems)

    def generate_random(self, size_bytes: int) -> Secret:
        problem = self.problems.pop(0)
        if problem is not None:
            raise problem
        return Secret(bytes(size_bytes))


def test_a_failure_that_lasts_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    away = PsaError(PsaStatus.COMMUNICATION_FAILURE, "the device is away")
    locked = PsaError(PsaStatus.HARDWARE_FAILURE, "the device is locked")
    executor = Executor({0: Broken(away, away, locked, locked, None, locked)})
    statuses = [executor.execute(JOB).status for _ in range(6)]
    failure, locked_out = Status.PSA_ERROR_COMMUNICATION_FAILURE, Status.PSA_ERROR_HARDWARE_FAILURE
    assert statuses == [failure, failure, locked_out, locked_out, Status.SUCCESS, locked_out]
    assert [record.getMessage() for record in caplog.records] == [
        "provider 1 failed: PSA_ERROR_COMMUNICATION_FAILURE: the device is away",
        "provider 1 failed: PSA_ERROR_HARDWARE_FAILURE: the device is locked",
        "provider 1 failed: PSA_ERROR_HARDWARE_FAILURE: the device is locked",
    ]


def test_what_is_the_callers_fault_is_not_the_operators_business(caplog: pytest.LogCaptureFixture) -> None:
    executor = Executor({0: Broken(PsaError(PsaStatus.INVALID_ARGUMENT, "nonsense"))})
    assert executor.execute(JOB).status == Status.PSA_ERROR_INVALID_ARGUMENT
    assert caplog.records == []
