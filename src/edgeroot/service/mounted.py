"""The providers of a service, as configured."""

from __future__ import annotations

from dataclasses import dataclass

from edgeroot.providers.api import Function, Provider, ProviderIdentity, SteppedProvider
from edgeroot.service.uses import FUNCTION_OF_OPCODE
from edgeroot.wire.opcodes import SPECS, Opcode

FIRST_EXTENDED_PROVIDER_ID = 16


@dataclass(frozen=True, slots=True)
class MountedProvider:
    """One configured provider instance.

    ``wire_id`` is the number by which requests name it: the type's own for the first instance, from 16 for more of
    them. ``store`` is the index of its key store. ``remote`` providers live in host processes: every call is a job.
    Where there is a ``stepped`` form, it is this process's own way to a back end, and every operation goes through it.
    """

    index: int
    wire_id: int
    name: str
    store: int
    provider: Provider
    remote: bool = False
    stepped: SteppedProvider | None = None

    @property
    def identity(self) -> ProviderIdentity:
        return self.provider.identity

    @property
    def listed_to_all(self) -> bool:
        """Upstream's clients refuse a whole ListProviders answer with an id in it that they do not know."""
        return self.wire_id < FIRST_EXTENDED_PROVIDER_ID

    @property
    def objects_name(self) -> str:
        """Under which the store has the names of stored objects; no provider is called so, for the NUL in it."""
        return f"{self.name}\0objects"

    def opcodes(self, *, extended: bool) -> tuple[int, ...]:
        """What the provider answers to, in ascending order; to upstream's clients only what they know."""
        offered = [
            opcode
            for opcode, function in FUNCTION_OF_OPCODE.items()
            if self.offers(function) and (extended or SPECS[opcode].listed_to_all)
        ]
        return tuple(sorted([*offered, Opcode.CAN_DO_CRYPTO]))

    def offers(self, function: Function) -> bool:
        return function in self.provider.capabilities().offered
