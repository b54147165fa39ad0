"""Status codes of the PSA APIs (PSA Status code API 1.0)."""

from __future__ import annotations

from enum import IntEnum


class PsaStatus(IntEnum):
    """``psa_status_t``: zero is success, negative numbers are errors."""

    SUCCESS = 0
    PROGRAMMER_ERROR = -129
    CONNECTION_REFUSED = -130
    CONNECTION_BUSY = -131
    GENERIC_ERROR = -132
    NOT_PERMITTED = -133
    NOT_SUPPORTED = -134
    INVALID_ARGUMENT = -135
    INVALID_HANDLE = -136
    BAD_STATE = -137
    BUFFER_TOO_SMALL = -138
    ALREADY_EXISTS = -139
    DOES_NOT_EXIST = -140
    INSUFFICIENT_MEMORY = -141
    INSUFFICIENT_STORAGE = -142
    INSUFFICIENT_DATA = -143
    SERVICE_FAILURE = -144
    COMMUNICATION_FAILURE = -145
    STORAGE_FAILURE = -146
    HARDWARE_FAILURE = -147
    INSUFFICIENT_ENTROPY = -148
    INVALID_SIGNATURE = -149
    INVALID_PADDING = -150
    CORRUPTION_DETECTED = -151
    DATA_CORRUPT = -152
    DATA_INVALID = -153
    DEPENDENCY_NEEDED = -156


class PsaError(Exception):
    """An operation ended with a PSA status other than success.

    ``detail`` is for logs and for people; it never holds key material or plaintext.
    """

    def __init__(self, status: PsaStatus, detail: str = "") -> None:
        super().__init__(f"PSA_ERROR_{status.name}" + (f": {detail}" if detail else ""))
        self.status = status
        self.detail = detail
