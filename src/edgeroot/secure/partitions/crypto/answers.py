"""What handlers of operations take and give, and the checks that several families share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from edgeroot.abi.crypto_messages import EmptyResponse
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.partitions.crypto.slow import Task
from edgeroot.secure.runtime.api import Caller

EMPTY: Final = EmptyResponse()
ID_BYTES: Final = 4
RECORD_BYTES: Final = 4
"""What a response needs around its data: the record's head in packed-c."""
RECORD_MAX_BYTES: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Deferred:
    """A response that needs slow work first; ``finish`` makes it of the result."""

    task: Task
    finish: Callable[[bytes], Any] = field(repr=False)


Handler: TypeAlias = Callable[[Caller, Any, int], Any]
"""Caller, request and capacity in bytes; gives the response's message or a Deferred, raises PsaError or RpcError."""
Handlers: TypeAlias = Mapping[int, Handler]


def check_capacity(capacity_bytes: int, response_bytes: int = ID_BYTES) -> None:
    """BUFFER_TOO_SMALL unless the response will fit. For operations that must not happen in vain."""
    if response_bytes > capacity_bytes:
        raise PsaError(PsaStatus.BUFFER_TOO_SMALL)


def check_output(capacity_bytes: int, output_bytes: int) -> None:
    """BUFFER_TOO_SMALL unless a response can carry as much data."""
    if output_bytes > RECORD_MAX_BYTES:
        raise PsaError(PsaStatus.BUFFER_TOO_SMALL)
    check_capacity(capacity_bytes, RECORD_BYTES + output_bytes)
