"""How this protocol answers what :mod:`edgeroot.psa.policy` found."""

from __future__ import annotations

from typing import Final, NoReturn

from edgeroot.psa.policy import Violation
from edgeroot.wire.status import ResponseStatus, WireError

# A key of the wrong type is NotPermitted here, not InvalidArgument: upstream's clients know it so.
_STATUS: Final = {
    Violation.USAGE: ResponseStatus.PSA_ERROR_NOT_PERMITTED,
    Violation.ALGORITHM: ResponseStatus.PSA_ERROR_NOT_PERMITTED,
    Violation.KEY_TYPE: ResponseStatus.PSA_ERROR_NOT_PERMITTED,
    Violation.ARGUMENT: ResponseStatus.PSA_ERROR_INVALID_ARGUMENT,
}


def raise_violation(violation: Violation) -> NoReturn:
    raise WireError(_STATUS[violation], violation.name)
