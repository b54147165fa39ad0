"""Short ways to say which of PSA's statuses a request ends with."""

from __future__ import annotations

from edgeroot.psa import PsaError, PsaStatus


def invalid_argument(detail: str) -> PsaError:
    return PsaError(PsaStatus.INVALID_ARGUMENT, detail)


def not_supported(detail: str) -> PsaError:
    return PsaError(PsaStatus.NOT_SUPPORTED, detail)


def bad_state(detail: str) -> PsaError:
    return PsaError(PsaStatus.BAD_STATE, detail)


def invalid_signature() -> PsaError:
    return PsaError(PsaStatus.INVALID_SIGNATURE)
