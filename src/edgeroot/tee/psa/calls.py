"""Calls to the services of a secure world, as PSA clients make them: a message out, a message or a PSA status back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar
from uuid import UUID

from edgeroot.abi.layout import Operation
from edgeroot.abi.rpc_status import RpcError
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.tee.api import NoSuchServiceError, Session, TeeBusyError, TeeError, TeeRefusedError, Transport
from edgeroot.tee.transports.patience import patiently

BUFFER_BYTES: Final = 17 * 4096
_OVERHEAD_BYTES: Final = 64
"""More than what stands beside the data in any message."""
_RECORD_MAX_BYTES: Final = 0xFFFF
_STATUSES: Final = {int(status): status for status in PsaStatus}

Message = TypeVar("Message")


class Calls:
    """A session with each service that is called, opened at the first call, and again after one that was lost.

    One call at a time. With a session is lost what its service knew of it: operations in several parts.
    """

    def __init__(self, transport: Transport, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._transport = transport
        self._buffer_bytes = buffer_bytes
        self._sessions: dict[UUID, Session] = {}

    def call(
        self,
        service: UUID,
        operations: Mapping[int, Operation],
        opcode: int,
        request: object,
        expected: type[Message],
    ) -> Message:
        """The response, which is of the type that is expected of the opcode.

        PsaError with the service's status, NOT_SUPPORTED if there is no such service, COMMUNICATION_FAILURE if the
        call did not get through.
        """
        layouts = operations[opcode]
        try:
            body = layouts.request.encode(request)
        except ValueError as error:
            raise _too_long() from error
        status, response = self.exchange(service, opcode, body)
        if status:
            raise PsaError(_STATUSES.get(status, PsaStatus.GENERIC_ERROR), "the service says so")
        try:
            message = layouts.response.decode(response)
        except RpcError as error:
            raise PsaError(PsaStatus.COMMUNICATION_FAILURE, str(error)) from error
        if not isinstance(message, expected):
            raise TypeError(f"{layouts.response} is not what carries a {expected.__name__}")
        return message

    def exchange(self, service: UUID, opcode: int, body: bytes) -> tuple[int, bytes]:
        """The service's status, whatever it is, and the response; PsaError as :meth:`call` if there is none."""
        try:
            return patiently(lambda: self._session(service).call(opcode, body))
        except ValueError as error:
            raise _too_long() from error
        except NoSuchServiceError as error:
            raise PsaError(PsaStatus.NOT_SUPPORTED, str(error)) from error
        except (TeeBusyError, TeeRefusedError, RpcError) as error:
            raise PsaError(PsaStatus.COMMUNICATION_FAILURE, str(error)) from error
        except TeeError as error:
            self._lose(service)
            raise PsaError(PsaStatus.COMMUNICATION_FAILURE, str(error)) from error

    def pieces(self, service: UUID, data: bytes) -> Iterator[bytes]:
        """The data in pieces that fit into a call; one empty piece of no data."""
        step = self.room_bytes(service)
        for start in range(0, len(data) or 1, step):
            yield data[start : start + step]

    def room_bytes(self, service: UUID) -> int:
        """How much data fits into a call or an answer."""
        return min(self._opened(service).capacity_bytes - _OVERHEAD_BYTES, _RECORD_MAX_BYTES)

    def can_carry(self, service: UUID, *inputs: bytes) -> bool:
        """Whether one call has room for all of these, each in a record of its own."""
        lengths = [len(one) for one in inputs]
        room_bytes = self._opened(service).capacity_bytes - _OVERHEAD_BYTES
        return sum(lengths) <= room_bytes and max(lengths) <= _RECORD_MAX_BYTES

    def session(self, service: UUID) -> Session | None:
        """The one that is open just now."""
        return self._sessions.get(service)

    def close(self) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.close()

    def _opened(self, service: UUID) -> Session:
        try:
            return patiently(lambda: self._session(service))
        except NoSuchServiceError as error:
            raise PsaError(PsaStatus.NOT_SUPPORTED, str(error)) from error
        except TeeError as error:
            raise PsaError(PsaStatus.COMMUNICATION_FAILURE, str(error)) from error

    def _session(self, service: UUID) -> Session:
        session = self._sessions.get(service)
        if session is None:
            session = self._transport.open_session(service, buffer_bytes=self._buffer_bytes)
            self._sessions[service] = session
        return session

    def _lose(self, service: UUID) -> None:
        session = self._sessions.pop(service, None)
        if session is not None:
            session.close()


def _too_long() -> PsaError:
    return PsaError(PsaStatus.INVALID_ARGUMENT, "an argument is out of range, or too long for a call")
