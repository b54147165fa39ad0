from __future__ import annotations

import PyKCS11
import pytest

from edgeroot.providers.pkcs11 import constants as ck
from edgeroot.providers.pkcs11 import errors
from edgeroot.providers.pkcs11.errors import CkrError, name_of
from edgeroot.psa import PsaStatus


def test_names_and_numbers_are_those_of_the_specifications_header() -> None:
    codes = {name: value for name, value in vars(errors).items() if name.startswith("CKR_")}
    constants = {name: value for name, value in vars(ck).items() if name.startswith("CK")}
    assert len(codes) > 40
    assert len(constants) > 70
    for name, value in (codes | constants).items():
        assert getattr(PyKCS11, name) == value, name
    for name, value in codes.items():
        assert name_of(value) == name


# What upstream's provider answers.
@pytest.mark.parametrize(
    ("code", "status"),
    [
        (errors.CKR_HOST_MEMORY, PsaStatus.INSUFFICIENT_MEMORY),
        (errors.CKR_DEVICE_ERROR, PsaStatus.HARDWARE_FAILURE),
        (errors.CKR_DEVICE_REMOVED, PsaStatus.HARDWARE_FAILURE),
        (errors.CKR_TOKEN_NOT_PRESENT, PsaStatus.HARDWARE_FAILURE),
        (errors.CKR_TOKEN_NOT_RECOGNIZED, PsaStatus.HARDWARE_FAILURE),
        (errors.CKR_STATE_UNSAVEABLE, PsaStatus.HARDWARE_FAILURE),
        (errors.CKR_DEVICE_MEMORY, PsaStatus.INSUFFICIENT_STORAGE),
        (errors.CKR_SIGNATURE_INVALID, PsaStatus.INVALID_SIGNATURE),
        (errors.CKR_SIGNATURE_LEN_RANGE, PsaStatus.INVALID_SIGNATURE),
        (errors.CKR_RANDOM_NO_RNG, PsaStatus.INSUFFICIENT_ENTROPY),
        (errors.CKR_CURVE_NOT_SUPPORTED, PsaStatus.NOT_SUPPORTED),
        (errors.CKR_DOMAIN_PARAMS_INVALID, PsaStatus.NOT_SUPPORTED),
        (errors.CKR_FUNCTION_NOT_SUPPORTED, PsaStatus.NOT_SUPPORTED),
        (errors.CKR_GENERAL_ERROR, PsaStatus.COMMUNICATION_FAILURE),
        (0x80000001, PsaStatus.COMMUNICATION_FAILURE),
    ],
)
def test_a_return_value_is_a_status(code: int, status: PsaStatus) -> None:
    assert CkrError(code, "C_Sign").status is status


def test_an_error_says_who_answered_what_and_what_to_do() -> None:
    assert str(CkrError(errors.CKR_DEVICE_MEMORY, "C_GenerateKeyPair")) == (
        "PSA_ERROR_INSUFFICIENT_STORAGE: the token answered C_GenerateKeyPair with CKR_DEVICE_MEMORY: "
        "the token is full; destroy keys that nobody needs"
    )
    assert CkrError(0x80000001, "C_Sign").detail == ("the token answered C_Sign with CKR 0x80000001 (the vendor's own)")
