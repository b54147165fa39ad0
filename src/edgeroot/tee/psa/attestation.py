"""Initial attestation (PSA Attestation API 2.0)."""

from __future__ import annotations

from uuid import UUID

from edgeroot.abi import attestation as a
from edgeroot.abi.services import ATTESTATION, ATTESTATION_RFC9783
from edgeroot.psa import PsaError, PsaStatus, check_challenge
from edgeroot.tee.psa.calls import Calls, Message
from edgeroot.tee.psa.operation import fitting


class Attestation:
    """Tokens of RFC 9783; of a secure world that has no such service, those that its own one gives."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._service: UUID = ATTESTATION_RFC9783

    def psa_initial_attest_get_token(self, auth_challenge: bytes, *, token_buf_size: int | None = None) -> bytes:
        """A token with this challenge of 32, 48 or 64 bytes; INVALID_ARGUMENT for others."""
        check_challenge(len(auth_challenge))
        request = a.GetTokenRequest(auth_challenge)
        return fitting(self._attest(a.AttestationOpcode.GET_TOKEN, request, a.TokenResponse).token, token_buf_size)

    def psa_initial_attest_get_token_size(self, challenge_size: int) -> int:
        """How long a token is at most that has a challenge of this size."""
        check_challenge(challenge_size)
        request = a.GetTokenSizeRequest(challenge_size)
        return self._attest(a.AttestationOpcode.GET_TOKEN_SIZE, request, a.TokenSizeResponse).token_size_bytes

    def _attest(self, opcode: a.AttestationOpcode, request: object, expected: type[Message]) -> Message:
        try:
            return self._calls.call(self._service, a.OPERATIONS, opcode, request, expected)
        except PsaError as error:
            if error.status is not PsaStatus.NOT_SUPPORTED or self._service == ATTESTATION:
                raise
        self._service = ATTESTATION
        return self._calls.call(self._service, a.OPERATIONS, opcode, request, expected)
