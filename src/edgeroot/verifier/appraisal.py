"""Judging a PSA token: every check in its order (RFC 9783, clause 7; RFC 9334), and in words why one fails.

Whatever fails up to the nonce makes the evidence worthless, and nothing else of it is looked at. Later checks each move
their own entry of the trustworthiness vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edgeroot.evidence import (
    AuthenticationError,
    EvidenceError,
    Lifecycle,
    Profile,
    PsaClaims,
    PsaToken,
    SoftwareComponent,
    read_token,
    verify_sign1,
)
from edgeroot.verifier.corim import ReferenceValue
from edgeroot.verifier.findings import Check, ComponentVerdict, Findings, Match
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.ports import Knowledge
from edgeroot.verifier.trust import (
    APPROVED,
    APPROVED_BOOT,
    CONTRAINDICATED,
    CRYPTOGRAPHY_FAILED,
    UNRECOGNIZED,
    Status,
    TrustVector,
)


@dataclass(slots=True)
class Appraisal:
    """The verdict on one piece of evidence. ``claims`` are None unless it is a token, and what it says it is.

    ``device`` names who proved to have made it: the instance id, or the name of a TPM's attestation key.
    """

    vector: TrustVector = field(default_factory=TrustVector)
    checks: list[Check] = field(default_factory=list)
    components: list[ComponentVerdict] = field(default_factory=list)
    claims: PsaClaims | None = None
    device: bytes = b""

    @property
    def status(self) -> Status:
        return self.vector.status()

    def note(self, name: str, passed: bool, words: str) -> bool:
        """Write a check down; whether it passed."""
        self.checks.append(Check(name, passed, words))
        return passed

    def findings(self) -> Findings:
        return Findings(tuple(self.checks), tuple(self.components))


def appraise(data: bytes, *, nonce: bytes, endorsements: Knowledge, policy: Policy) -> Appraisal:
    """Judge a token that answers this nonce. Never raises for what is in it."""
    verdict = Appraisal()
    token = _authentic(verdict, data, nonce, endorsements)
    if token is None:
        return verdict
    claims = verdict.claims = token.claims
    verdict.device = claims.instance_id
    verdict.vector.instance_identity = APPROVED
    if (reason := endorsements.device_revoked(claims.instance_id)) is not None:
        verdict.vector.instance_identity = CONTRAINDICATED
        verdict.note("revocation", False, f"the device was revoked: {reason}")
    _judge_configuration(verdict, token.profile, claims, policy)
    references = endorsements.components_of(claims.implementation_id)
    _judge_hardware(verdict, claims, is_known=references is not None)
    _judge_executables(verdict, claims, references or set(), endorsements, policy)
    return verdict


def _authentic(verdict: Appraisal, data: bytes, nonce: bytes, endorsements: Knowledge) -> PsaToken | None:
    """The token, if a known device signed it for this nonce."""
    verdict.vector.instance_identity = CRYPTOGRAPHY_FAILED
    try:
        token = read_token(data)
    except EvidenceError as error:
        verdict.note("format", False, str(error))
        return None
    verdict.note("format", True, f"a token of {token.profile.value}")
    known = endorsements.key_of(token.claims.instance_id)
    if known is None:
        verdict.vector.instance_identity = UNRECOGNIZED
        verdict.note("instance", False, f"no endorsement knows device {token.claims.instance_id.hex()}")
        return None
    verdict.note("instance", True, f"device {token.claims.instance_id.hex()} is endorsed")
    try:
        verify_sign1(token.message, known.key)
    except AuthenticationError as error:
        verdict.note("signature", False, str(error))
        return None
    verdict.note("signature", True, "the device's attestation key signed it")
    if not verdict.note("nonce", token.claims.nonce == nonce, _fresh(token.claims.nonce == nonce)):
        return None
    if known.implementation_id != token.claims.implementation_id:
        verdict.vector.instance_identity = UNRECOGNIZED
        verdict.note("implementation", False, "the device is endorsed as one of another implementation")
        return None
    return token


def _fresh(is_fresh: bool) -> str:
    return "it answers this challenge" if is_fresh else "it answers another challenge: it is old, or another's"


def _judge_configuration(verdict: Appraisal, profile: Profile, claims: PsaClaims, policy: Policy) -> None:
    """Profile, life cycle and client."""
    lifecycle = Lifecycle(claims.lifecycle & ~0xFF)
    good = verdict.note(
        "profile",
        policy.legacy_profile or profile is not Profile.LEGACY,
        f"the policy {'accepts' if policy.legacy_profile or profile is not Profile.LEGACY else 'refuses'} the profile",
    )
    trusted = lifecycle in policy.lifecycles
    good &= verdict.note(
        "lifecycle", trusted, f"the device is in the state {lifecycle.words}" + ("" if trusted else ": no trust")
    )
    expected = policy.client_ids is None or claims.client_id in policy.client_ids
    good &= verdict.note(
        "client", expected, f"client {claims.client_id} asked" + ("" if expected else ", and none that may")
    )
    verdict.vector.configuration = APPROVED if good else CONTRAINDICATED


def _judge_hardware(verdict: Appraisal, claims: PsaClaims, *, is_known: bool) -> None:
    words = f"implementation {claims.implementation_id.hex()}" + (
        " is known" if is_known else ": nobody says what it may run"
    )
    verdict.note("hardware", is_known, words)
    verdict.vector.hardware = APPROVED if is_known else UNRECOGNIZED


def _judge_executables(
    verdict: Appraisal, claims: PsaClaims, references: set[ReferenceValue], endorsements: Knowledge, policy: Policy
) -> None:
    """Every component must be one that is known; and of every kind that is known there must be one."""
    good = True
    for component in claims.software_components:
        match = _match(component, references)
        name = component.measurement_type or "a component"
        if match is not None:
            version = f" (version {match.version})" if match.version else ""
            verdict.components.append(_compared(component, Match.MATCHED, version=match.version))
            if (reason := endorsements.component_revoked(match)) is not None:
                good = verdict.note("component", False, f"{name}{version} was revoked: {reason}")
                verdict.components[-1] = replace(verdict.components[-1], match=Match.REVOKED)
                continue
            verdict.note("component", True, f"{name} is known{version}")
            continue
        known = any(one.name == component.measurement_type for one in references)
        verdict.components.append(_compared(component, Match.NOT_MATCHED if known else Match.EXTRA))
        if known or not policy.extra_components:
            words = "was changed, or is signed by another" if known else "is not known"
            good = verdict.note("component", False, f"{name} {words}: {component.measurement.hex()}")
    good &= _has_all(verdict, claims.software_components, references)
    verdict.vector.executables = APPROVED_BOOT if good and references else CONTRAINDICATED


def _has_all(verdict: Appraisal, components: Sequence[SoftwareComponent], references: set[ReferenceValue]) -> bool:
    missing = {one.name for one in references} - {one.measurement_type for one in components}
    for name in sorted(name or "a component without a name" for name in missing):
        verdict.note("component", False, f"{name} is missing")
        verdict.components.append(ComponentVerdict(name=name, match=Match.MISSING))
    return not missing


def _compared(component: SoftwareComponent, match: Match, *, version: str | None = None) -> ComponentVerdict:
    return ComponentVerdict(
        name=component.measurement_type or "a component",
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
