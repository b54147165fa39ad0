"""Response status codes of the Parsec wire protocol 1.0."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from edgeroot.psa.status import PsaStatus

_PSA_BASE = 1000


class ResponseStatus(IntEnum):
    """The u16 ``status`` of a response: below 1000 the service's own, 1000 + n for the PSA error -n."""

    SUCCESS = 0
    WRONG_PROVIDER_ID = 1
    CONTENT_TYPE_NOT_SUPPORTED = 2
    ACCEPT_TYPE_NOT_SUPPORTED = 3
    WIRE_PROTOCOL_VERSION_NOT_SUPPORTED = 4
    PROVIDER_NOT_REGISTERED = 5
    PROVIDER_DOES_NOT_EXIST = 6
    DESERIALIZING_BODY_FAILED = 7
    SERIALIZING_BODY_FAILED = 8
    OPCODE_DOES_NOT_EXIST = 9
    RESPONSE_TOO_LARGE = 10
    AUTHENTICATION_ERROR = 11
    AUTHENTICATOR_DOES_NOT_EXIST = 12
    AUTHENTICATOR_NOT_REGISTERED = 13
    KEY_INFO_MANAGER_ERROR = 14
    CONNECTION_ERROR = 15
    INVALID_ENCODING = 16
    INVALID_HEADER = 17
    WRONG_PROVIDER_UUID = 18
    NOT_AUTHENTICATED = 19
    BODY_SIZE_EXCEEDS_LIMIT = 20
    ADMIN_OPERATION = 21
    DEPRECATED_PRIMITIVE = 22
    PSA_ERROR_GENERIC_ERROR = 1132
    PSA_ERROR_NOT_PERMITTED = 1133
    PSA_ERROR_NOT_SUPPORTED = 1134
    PSA_ERROR_INVALID_ARGUMENT = 1135
    PSA_ERROR_INVALID_HANDLE = 1136
    PSA_ERROR_BAD_STATE = 1137
    PSA_ERROR_BUFFER_TOO_SMALL = 1138
    PSA_ERROR_ALREADY_EXISTS = 1139
    PSA_ERROR_DOES_NOT_EXIST = 1140
    PSA_ERROR_INSUFFICIENT_MEMORY = 1141
    PSA_ERROR_INSUFFICIENT_STORAGE = 1142
    PSA_ERROR_INSUFFICIENT_DATA = 1143
    PSA_ERROR_COMMUNICATION_FAILURE = 1145
    PSA_ERROR_STORAGE_FAILURE = 1146
    PSA_ERROR_HARDWARE_FAILURE = 1147
    PSA_ERROR_INSUFFICIENT_ENTROPY = 1148
    PSA_ERROR_INVALID_SIGNATURE = 1149
    PSA_ERROR_INVALID_PADDING = 1150
    PSA_ERROR_CORRUPTION_DETECTED = 1151
    PSA_ERROR_DATA_CORRUPT = 1152
    PSA_ERROR_DATA_INVALID = 1153

    @classmethod
    def from_psa(cls, status: PsaStatus) -> ResponseStatus:
        """The wire's number for a PSA status (0 stays 0); a generic error for one that the wire has no number for."""
        number = _PSA_BASE - status if status else 0
        return cls(number) if number in _NUMBERS else cls.PSA_ERROR_GENERIC_ERROR

    @property
    def display_name(self) -> str:
        """The name that upstream's documentation and tools use, such as ``PsaErrorDoesNotExist``."""
        return "".join(part.capitalize() for part in self.name.split("_"))


_NUMBERS: Final = frozenset(ResponseStatus)


class WireError(Exception):
    """A message is to be answered with ``status`` instead of being served."""

    def __init__(self, status: ResponseStatus, detail: str = "") -> None:
        super().__init__(f"{status.display_name}" + (f": {detail}" if detail else ""))
        self.status = status
        self.detail = detail
