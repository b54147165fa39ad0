"""Judging a TPM's quote: whose it is, that it is fresh, and each PCR, or what extended it, against reference values.

A device is known by the name of its attestation key (Part 1, clause 16), which stands where a PSA device has its
instance id. The name is a hash of the key, so nothing else need be known of it. PCRs 1, 3, 5 and 7 measure
configuration, the others what was executed (TCG PC Client Platform Firmware Profile, clause 3.3.4).
"""

from __future__ import annotations

from typing import Final

from edgeroot.evidence import (
    AuthenticationError,
    ChallengeError,
    EvidenceError,
    MalformedError,
    VerifiedQuote,
    read_tpm_evidence,
    verify_quote,
)
from edgeroot.evidence.tpm_structures import Public
from edgeroot.psa import bound_challenge
from edgeroot.verifier.boot_log import judge_log
from edgeroot.verifier.corim import ReferenceValue, event_pcr_of, pcr_of
from edgeroot.verifier.findings import ComponentVerdict, Match
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.ports import Knowledge
from edgeroot.verifier.trust import (
    APPROVED,
    APPROVED_BOOT,
    CONTRAINDICATED,
    CRYPTOGRAPHY_FAILED,
    NONE,
    UNRECOGNIZED,
)
from edgeroot.verifier.verdict import Appraisal

_CONFIGURATION: Final = frozenset({1, 3, 5, 7})


def appraise_quote(data: bytes, *, nonce: bytes, endorsements: Knowledge, policy: Policy) -> Appraisal:
    """Judge a quote that answers this nonce. Never raises for what is in it."""
    verdict = Appraisal()
    verdict.vector.instance_identity = CRYPTOGRAPHY_FAILED
    try:
        evidence = read_tpm_evidence(data)
        name = Public.from_bytes(evidence.attestation_key).name
    except EvidenceError as error:
        verdict.note("format", False, str(error))
        return verdict
    known = endorsements.key_of(name)
    if known is None:
        verdict.vector.instance_identity = UNRECOGNIZED
        verdict.note("instance", False, f"no endorsement knows the attestation key {name.hex()}")
        return verdict
    verdict.note("instance", True, f"the attestation key {name.hex()} is endorsed")
    try:
        quote = verify_quote(evidence, trusted_name=name, qualifying_data=qualifying_data(nonce, policy), expected={})
    except EvidenceError as error:
        verdict.note(_check_of(error), False, str(error))
        return verdict
    verdict.note("signature", True, "the TPM signed it for this challenge")
    verdict.device = name
    verdict.vector.instance_identity = APPROVED
    if (reason := endorsements.device_revoked(name)) is not None:
        verdict.vector.instance_identity = CONTRAINDICATED
        verdict.note("revocation", False, f"the device was revoked: {reason}")
    references = endorsements.components_of(known.implementation_id)
    words = f"class {known.implementation_id.hex()}" + (" is known" if references else ": nobody says what it may run")
    verdict.vector.hardware = APPROVED if verdict.note("hardware", bool(references), words) else UNRECOGNIZED
    _judge_pcrs(verdict, quote, evidence.event_log, endorsements, references or set())
    return verdict


def qualifying_data(nonce: bytes, policy: Policy) -> bytes:
    """What the TPM was given: the nonce, or what the service makes of it and of who asked."""
    if policy.tpm_application is None:
        return nonce
    return bound_challenge(nonce, authenticator=policy.tpm_authenticator, application=policy.tpm_application)


def _check_of(error: EvidenceError) -> str:
    if isinstance(error, ChallengeError):
        return "nonce"
    if isinstance(error, MalformedError):
        return "format"
    return "signature" if isinstance(error, AuthenticationError) else "quote"


def _judge_pcrs(
    verdict: Appraisal,
    quote: VerifiedQuote,
    log: bytes,
    endorsements: Knowledge,
    references: set[ReferenceValue],
) -> None:
    """Every PCR that has reference values must have one of them, and every event that extended one that has some for
    events. Other PCRs are not looked at, but that the log must fit all that was quoted.
    """
    good: dict[bool, bool] = {}

    def found(index: int, check: str, passed: bool, words: str) -> None:
        is_configuration = index in _CONFIGURATION
        good[is_configuration] = verdict.note(check, passed, words) and good.get(is_configuration, True)

    for index in sorted({number for one in references if (number := pcr_of(one)) is not None}):
        found(index, "component", *_judge_pcr(verdict, index, quote.pcrs.get(index), endorsements, references))
    told = {index for one in references for index in (pcr_of(one), event_pcr_of(one)) if index is not None}
    for one in judge_log(log, quote, references, endorsements):
        if one.component is not None:
            verdict.components.append(one.component)
        # That the log fits affirms nothing of a PCR that nobody has said anything of.
        if one.passed and one.index not in told:
            verdict.note(one.check, True, one.words)
        else:
            found(one.index, one.check, one.passed, one.words)
    verdict.vector.configuration = _claim(good.get(True), APPROVED)
    verdict.vector.executables = _claim(good.get(False), APPROVED_BOOT)


def _judge_pcr(
    verdict: Appraisal, index: int, value: bytes | None, endorsements: Knowledge, references: set[ReferenceValue]
) -> tuple[bool, str]:
    def compared(match: Match, version: str | None = None) -> None:
        one = ComponentVerdict(name=f"PCR {index}", match=match, measurement=value or b"", version=version or "")
        verdict.components.append(one)

    if value is None:
        compared(Match.MISSING)
        return False, f"PCR {index} was not quoted"
    known = next((one for one in references if pcr_of(one) == index and one.measurement == value), None)
    if known is None:
        compared(Match.NOT_MATCHED)
        return False, f"PCR {index} has another value than any that is known: {value.hex()}"
    if (reason := endorsements.component_revoked(known)) is not None:
        compared(Match.REVOKED, known.version)
        return False, f"PCR {index} has a value that was revoked: {reason}"
    compared(Match.MATCHED, known.version)
    return True, f"PCR {index} is known" + (f" (version {known.version})" if known.version else "")


def _claim(good: bool | None, approved: int) -> int:
    if good is None:
        return NONE
    return approved if good else CONTRAINDICATED
