"""Judging what runs on a device: each component that its token lists, against reference values and the policy.

A component whose signer id is all zeros was measured, but nobody has signed it: what lies outside of the signed images.
It matches only a reference value that says the same, never one with a signer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeroot.evidence import SoftwareComponent
from edgeroot.verifier.corim import ReferenceValue
from edgeroot.verifier.findings import ComponentVerdict, Match
from edgeroot.verifier.policy import Policy, UnsignedComponents
from edgeroot.verifier.ports import Knowledge
from edgeroot.verifier.trust import APPROVED_BOOT, CONFIGURATION_UNAVAILABLE, CONTRAINDICATED
from edgeroot.verifier.verdict import Appraisal
from edgeroot.verifier.version import version_of


def judge_components(
    verdict: Appraisal,
    components: Sequence[SoftwareComponent],
    references: set[ReferenceValue],
    endorsements: Knowledge,
    policy: Policy,
) -> None:
    """Every component must be one that is known, and new enough; and of every kind that is known there must be one."""
    good = True
    for component in components:
        match = _match(component, references)
        if match is not None:
            good &= _judge_known(verdict, component, match, endorsements)
        else:
            good &= _judge_unknown(verdict, component, references, policy)
        good &= _is_new_enough(verdict, component, match, policy)
    good &= _has_all(verdict, components, references)
    verdict.vector.executables = APPROVED_BOOT if good and references else CONTRAINDICATED


def _judge_known(
    verdict: Appraisal, component: SoftwareComponent, match: ReferenceValue, endorsements: Knowledge
) -> bool:
    name = _name(component)
    version = f" (version {match.version})" if match.version else ""
    verdict.components.append(_compared(component, Match.MATCHED, version=match.version))
    if (reason := endorsements.component_revoked(match)) is not None:
        verdict.components[-1] = replace(verdict.components[-1], match=Match.REVOKED)
        return verdict.note("component", False, f"{name}{version} was revoked: {reason}")
    return verdict.note("component", True, f"{name} is known{version}")


def _judge_unknown(
    verdict: Appraisal, component: SoftwareComponent, references: set[ReferenceValue], policy: Policy
) -> bool:
    """Whether it may be there all the same."""
    name, measurement = _name(component), component.measurement.hex()
    known = any(one.name == component.measurement_type for one in references)
    verdict.components.append(_compared(component, Match.NOT_MATCHED if known else Match.EXTRA))
    if known:
        return verdict.note("component", False, f"{name} was changed, or is signed by another: {measurement}")
    if not _is_unsigned(component):
        if policy.extra_components:
            return True
        return verdict.note("component", False, f"{name} is not known: {measurement}")
    words = f"{name} is measured but not signed, and nobody says what it should be: {measurement}"
    match policy.unsigned_components:
        case UnsignedComponents.MATCH:
            return verdict.note("component", False, words)
        case UnsignedComponents.WARN:
            verdict.warn("component", words)
            verdict.vector.configuration = max(verdict.vector.configuration, CONFIGURATION_UNAVAILABLE)
            return True
        case UnsignedComponents.IGNORE:
            return verdict.note("component", True, words)


def _is_unsigned(component: SoftwareComponent) -> bool:
    return component.signer_id is not None and not any(component.signer_id)


def _is_new_enough(
    verdict: Appraisal, component: SoftwareComponent, match: ReferenceValue | None, policy: Policy
) -> bool:
    """Every version that is said of it, by the device and by the endorsement, must reach the policy's."""
    least = policy.least_versions.get(component.measurement_type or "")
    if least is None:
        return True
    name = _name(component)
    said = [one for one in (component.version, match.version if match else None) if one]
    if not said:
        return verdict.note("version", False, f"{name} says no version; {least} is the least that the policy accepts")
    for text in said:
        version = version_of(text)
        if version is None:
            words = f"{name} has the version {text!r}, which cannot be compared with {least}, the least accepted"
            return verdict.note("version", False, words)
        if version < least:
            words = f"{name} {text} is older than {least}, the least that the policy accepts"
            return verdict.note("version", False, words)
    return verdict.note("version", True, f"{name} {said[0]} is new enough")


def _has_all(verdict: Appraisal, components: Sequence[SoftwareComponent], references: set[ReferenceValue]) -> bool:
    missing = {one.name for one in references} - {one.measurement_type for one in components}
    for name in sorted(name or "a component without a name" for name in missing):
        verdict.note("component", False, f"{name} is missing")
        verdict.components.append(ComponentVerdict(name=name, match=Match.MISSING))
    return not missing


def _name(component: SoftwareComponent) -> str:
    return component.measurement_type or "a component"


def _compared(component: SoftwareComponent, match: Match, *, version: str | None = None) -> ComponentVerdict:
    return ComponentVerdict(
        name=_name(component),
        match=match,
        measurement=component.measurement,
        signer_id=component.signer_id or b"",
        version=version or component.version or "",
    )


def _match(component: SoftwareComponent, references: set[ReferenceValue]) -> ReferenceValue | None:
    for one in references:
        if (
            one.measurement == component.measurement
            and one.signer_id == component.signer_id
            and one.name in (None, component.measurement_type)
        ):
            return one
    return None
