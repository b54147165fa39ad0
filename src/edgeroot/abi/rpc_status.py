"""The status of a call to a Trusted Services endpoint (TS RPC v1, ``rpc_status.h``).

It says whether the service was reached and understood; what the service then answers is its own status, a second word.
"""

from __future__ import annotations

from enum import IntEnum


class RpcStatus(IntEnum):
    """``rpc_status_t``: zero is success, negative numbers are errors."""

    SUCCESS = 0
    INTERNAL = -1
    INVALID_VALUE = -2
    NOT_FOUND = -3
    INVALID_STATE = -4
    TRANSPORT_LAYER = -5
    INVALID_REQUEST_BODY = -6
    INVALID_RESPONSE_BODY = -7
    RESOURCE_FAILURE = -8


class RpcError(Exception):
    """A call ended with an RPC status other than success: no service has seen it, or none could read it.

    ``detail`` is for logs and for people; it never holds what the message carried.
    """

    def __init__(self, status: RpcStatus, detail: str = "") -> None:
        super().__init__(f"RPC_ERROR_{status.name}" + (f": {detail}" if detail else ""))
        self.status = status
        self.detail = detail
