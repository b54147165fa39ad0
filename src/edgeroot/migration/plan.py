"""What would become of each key of upstream's: whose it is here, and where it comes from. Nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from edgeroot import engine
from edgeroot.keystore.records import KeyIdentity
from edgeroot.migration.attributes import decode_attributes
from edgeroot.migration.bincode import Reader
from edgeroot.migration.errors import MigrationError
from edgeroot.migration.key_file import StoredMaterial
from edgeroot.migration.records import UpstreamRecord
from edgeroot.providers.api import Provider, ProviderType
from edgeroot.psa import KeyAttributes, PsaError, Secret

_MBED_ID_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Target:
    """A provider that this configuration has for keys of upstream's."""

    name: str
    wire_id: int
    provider_type: ProviderType
    provider: Provider


@dataclass(frozen=True, slots=True)
class Taken:
    """A key that can be taken over: by its material, or by its place where the back end keeps it."""

    identity: KeyIdentity
    target: Target
    attributes: KeyAttributes
    material: Secret | None = field(repr=False)
    reference: bytes = b""


@dataclass(frozen=True, slots=True)
class Step:
    """A record, and either the key that it is or why that cannot be taken over."""

    record: UpstreamRecord
    taken: Taken | None
    problem: str = ""


class Planner:
    """Plans for the keys of one store."""

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        authenticators: Sequence[int],
        material: Callable[[int], StoredMaterial],
    ) -> None:
        """``authenticators`` are the configured ones' numbers; ``material`` finds a key of Mbed TLS's by its id."""
        self._by_name: Mapping[str | int, Target] = {one.name: one for one in targets}
        self._by_number: Mapping[str | int, Target] = {one.wire_id: one for one in targets}
        self._authenticators = authenticators
        self._material = material

    def step(self, record: UpstreamRecord) -> Step:
        try:
            return Step(record, self._taken(record))
        except MigrationError as error:
            return Step(record, None, str(error))
        except PsaError as error:
            return Step(record, None, error.detail or error.status.name)

    def _taken(self, record: UpstreamRecord) -> Taken:
        target = (self._by_name if isinstance(record.provider, str) else self._by_number).get(record.provider)
        if target is None:
            which = record.provider if isinstance(record.provider, str) else f"of type {record.provider}"
            raise MigrationError(f"no provider {which} with this key manager is in the configuration")
        if record.provider_uuid not in (None, target.provider.identity.uuid):
            raise MigrationError(f"{target.name} is of another type than the provider of that name that made it")
        identity = KeyIdentity(self._authenticator_of(record), record.application, target.name, record.key_name)
        attributes = decode_attributes(record.attributes)
        if target.provider_type.adopts_material:
            return self._by_material(identity, target, attributes, record.key_id)
        reference = target.provider_type.adopted(record.key_id, attributes)
        attributes = target.provider.check_adopted(reference, attributes)
        return Taken(identity, target, attributes, None, reference)

    def _by_material(self, identity: KeyIdentity, target: Target, attributes: KeyAttributes, key_id: bytes) -> Taken:
        stored = self._material(Reader(key_id).integer(_MBED_ID_BYTES))
        if stored.key_type != attributes.key_type:
            raise MigrationError(f"its key file has a key of type {stored.key_type!r}, not {attributes.key_type!r}")
        # Checked now, and encoded the engine's own way only when it is stored.
        attributes, _ = engine.import_material(replace(attributes, key_bits=stored.key_bits), stored.material)
        return Taken(identity, target, attributes, stored.material)

    def _authenticator_of(self, record: UpstreamRecord) -> int:
        if record.authenticator is not None:
            return record.authenticator
        if len(self._authenticators) != 1:
            raise MigrationError(
                "whose key it is was not written down, and the configuration has several authenticators: "
                "name only the one that upstream had"
            )
        return self._authenticators[0]
