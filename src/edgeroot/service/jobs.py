"""Provider calls that leave the worker: as values, as bytes on a channel, and how the other side carries them out.

A job carries the request's body as it came over the wire, so nothing is encoded twice, and the key as the store knows
it. Identities stay behind: who carries a job out does not learn whose key it uses.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import Final

from edgeroot.providers.api import LoadedKey, Provider
from edgeroot.psa import KeyAttributes, PsaError, PsaStatus, Secret
from edgeroot.service.uses import KEY_USES, KEYLESS_USES
from edgeroot.wire import operations as ops
from edgeroot.wire.codec import decode_operation, encode_result
from edgeroot.wire.status import ResponseStatus, WireError

_log: Final = logging.getLogger(__name__)
_JOB: Final = Struct("<BIdII")  # provider, opcode, deadline; lengths of reference and attributes; the body is the rest
_OUTCOME: Final = Struct("<HIII")  # status; lengths of reference, attributes and replacement; the body is the rest
_LOADED_KEYS: Final = 64
_FAULTS_OF_THE_BACK_END: Final = frozenset(
    (
        PsaStatus.COMMUNICATION_FAILURE,
        PsaStatus.CONNECTION_BUSY,
        PsaStatus.CORRUPTION_DETECTED,
        PsaStatus.DATA_CORRUPT,
        PsaStatus.DATA_INVALID,
        PsaStatus.HARDWARE_FAILURE,
        PsaStatus.INSUFFICIENT_ENTROPY,
        PsaStatus.INSUFFICIENT_MEMORY,
        PsaStatus.INSUFFICIENT_STORAGE,
        PsaStatus.SERVICE_FAILURE,
        PsaStatus.STORAGE_FAILURE,
    )
)
PLAN: Final = 0
"""The opcode of a job that is no operation of the protocol: plan a place, for an object if there are no attributes."""


@dataclass(frozen=True, slots=True)
class Job:
    """A provider call.

    ``provider`` is the index in the service's list, ``deadline_s`` on the machine's monotonic clock. ``reference`` is
    empty for operations without a key and for creations without a planned place; ``attributes`` are encoded, and
    empty where there is no key yet.
    """

    provider: int
    opcode: int
    body: bytes = field(repr=False)
    reference: bytes = b""
    attributes: bytes = b""
    deadline_s: float = 0.0

    def at(self, reference: bytes) -> Job:
        """This job for the key at another place."""
        return replace(self, reference=reference)

    def due(self, deadline_s: float) -> Job:
        """This job with another deadline."""
        return replace(self, deadline_s=deadline_s)

    def encode(self) -> bytes:
        head = _JOB.pack(self.provider, self.opcode, self.deadline_s, len(self.reference), len(self.attributes))
        return b"".join((head, self.reference, self.attributes, self.body))

    @classmethod
    def decode(cls, data: bytes) -> Job:
        provider, opcode, deadline_s, reference_bytes, attributes_bytes = _JOB.unpack_from(data)
        at = _JOB.size
        reference = data[at : (at := at + reference_bytes)]
        attributes = data[at : (at := at + attributes_bytes)]
        return cls(provider, opcode, data[at:], reference, attributes, deadline_s)


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """What came of a job: a wire status, and the response's body or the created key's reference and attributes."""

    status: int
    body: bytes = field(default=b"", repr=False)
    reference: bytes = b""
    attributes: bytes = b""
    replacement: bytes = b""

    def encode(self) -> bytes:
        head = _OUTCOME.pack(self.status, len(self.reference), len(self.attributes), len(self.replacement))
        return b"".join((head, self.reference, self.attributes, self.replacement, self.body))

    @classmethod
    def decode(cls, data: bytes) -> JobOutcome:
        status, reference_bytes, attributes_bytes, replacement_bytes = _OUTCOME.unpack_from(data)
        at = _OUTCOME.size
        reference = data[at : (at := at + reference_bytes)]
        attributes = data[at : (at := at + attributes_bytes)]
        replacement = data[at : (at := at + replacement_bytes)]
        return cls(status, data[at:], reference, attributes, replacement)

    def raise_for_status(self) -> None:
        """Raises WireError unless the job succeeded."""
        if self.status:
            raise WireError(ResponseStatus(self.status))


class Executor:
    """Carries jobs out, one at a time, in a process that has providers of its own."""

    def __init__(self, providers: Mapping[int, Provider]) -> None:
        """``providers`` are those that this process may use, by their index in the service's list."""
        self._providers = providers
        self._loaded: OrderedDict[tuple[int, bytes, bytes], LoadedKey] = OrderedDict()
        self._complaints: dict[int, str] = {}  # by provider, the last one of each, until something succeeds

    def execute(self, job: Job) -> JobOutcome:
        """The outcome; errors of the caller and of the back end are statuses, never exceptions."""
        try:
            outcome = self._execute(job)
        except WireError as error:
            return JobOutcome(error.status)
        except PsaError as error:
            if error.status in _FAULTS_OF_THE_BACK_END:
                self._complain(job.provider, str(error))
            return JobOutcome(ResponseStatus.from_psa(error.status))
        self._complaints.pop(job.provider, None)
        return outcome

    def _complain(self, provider: int, complaint: str) -> None:
        """For the log, once for a failure that lasts: nobody but the operator can do something about it."""
        if self._complaints.get(provider) != complaint:
            self._complaints[provider] = complaint
            _log.warning("provider %d failed: %s", self._providers[provider].identity.provider_id, complaint)

    def _execute(self, job: Job) -> JobOutcome:
        provider = self._providers[job.provider]
        if job.opcode == PLAN:
            planned = (
                provider.plan(KeyAttributes.from_bytes(job.attributes)) if job.attributes else provider.plan_object()
            )
            return JobOutcome(ResponseStatus.SUCCESS, reference=planned or b"")
        operation = decode_operation(job.opcode, job.body)
        match operation:
            case ops.PsaGenerateKey(attributes=attributes):
                return self._create(provider, job, attributes, None)
            case ops.PsaImportKey(attributes=attributes, data=data):
                return self._create(provider, job, attributes, Secret(data))
            case ops.PsaDestroyKey():
                provider.destroy(job.reference)
                return JobOutcome(ResponseStatus.SUCCESS)
            case ops.StorageSet(data=data, create_flags=flags):
                provider.set_object(job.reference, Secret(data), flags)
                return JobOutcome(ResponseStatus.SUCCESS)
        keyless = KEYLESS_USES.get(job.opcode)
        if keyless is not None:
            body = encode_result(keyless.result(keyless.call(provider, operation)))
            return JobOutcome(ResponseStatus.SUCCESS, body)
        key = self._load(provider, job)
        use = KEY_USES[job.opcode]
        body = encode_result(use.result(use.call(provider, key, operation)))
        return JobOutcome(ResponseStatus.SUCCESS, body, replacement=key.replacement or b"")

    def _create(self, provider: Provider, job: Job, attributes: KeyAttributes, material: Secret | None) -> JobOutcome:
        created = provider.create(job.reference or None, attributes, material)
        return JobOutcome(ResponseStatus.SUCCESS, reference=created.reference, attributes=bytes(created.attributes))

    def _load(self, provider: Provider, job: Job) -> LoadedKey:
        # A reference belongs to one key for ever, and the caller has just resolved it against the store, so what is
        # kept here can never serve a destroyed key; it is kept short all the same.
        slot = (job.provider, job.reference, job.attributes)
        key = self._loaded.get(slot)
        if key is None:
            key = provider.load(job.reference, KeyAttributes.from_bytes(job.attributes))
            self._loaded[slot] = key
            if len(self._loaded) > _LOADED_KEYS:
                self._loaded.popitem(last=False)
        return key
