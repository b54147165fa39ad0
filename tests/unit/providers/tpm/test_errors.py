from __future__ import annotations

import pytest

from edgeroot.providers.tpm.errors import CONNECTING, tpm_error
from edgeroot.psa import PsaStatus


@pytest.mark.parametrize(
    ("code", "name", "status"),
    [
        (0x921, "TPM_RC_LOCKOUT", PsaStatus.HARDWARE_FAILURE),
        (0xB0921, "TPM_RC_LOCKOUT", PsaStatus.HARDWARE_FAILURE),  # as a resource manager passes it on
        (0x902, "TPM_RC_OBJECT_MEMORY", PsaStatus.INSUFFICIENT_MEMORY),
        (0xC0903, "TPM_RC_SESSION_MEMORY", PsaStatus.INSUFFICIENT_MEMORY),
        (0x098E, "TPM_RC_AUTH_FAIL", PsaStatus.HARDWARE_FAILURE),  # of the first session
        (0x09A2, "TPM_RC_BAD_AUTH", PsaStatus.HARDWARE_FAILURE),
        (0x01C4, "TPM_RC_VALUE", PsaStatus.INVALID_ARGUMENT),  # of the first parameter
        (0x02D2, "TPM_RC_SCHEME", PsaStatus.NOT_SUPPORTED),
        (0x01DF, "TPM_RC_INTEGRITY", PsaStatus.DATA_CORRUPT),
        (0x02E7, "TPM_RC_ECC_POINT", PsaStatus.INVALID_ARGUMENT),
        (0x0143, "TPM_RC_COMMAND_CODE", PsaStatus.NOT_SUPPORTED),
        (0x0101, "TPM_RC_FAILURE", PsaStatus.HARDWARE_FAILURE),
    ],
)
def test_a_response_code_is_named_and_has_a_status(code: int, name: str, status: PsaStatus) -> None:
    error = tpm_error("TPM2_Sign", code)
    assert error.status is status
    assert error.detail.startswith(f"TPM2_Sign: the TPM answers {name} ({code:#x})")
    assert not error.is_lost_connection


def test_a_code_without_a_name_is_told_as_it_is() -> None:
    error = tpm_error("TPM2_Sign", 0x155)
    assert error.status is PsaStatus.COMMUNICATION_FAILURE
    assert error.detail == "TPM2_Sign: the TPM answers 0x155"


def test_lock_out_says_what_to_do() -> None:
    assert "tpm2_dictionarylockout --clear-lockout" in tpm_error("TPM2_Create", 0x921).detail


def test_a_way_that_broke_is_not_the_tpms_answer() -> None:
    error = tpm_error("TPM2_Sign", 0xA000A, "tcti:IO failure")
    assert error.status is PsaStatus.COMMUNICATION_FAILURE
    assert error.is_lost_connection
    assert not error.is_lost_state
    assert not error.is_absent
    assert "0xa000a, tcti:IO failure" in error.detail
    assert tpm_error(CONNECTING, 0xA000A).is_absent
    assert tpm_error("TPM2_Sign", 0x7000B).status is PsaStatus.COMMUNICATION_FAILURE


@pytest.mark.parametrize(
    ("code", "advice"), [(0xA000B, "after the name is malformed"), (0xA0015, "libtss2-tcti-NAME0")], ids=repr
)
def test_a_way_that_cannot_be_is_no_absent_tpm(code: int, advice: str) -> None:
    error = tpm_error(CONNECTING, code)
    assert advice in error.detail
    assert not error.is_absent
    assert advice not in tpm_error("TPM2_Sign", code).detail


@pytest.mark.parametrize("code", [0x100, 0x08B, 0x18B, 0x910, 0x916, 0x918, 0xB091E], ids=hex)
def test_what_says_that_the_tpm_was_reset(code: int) -> None:
    assert tpm_error("TPM2_Sign", code).is_lost_state


@pytest.mark.parametrize("code", [0x101, 0x921, 0x902, 0x1DF, 0x9A2, 0xA0910], ids=hex)
def test_what_does_not(code: int) -> None:
    assert not tpm_error("TPM2_Sign", code).is_lost_state


@pytest.mark.parametrize("code", [0x902, 0x906, 0xB0902], ids=hex)
def test_what_says_that_there_is_no_room(code: int) -> None:
    assert tpm_error("TPM2_Load", code).is_full
    assert not tpm_error("TPM2_Load", 0x903).is_full
