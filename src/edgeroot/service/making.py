"""What is to be made in a back end, and the ways to make it: in steps, in a host process, or here."""

from __future__ import annotations

from dataclasses import dataclass

from edgeroot.providers.api import OBJECT_ATTRIBUTES, Created
from edgeroot.psa import KeyAttributes, PsaError, PsaStatus, Secret
from edgeroot.service.effects import StepsTo, carry_out, expect
from edgeroot.service.jobs import PLAN, Job, JobOutcome
from edgeroot.service.mounted import MountedProvider


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be made. ``job`` is the creation as a job, where it must not run here.

    ``max_keys`` is how many keys and objects the application may have in the store; 0 is no bound.
    """

    attributes: KeyAttributes
    material: Secret | None
    job: Job | None
    max_keys: int = 0

    def plan(self, mounted: MountedProvider) -> StepsTo[bytes]:
        """The place that it would get."""
        if mounted.stepped is not None:
            return (yield from carry_out(mounted.stepped.plan(self.attributes)))
        if mounted.remote:
            return (yield from _planned_elsewhere(Job(mounted.index, PLAN, b"", attributes=bytes(self.attributes))))
        planned = mounted.provider.plan(self.attributes)
        if planned is None:
            raise PsaError(PsaStatus.GENERIC_ERROR, "a provider that keeps keys planned no place for one")
        return planned

    def make(self, mounted: MountedProvider, planned: bytes | None) -> StepsTo[Created]:
        """Make it, at the planned place if there is one."""
        if mounted.stepped is not None and planned is not None:
            return (yield from carry_out(mounted.stepped.create(planned, self.attributes, self.material)))
        if self.job is None:
            return mounted.provider.create(planned, self.attributes, self.material)
        outcome = expect(JobOutcome, (yield self.job.at(planned or b"")))
        outcome.raise_for_status()
        return Created(outcome.reference, KeyAttributes.from_bytes(outcome.attributes))


@dataclass(frozen=True, slots=True)
class NewObject:
    """A stored object to be made, or what an existing one shall hold. ``job`` is the same as a job.

    ``max_keys`` is as for a key.
    """

    data: Secret
    flags: int
    job: Job
    max_keys: int = 0
    attributes: KeyAttributes = OBJECT_ATTRIBUTES

    def plan(self, mounted: MountedProvider) -> StepsTo[bytes]:
        """The place that it would get."""
        if mounted.stepped is not None:
            return (yield from carry_out(mounted.stepped.plan_object()))
        if mounted.remote:
            return (yield from _planned_elsewhere(Job(mounted.index, PLAN, b"")))
        return mounted.provider.plan_object()

    def make(self, mounted: MountedProvider, planned: bytes) -> StepsTo[Created]:
        """Make it at the planned place, or replace what is there."""
        if mounted.stepped is not None:
            yield from carry_out(mounted.stepped.set_object(planned, self.data, self.flags))
        elif mounted.remote:
            expect(JobOutcome, (yield self.job.at(planned))).raise_for_status()
        else:
            mounted.provider.set_object(planned, self.data, self.flags)
        return Created(planned, self.attributes)


def _planned_elsewhere(job: Job) -> StepsTo[bytes]:
    outcome = expect(JobOutcome, (yield job))
    outcome.raise_for_status()
    return outcome.reference
