"""Making, copying, exporting and destroying keys (PSA Crypto API 1.2, clauses 9.6 to 9.8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from edgeroot import engine
from edgeroot.abi import crypto_messages as m
from edgeroot.abi.crypto import CryptoOpcode as Op
from edgeroot.abi.key_attributes import AbiKeyAttributes
from edgeroot.engine import EngineKey
from edgeroot.psa import KeyOrigin, PsaError, PsaStatus, Secret
from edgeroot.secure.partitions.crypto import policy, slow
from edgeroot.secure.partitions.crypto.answers import EMPTY, Deferred, Handlers, check_capacity
from edgeroot.secure.partitions.crypto.keys import KeyStore, require_material
from edgeroot.secure.partitions.crypto.names import lifetime_of
from edgeroot.secure.partitions.crypto.new_key import MAX_KEY_BITS, NewKey, new_key, require_local
from edgeroot.secure.partitions.crypto.record import KeyRecord
from edgeroot.secure.partitions.crypto.slow import Function, Task
from edgeroot.secure.runtime.api import Caller

_MAX_KEY_BYTES: Final = MAX_KEY_BITS // 8


class KeyOperations:
    """The handlers over one context's key store."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys: Final = keys
        self.handlers: Final[Handlers] = {
            Op.GENERATE_KEY: self._generate,
            Op.IMPORT_KEY: self._import,
            Op.COPY_KEY: self._copy,
            Op.DESTROY_KEY: self._destroy,
            Op.PURGE_KEY: self._purge,
            Op.EXPORT_KEY: self._export,
            Op.EXPORT_PUBLIC_KEY: self._export_public,
            Op.GET_KEY_ATTRIBUTES: self._attributes,
        }

    def _generate(
        self, caller: Caller, request: m.GenerateKeyRequest, capacity_bytes: int
    ) -> m.KeyIdResponse | Deferred:
        asked = new_key(request.attributes, self._keys.locations)
        if asked.attributes.key_bits == 0:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "a key to be generated needs a size")
        check_capacity(capacity_bytes)
        if not asked.is_local:
            return m.KeyIdResponse(self._keys.create_in_element(caller.source_id, asked.key_id, asked.attributes))

        def generated(material: Secret) -> KeyRecord:
            return KeyRecord(asked.attributes, material, origin=KeyOrigin.GENERATED)

        if not slow.makes_slowly(asked.attributes, imports=False):
            return self._create(caller, asked, generated(engine.generate(asked.attributes)))
        self._keys.check_room(caller.source_id, asked.key_id)
        return Deferred(
            Task(Function.GENERATE, asked.attributes),
            lambda material: self._create(caller, asked, generated(Secret(material))),
        )

    def _import(self, caller: Caller, request: m.ImportKeyRequest, capacity_bytes: int) -> m.KeyIdResponse | Deferred:
        if not request.data:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "no key is empty")
        asked = new_key(request.attributes, self._keys.locations)
        require_local(asked)
        if len(request.data) > _MAX_KEY_BYTES:
            raise PsaError(PsaStatus.NOT_SUPPORTED, f"a key of {len(request.data)} bytes")
        check_capacity(capacity_bytes)
        if not slow.makes_slowly(asked.attributes, imports=True):
            attributes, material = engine.import_material(asked.attributes, request.data)
            return self._create(caller, asked, KeyRecord(attributes, material, origin=KeyOrigin.IMPORTED))
        self._keys.check_room(caller.source_id, asked.key_id)

        def finish(result: bytes) -> m.KeyIdResponse:
            key_bits, material = slow.imported(result)
            attributes = replace(asked.attributes, key_bits=key_bits)
            return self._create(caller, asked, KeyRecord(attributes, material, origin=KeyOrigin.IMPORTED))

        return Deferred(Task(Function.IMPORT, asked.attributes, material=Secret(request.data)), finish)

    def _copy(self, caller: Caller, request: m.CopyKeyRequest, capacity_bytes: int) -> m.KeyIdResponse:
        source = self._keys.find(caller.source_id, request.source_key_id)
        policy.require_usage(source, policy.COPY)
        require_material(source)
        asked = new_key(request.attributes, self._keys.locations)
        require_local(asked)
        attributes = policy.intersection(source.attributes, asked.attributes)
        check_capacity(capacity_bytes)
        return self._create(caller, asked, KeyRecord(attributes, source.material, origin=KeyOrigin.COPIED))

    def _create(self, caller: Caller, asked: NewKey, key: KeyRecord) -> m.KeyIdResponse:
        return m.KeyIdResponse(self._keys.create(caller.source_id, asked.key_id, key))

    def _destroy(self, caller: Caller, request: m.KeyIdRequest, _capacity_bytes: int) -> m.EmptyResponse:
        self._keys.destroy(caller.source_id, request.key_id)
        return EMPTY

    def _purge(self, caller: Caller, request: m.KeyIdRequest, _capacity_bytes: int) -> m.EmptyResponse:
        try:
            self._keys.find(caller.source_id, request.key_id)
        except PsaError as error:
            if error.status is PsaStatus.INVALID_HANDLE:
                raise PsaError(PsaStatus.DOES_NOT_EXIST) from error
            raise
        self._keys.forget(caller.source_id, request.key_id)
        return EMPTY

    def _export(self, caller: Caller, request: m.KeyIdRequest, _capacity_bytes: int) -> m.DataResponse:
        key = self._keys.find(caller.source_id, request.key_id)
        if not key.attributes.key_type.is_public_key:
            policy.require_usage(key, policy.EXPORT)
        require_material(key)
        return m.DataResponse(engine.export(key.attributes, key.material))

    def _export_public(
        self, caller: Caller, request: m.KeyIdRequest, _capacity_bytes: int
    ) -> m.DataResponse | Deferred:
        key = self._keys.find(caller.source_id, request.key_id)
        if key.is_in_element or slow.exports_public_slowly(key.attributes):
            task = Task(Function.EXPORT_PUBLIC, key.attributes, material=key.material, location=key.location)
            return Deferred(task, m.DataResponse)
        loaded: EngineKey = key.engine
        return m.DataResponse(loaded.export_public())

    def _attributes(self, caller: Caller, request: m.KeyIdRequest, _capacity_bytes: int) -> m.KeyAttributesResponse:
        key = self._keys.find(caller.source_id, request.key_id)
        return m.KeyAttributesResponse(
            AbiKeyAttributes.from_psa(key.attributes, lifetime=lifetime_of(key.id, key.location), key_id=key.id)
        )
