"""Stored objects and attestation tokens as steps: calls to protected storage and to initial attestation.

An object is one object of the storage partition, under a random uid that was seen free. Its reference has 9 bytes:
version u8 (0x81, which no key's reference has) and the uid u64, little-endian.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

from edgeroot import engine
from edgeroot.abi import attestation, storage
from edgeroot.abi.key_attributes import LOCATION_LOCAL_STORAGE
from edgeroot.abi.key_statement import KEY_STATEMENT, KeyStatementRequest
from edgeroot.abi.layout import Operation
from edgeroot.providers.api import BackEndCall, Link, LoadedKey, ObjectInfo, Steps
from edgeroot.providers.trusted_services.errors import decoded, error_of
from edgeroot.providers.trusted_services.steps import TrustedServicesSteps, id_of
from edgeroot.psa import KeyAttributes, PsaError, PsaStatus, Secret, check_challenge

_REFERENCE: Final = Struct("<BQ")
_VERSION: Final = 0x81
_UID_BYTES: Final = 8
_UIDS_TO_TRY: Final = 4


class StoredObject(LoadedKey):
    """An object of the partition."""

    __slots__ = ("uid",)

    def __init__(self, reference: bytes, attributes: KeyAttributes) -> None:
        super().__init__(reference, attributes)
        self.uid: Final = _uid_in(reference)


class WorldSteps(TrustedServicesSteps):
    """Keys, objects and tokens, each over the link to its own partition."""

    def __init__(
        self,
        crypto: Link,
        storage_link: Link,
        attestation_link: Link,
        *,
        capacity_bytes: int,
        location: int = LOCATION_LOCAL_STORAGE,
    ) -> None:
        super().__init__(crypto, capacity_bytes=capacity_bytes, location=location)
        self._storage = storage_link
        self._attestation = attestation_link
        self._object_bytes = capacity_bytes - storage.SET_HEADER_BYTES

    def load(self, reference: bytes, attributes: KeyAttributes) -> LoadedKey:
        if _is_object(reference):
            return StoredObject(reference, attributes)
        return super().load(reference, attributes)

    def destroy(self, reference: bytes) -> Steps[None]:
        if not _is_object(reference):
            return (yield from super().destroy(reference))
        try:
            yield from self._store(storage.StorageOpcode.REMOVE, storage.UidRequest(_uid_in(reference)))
        except PsaError as error:
            if error.status is not PsaStatus.DOES_NOT_EXIST:
                raise

    def exists(self, reference: bytes) -> Steps[bool]:
        if not _is_object(reference):
            return (yield from super().exists(reference))
        return (yield from self._is_taken(_uid_in(reference)))

    def plan_object(self) -> Steps[bytes]:
        for _ in range(_UIDS_TO_TRY):
            uid = int.from_bytes(engine.random(_UID_BYTES))
            if uid and not (yield from self._is_taken(uid)):
                return _REFERENCE.pack(_VERSION, uid)
        raise PsaError(PsaStatus.INSUFFICIENT_STORAGE, "no free uid was found in the secure world")

    def set_object(self, reference: bytes, data: Secret, flags: int) -> Steps[None]:
        """INSUFFICIENT_STORAGE for more than one call can carry, which is what makes it one step."""
        if len(data) > self._object_bytes:
            raise PsaError(PsaStatus.INSUFFICIENT_STORAGE, f"an object has at most {self._object_bytes} bytes")
        yield from self._store(storage.StorageOpcode.SET, storage.SetRequest(_uid_in(reference), flags, data))

    def get_object(self, key: LoadedKey, offset: int, size: int) -> Steps[Secret]:
        request = storage.GetRequest(_uid(key), offset, min(size or self._object_bytes, self._object_bytes))
        return Secret((yield from self._store(storage.StorageOpcode.GET, request)).data)

    def get_object_info(self, key: LoadedKey) -> Steps[ObjectInfo]:
        info = yield from self._store(storage.StorageOpcode.GET_INFO, storage.UidRequest(_uid(key)))
        return ObjectInfo(info.capacity_bytes, info.size_bytes, info.create_flags)

    def attestation_token(self, challenge: bytes) -> Steps[bytes]:
        check_challenge(len(challenge))
        request = attestation.GetTokenRequest(challenge)
        opcode = attestation.AttestationOpcode.GET_TOKEN
        response = yield from _call(self._attestation, attestation.OPERATIONS[opcode], request)
        token: bytes = response.token
        return token

    def key_statement(self, key: LoadedKey, challenge: bytes) -> Steps[bytes]:
        check_challenge(len(challenge))
        request = KeyStatementRequest(id_of(key), challenge)
        response = yield from _call(self._attestation, KEY_STATEMENT, request)
        statement: bytes = response.statement
        return statement

    def _is_taken(self, uid: int) -> Steps[bool]:
        try:
            yield from self._store(storage.StorageOpcode.GET_INFO, storage.UidRequest(uid))
        except PsaError as error:
            if error.status is PsaStatus.DOES_NOT_EXIST:
                return False
            raise
        return True

    def _store(self, opcode: storage.StorageOpcode, request: object) -> Steps[Any]:
        return _call(self._storage, storage.OPERATIONS[opcode], request)


def _call(link: Link, operation: Operation, request: object) -> Steps[Any]:
    answer = yield BackEndCall(link, operation.opcode, operation.request.encode(request))
    if answer.error is not None:
        raise answer.error
    if answer.status:
        raise error_of(answer.status)
    return decoded(operation.response.decode, answer.response)


def _is_object(reference: bytes) -> bool:
    return reference[:1] == bytes((_VERSION,))


def _uid_in(reference: bytes) -> int:
    if len(reference) != _REFERENCE.size or not _is_object(reference):
        raise PsaError(PsaStatus.DATA_INVALID, "the object's reference is not this provider's")
    uid: int = _REFERENCE.unpack(reference)[1]
    return uid


def _uid(key: LoadedKey) -> int:
    if not isinstance(key, StoredObject):
        raise PsaError(PsaStatus.INVALID_HANDLE, "the object was loaded by another provider")
    return key.uid
