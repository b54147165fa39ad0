from __future__ import annotations

import pytest

from edgeroot.element.errors import AtcaError
from edgeroot.psa import PsaStatus
from tests.support.secure_element import STATUSES

LINE = {-48, -44, -43, -27, -26, -25, -24, -23, -22, -21, -16, -15, -9}
OURS = {1, 2, -32, -31, -30, -29, -28, -13, -11, -10, -3}


@pytest.mark.parametrize(("name", "code"), STATUSES.items())
def test_each_status_of_the_library_is_named_and_has_advice(name: str, code: int) -> None:
    error = AtcaError("Sign", code)
    assert error.is_on_the_line == (code in LINE)
    assert str(code) in str(error)
    if code in OURS:
        assert error.status is PsaStatus.GENERIC_ERROR
        assert "please report it" in str(error)
    else:
        assert f"Sign ended with {name} ({code}): " in str(error)
        assert error.status is not PsaStatus.GENERIC_ERROR
    if code in LINE:
        assert error.status is PsaStatus.HARDWARE_FAILURE


def test_a_status_that_nobody_knows() -> None:
    assert AtcaError("Sign", -99).status is PsaStatus.GENERIC_ERROR
