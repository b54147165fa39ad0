"""PSA Initial Attestation, as two services of one partition: the same operations, tokens of two profiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from edgeroot.abi import attestation as abi
from edgeroot.abi.key_statement import KEY_STATEMENT, KeyStatementRequest, KeyStatementResponse
from edgeroot.abi.layout import Operation
from edgeroot.abi.rpc_status import RpcError, RpcStatus
from edgeroot.abi.services import ATTESTATION, ATTESTATION_RFC9783
from edgeroot.evidence import Profile
from edgeroot.psa import PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.attestation.attester import Attester
from edgeroot.secure.runtime.api import Caller, Reply, Service


class _AttestationService(Service):
    """What is common to both. Attestation is for everybody, so no operation asks who calls."""

    profile: ClassVar[Profile]
    operations: ClassVar[Mapping[int, Operation]] = abi.OPERATIONS

    def __init__(self, attester: Attester) -> None:
        self._attester = attester

    def call(self, caller: Caller, opcode: int, request: bytes, *, capacity_bytes: int) -> Reply:
        operation = self.operations.get(opcode)
        if operation is None:
            raise RpcError(RpcStatus.INVALID_VALUE, f"opcode {opcode:#06x}")
        response = self._answer(caller, operation.request.decode(request))
        payload = operation.response.encode(response)
        if len(payload) > capacity_bytes:
            raise PsaError(PsaStatus.BUFFER_TOO_SMALL, f"{len(payload)} bytes do not fit into {capacity_bytes}")
        return Reply(payload=payload)

    def _answer(self, caller: Caller, request: object) -> object:
        attester = self._attester
        match request:
            case abi.GetTokenRequest(challenge):
                return abi.TokenResponse(attester.token(challenge, caller.source_id, self.profile))
            case abi.GetTokenSizeRequest(size_bytes):
                return abi.TokenSizeResponse(attester.token_size_bytes(size_bytes, caller.source_id, self.profile))
            case abi.ExportIakRequest():
                return abi.IakPublicKeyResponse(attester.public_key())
            case abi.ImportIakRequest(key_pair):
                attester.import_iak(Secret(key_pair))
            case abi.IakExistsRequest():
                if not attester.iak_exists():
                    raise PsaError(PsaStatus.DOES_NOT_EXIST, "there is no initial attestation key")
            case KeyStatementRequest(key_id, challenge):
                return KeyStatementResponse(attester.key_statement(challenge, caller.source_id, key_id))
        return abi.EmptyResponse()


class LegacyAttestationService(_AttestationService):
    """Upstream's service: tokens as Trusted Services writes them."""

    uuid = ATTESTATION
    profile = Profile.LEGACY


class Rfc9783AttestationService(_AttestationService):
    """The same with RFC 9783's tokens, and statements about keys, under a UUID of our own: nobody else has this."""

    uuid = ATTESTATION_RFC9783
    profile = Profile.RFC9783
    operations: ClassVar[Mapping[int, Operation]] = {**abi.OPERATIONS, KEY_STATEMENT.opcode: KEY_STATEMENT}


def attestation_services(attester: Attester) -> tuple[Service, Service]:
    """The partition's services in the order of their interface ids: upstream's is 0."""
    return LegacyAttestationService(attester), Rfc9783AttestationService(attester)
