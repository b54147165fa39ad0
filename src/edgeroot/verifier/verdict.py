"""The verdict on one piece of evidence, as it comes about."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeroot.evidence import PsaClaims
from edgeroot.verifier.findings import Check, ComponentVerdict, Findings
from edgeroot.verifier.trust import Status, TrustVector


@dataclass(slots=True)
class Appraisal:
    """The verdict on one piece of evidence. ``claims`` are None unless it is a token, and what it says it is.

    ``device`` names who proved to have made it: the instance id, or the name of a TPM's attestation key.
    ``attested_key`` is, as SubjectPublicKeyInfo in DER, a key that the device states to have made and never let out.
    """

    vector: TrustVector = field(default_factory=TrustVector)
    checks: list[Check] = field(default_factory=list)
    components: list[ComponentVerdict] = field(default_factory=list)
    claims: PsaClaims | None = None
    device: bytes = b""
    attested_key: bytes | None = None

    @property
    def status(self) -> Status:
        return self.vector.status()

    def note(self, name: str, passed: bool, words: str) -> bool:
        """Write a check down; whether it passed."""
        self.checks.append(Check(name, passed, words))
        return passed

    def warn(self, name: str, words: str) -> None:
        """Write down what is no reason to refuse the device, but one to look at it."""
        self.checks.append(Check(name, False, words, warning=True))

    def findings(self) -> Findings:
        return Findings(tuple(self.checks), tuple(self.components))
