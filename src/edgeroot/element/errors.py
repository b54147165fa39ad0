"""What the library's statuses (atca_status.h) mean for PSA, and what to do about them."""

from __future__ import annotations

from typing import Final, NamedTuple

from edgeroot.psa import PsaError, PsaStatus


class _Meaning(NamedTuple):
    name: str
    status: PsaStatus
    advice: str


EXECUTION_ERROR: Final = -12
PARSE_ERROR: Final = -46
ECC_FAULT: Final = -42
_LINE: Final = (
    "see whether the element has power and its bus no other master, and whether bus, slave_address and baud fit"
)
_OURS: Final = "this is a fault of the service: please report it"
_HARDWARE = PsaStatus.HARDWARE_FAILURE
_FAULTS_ON_THE_LINE: Final = {
    -48: "ATCA_WAKE_FAILED",
    -44: "ATCA_STATUS_CRC",
    -43: "ATCA_STATUS_UNKNOWN",
    -27: "ATCA_BAD_CRC",
    -26: "ATCA_RX_FAIL",
    -25: "ATCA_RX_NO_RESPONSE",
    -24: "ATCA_RESYNC_WITH_WAKEUP",
    -23: "ATCA_PARITY_ERROR",
    -22: "ATCA_TX_TIMEOUT",
    -21: "ATCA_RX_TIMEOUT",
    -20: "ATCA_TOO_MANY_COMM_RETRIES",
    -19: "ATCA_SMALL_BUFFER",  # an answer's count byte that cannot be
    -16: "ATCA_COMM_FAIL",
    -15: "ATCA_TIMEOUT",
    -9: "ATCA_TX_FAIL",
}
_MEANINGS: Final = {code: _Meaning(name, _HARDWARE, _LINE) for code, name in _FAULTS_ON_THE_LINE.items()} | {
    -47: _Meaning(
        "ATCA_CHECKMAC_VERIFY_FAILED",
        PsaStatus.NOT_PERMITTED,
        "the access key in access_key_file_name is not the one in the element",
    ),
    PARSE_ERROR: _Meaning(
        "ATCA_PARSE_ERROR",
        PsaStatus.NOT_SUPPORTED,
        "the element does not have this command: see that device_type is right",
    ),
    ECC_FAULT: _Meaning("ATCA_STATUS_ECC", _HARDWARE, "the slot has no valid key, or the element's arithmetic failed"),
    -41: _Meaning("ATCA_STATUS_SELFTEST_ERROR", _HARDWARE, "the element failed its self-test: replace it"),
    -14: _Meaning(
        "ATCA_BAD_OPCODE", PsaStatus.NOT_SUPPORTED, "the element has no such command: see that device_type is right"
    ),
    EXECUTION_ERROR: _Meaning(
        "ATCA_EXECUTION_ERROR",
        PsaStatus.NOT_PERMITTED,
        "the configuration of the slot, or its lock, does not allow this",
    ),
    -8: _Meaning("ATCA_NOT_LOCKED", PsaStatus.BAD_STATE, "lock the element's zones first"),
    -7: _Meaning("ATCA_NO_DEVICES", _HARDWARE, _LINE),
    -6: _Meaning(
        "ATCA_HEALTH_TEST_ERROR",
        PsaStatus.INSUFFICIENT_ENTROPY,
        "the element's random numbers failed their test: replace it",
    ),
    -5: _Meaning("ATCA_ALLOC_FAILURE", PsaStatus.INSUFFICIENT_MEMORY, "the library got no memory"),
    -4: _Meaning("ATCA_USE_FLAGS_CONSUMED", PsaStatus.NOT_PERMITTED, "the slot's limited uses are used up"),
}


class UnavailableError(PsaError):
    """What answers is not the element that is to be used."""

    def __init__(self, detail: str) -> None:
        super().__init__(PsaStatus.COMMUNICATION_FAILURE, detail)


class AtcaError(PsaError):
    """A call of the library's ended with this status."""

    def __init__(self, operation: str, code: int) -> None:
        meaning = _MEANINGS.get(code) or _Meaning("an unknown status", PsaStatus.GENERIC_ERROR, _OURS)
        super().__init__(meaning.status, f"{operation} ended with {meaning.name} ({code}): {meaning.advice}")
        self.operation = operation
        self.code = code

    @property
    def is_on_the_line(self) -> bool:
        """Whether the element may have done what it was asked, and only its answer, or the question, was lost."""
        return self.code in _FAULTS_ON_THE_LINE
