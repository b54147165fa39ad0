"""The crypto partition over TS RPC: the IAK, a key of this partition's own, and what others' keys are."""

from __future__ import annotations

from typing import Final

from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import OPERATIONS, CryptoOpcode
from edgeroot.abi.key_attributes import LIFETIME_PERSISTENT, AbiKeyAttributes
from edgeroot.abi.key_statement import INSPECT_KEY, InspectKeyRequest, InspectKeyResponse
from edgeroot.abi.layout import Operation
from edgeroot.abi.rpc_status import RpcError
from edgeroot.evidence import StatedKey
from edgeroot.psa import KeyOrigin, PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.attestation.iak import IAK_ATTRIBUTES, IAK_KEY_ID
from edgeroot.secure.runtime.environment import PeerSession

_WANTED: Final = AbiKeyAttributes.from_psa(IAK_ATTRIBUTES, lifetime=LIFETIME_PERSISTENT, key_id=IAK_KEY_ID)
_KEY: Final = m.KeyIdRequest(IAK_KEY_ID)
_ABSENT: Final = (PsaStatus.INVALID_HANDLE, PsaStatus.DOES_NOT_EXIST)


class RpcIakKeys:
    """:class:`edgeroot.secure.partitions.attestation.iak.IakKeys` over a session with the crypto service."""

    def __init__(self, session: PeerSession) -> None:
        self._session = session

    def exists(self) -> bool:
        try:
            self._call(CryptoOpcode.GET_KEY_ATTRIBUTES, _KEY)
        except PsaError as error:
            if error.status in _ABSENT:
                return False
            raise
        return True

    def generate(self) -> None:
        self._call(CryptoOpcode.GENERATE_KEY, m.GenerateKeyRequest(_WANTED))

    def import_(self, scalar: Secret) -> None:
        self._call(CryptoOpcode.IMPORT_KEY, m.ImportKeyRequest(_WANTED, scalar))

    def public_key(self) -> bytes:
        return self._data(CryptoOpcode.EXPORT_PUBLIC_KEY, _KEY)

    def sign_hash(self, hash_value: bytes) -> bytes:
        request = m.SignRequest(IAK_KEY_ID, IAK_ATTRIBUTES.algorithm, hash_value)
        return self._data(CryptoOpcode.SIGN_HASH, request)

    def _data(self, opcode: CryptoOpcode, request: object) -> bytes:
        response = self._call(opcode, request)
        assert isinstance(response, m.DataResponse)
        return response.data

    def _call(self, opcode: CryptoOpcode, request: object) -> object:
        """The response's message, of the opcode's row."""
        return _call(self._session, OPERATIONS[opcode], request)


class RpcKeyInspector:
    """:class:`edgeroot.secure.partitions.attestation.iak.KeyInspector` over a session with the inspection of keys."""

    def __init__(self, session: PeerSession) -> None:
        self._session = session

    def inspect(self, source_id: int, key_id: int) -> StatedKey:
        response = _call(self._session, INSPECT_KEY, InspectKeyRequest(source_id, key_id))
        assert isinstance(response, InspectKeyResponse)
        return StatedKey(
            attributes=response.attributes.to_psa(),
            lifetime=response.attributes.lifetime,
            origin=KeyOrigin(response.origin),
            public_key=response.public_key,
        )


def _call(session: PeerSession, operation: Operation, request: object) -> object:
    try:
        status, response = session.call(operation.opcode, operation.request.encode(request))
        if status == PsaStatus.SUCCESS:
            return operation.response.decode(response)
    except RpcError as error:
        raise PsaError(PsaStatus.COMMUNICATION_FAILURE, "the crypto partition does not answer") from error
    raise PsaError(PsaStatus(status), "the crypto partition refused")
