"""A Parsec service for tests of clients: real messages, answers as pluggable functions, no sockets and no keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from edgeroot.psa import PsaError
from edgeroot.wire.codec import decode_operation, encode_result
from edgeroot.wire.framing import Request, check_request, encode_early_error, encode_response, next_request
from edgeroot.wire.opcodes import SPECS, Opcode
from edgeroot.wire.operations import (
    AuthenticatorInfo,
    AuthType,
    Empty,
    ListAuthenticators,
    ListAuthenticatorsResult,
    ListOpcodes,
    ListOpcodesResult,
    ListProviders,
    ListProvidersResult,
    Operation,
    Ping,
    PingResult,
    ProviderId,
    ProviderInfo,
    Result,
)
from edgeroot.wire.status import ResponseStatus, WireError

Answer: TypeAlias = Callable[[Operation], Result]
"""Returns the result, or raises WireError or PsaError for the status to be answered."""

CORE: Final = ProviderInfo("47049873-2a43-4845-9d72-831eab668784", "Core", "", 1, 5, 0, ProviderId.CORE)
SOFTWARE: Final = ProviderInfo(
    "1c1139dc-ad7c-47dc-ad6b-db6fdb466552", "Software", "", 0, 1, 0, ProviderId.MBED_CRYPTO, "software-provider"
)
UNIX_PEER_CREDENTIALS: Final = AuthenticatorInfo("", 0, 1, 0, AuthType.UNIX_PEER_CREDENTIALS)
DIRECT: Final = AuthenticatorInfo("", 0, 1, 0, AuthType.DIRECT)


class WireSimulator:
    """Hand it whole requests, get whole responses. ``answers`` says how operations other than the lists go; what it
    leaves out is PSA_ERROR_NOT_SUPPORTED. It may be changed, as may the lists, and ``requests`` holds what came.
    """

    def __init__(
        self,
        answers: Mapping[Opcode, Answer] | None = None,
        *,
        providers: tuple[ProviderInfo, ...] = (SOFTWARE, CORE),
        authenticators: tuple[AuthenticatorInfo, ...] = (UNIX_PEER_CREDENTIALS,),
        body_len_limit: int = 1 << 20,
    ) -> None:
        self.answers: dict[Opcode, Answer] = dict(answers or {})
        self.providers = providers
        self.authenticators = authenticators
        self.body_len_limit = body_len_limit
        self.requests: list[Request] = []

    def answer(self, message: bytes) -> bytes:
        """The response to one whole request."""
        try:
            request = next_request(message, body_len_limit=self.body_len_limit)
            if request is None or request.size_bytes != len(message):
                raise WireError(ResponseStatus.CONNECTION_ERROR, "not one whole request")
            check_request(request)
        except WireError as error:
            return encode_early_error(error.status)
        self.requests.append(request)
        status, body = ResponseStatus.SUCCESS, b""
        try:
            body = encode_result(self._result(request))
        except WireError as error:
            status = error.status
        except PsaError as error:
            status = ResponseStatus.from_psa(error.status)
        return encode_response(
            provider=request.provider, session=request.session, opcode=request.opcode, status=status, body=body
        )

    def operations(self) -> list[Operation]:
        """What was asked so far."""
        return [decode_operation(request.opcode, request.body) for request in self.requests]

    def _result(self, request: Request) -> Result:
        spec = SPECS[request.opcode]
        if request.provider not in {provider.id for provider in self.providers}:
            raise WireError(ResponseStatus.PROVIDER_NOT_REGISTERED)
        if request.auth_type and request.auth_type not in {listed.id for listed in self.authenticators}:
            raise WireError(ResponseStatus.AUTHENTICATOR_NOT_REGISTERED)
        operation = decode_operation(request.opcode, request.body)
        if spec.needs_identity and not request.auth_type:
            raise WireError(ResponseStatus.NOT_AUTHENTICATED)
        answer = self.answers.get(spec.opcode)
        return answer(operation) if answer else self._listed(operation)

    def _listed(self, operation: Operation) -> Result:
        match operation:
            case Ping():
                return PingResult(1, 0)
            case ListProviders():
                return ListProvidersResult(self.providers)
            case ListAuthenticators():
                return ListAuthenticatorsResult(self.authenticators)
            case ListOpcodes():
                return ListOpcodesResult(tuple(self.answers))
            case _:
                raise WireError(ResponseStatus.PSA_ERROR_NOT_SUPPORTED)


def constant(result: Result | None = None) -> Answer:
    """Always this result; the empty one if none is given."""
    given = Empty() if result is None else result
    return lambda _operation: given


def refusal(status: ResponseStatus) -> Answer:
    """Always this status."""

    def refuse(_operation: Operation) -> Result:
        raise WireError(status)

    return refuse
