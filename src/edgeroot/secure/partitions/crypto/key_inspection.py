"""What a key is, whosever it is: asked by partitions whose manifests give them that right, and by nobody else."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from edgeroot.abi.key_attributes import AbiKeyAttributes
from edgeroot.abi.key_statement import INSPECT_KEY, InspectKeyRequest, InspectKeyResponse
from edgeroot.psa import PsaError, PsaStatus
from edgeroot.secure.partitions.crypto import slow
from edgeroot.secure.partitions.crypto.answers import Deferred, Handlers
from edgeroot.secure.partitions.crypto.keys import KeyStore
from edgeroot.secure.partitions.crypto.names import lifetime_of
from edgeroot.secure.partitions.crypto.slow import Function, Task
from edgeroot.secure.runtime.api import Caller


class KeyInspection:
    """The handler over one context's key store. ``inspectors`` are the FF-A ids of those who may ask."""

    def __init__(self, keys: KeyStore, inspectors: Set[int]) -> None:
        self._keys: Final = keys
        self._inspectors: Final = inspectors
        self.handlers: Final[Handlers] = {INSPECT_KEY.opcode: self._inspect}

    def _inspect(
        self, caller: Caller, request: InspectKeyRequest, _capacity_bytes: int
    ) -> InspectKeyResponse | Deferred:
        """NOT_PERMITTED without the right, INVALID_HANDLE if there is no such key, INVALID_ARGUMENT if it is no pair.

        The DATA_CORRUPT of a key that cannot be read is passed on.
        """
        if caller.source_id not in self._inspectors:
            raise PsaError(PsaStatus.NOT_PERMITTED, "the caller has no right to inspect keys")
        key = self._keys.find(request.source_id, request.key_id)
        if not key.attributes.key_type.is_key_pair:
            raise PsaError(PsaStatus.INVALID_ARGUMENT, "only a key pair has a public key to be told")
        lifetime = lifetime_of(key.id, key.location)
        attributes = AbiKeyAttributes.from_psa(key.attributes, lifetime=lifetime, key_id=key.id)

        def told(public_key: bytes) -> InspectKeyResponse:
            return InspectKeyResponse(attributes, key.origin, public_key)

        if key.is_in_element or slow.exports_public_slowly(key.attributes):
            task = Task(Function.EXPORT_PUBLIC, key.attributes, material=key.material, location=key.location)
            return Deferred(task, told)
        return told(key.engine.export_public())
