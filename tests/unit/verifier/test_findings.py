from __future__ import annotations

from dataclasses import replace

import pytest

from edgeroot.evidence import SoftwareComponent, write_tpm_evidence
from edgeroot.verifier.corim import Endorsements, ReferenceValue
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.findings import Check, Findings, Match, components_from_json, components_to_json
from edgeroot.verifier.policy import Policy
from tests.unit.evidence.test_tpm_evidence import QUOTE
from tests.unit.verifier import test_quote
from tests.unit.verifier.test_appraisal import BOOT, CLAIMS, CRYPTO, KNOWN, judged, token

STRANGE = SoftwareComponent(measurement=b"\x0a" * 32, signer_id=b"\2" * 32, measurement_type="App", version="9")


class Revoking(Endorsements):
    def component_revoked(self, reference: ReferenceValue) -> str | None:
        return "a hole" if reference.name == "BL" else None


def compared(*components: SoftwareComponent, known: Endorsements = KNOWN, policy: Policy | None = None) -> Findings:
    claims = replace(CLAIMS, software_components=components)
    return judged(token(claims), endorsements=known, policy=policy).findings()


def matches(findings: Findings) -> list[tuple[str, str]]:
    return [(one.name, one.match.value) for one in findings.components]


def test_components_keep_the_order_of_the_token() -> None:
    found = compared(CRYPTO, BOOT)
    assert matches(found) == [("PRoT", "matched"), ("BL", "matched")]
    boot = found.components[1]
    assert (boot.version, boot.measurement, boot.signer_id) == ("1.0", BOOT.measurement, BOOT.signer_id)
    assert found.failed() == ()


def test_what_does_not_match() -> None:
    changed = replace(BOOT, measurement=b"\x0b" * 32, version="6.6")
    found = compared(changed, STRANGE)
    assert matches(found) == [("BL", "not-matched"), ("App", "extra"), ("PRoT", "missing")]
    assert [one.version for one in found.components] == ["6.6", "9", ""]
    assert [one.name for one in found.failed()] == ["component"] * 3
    allowed = compared(BOOT, CRYPTO, STRANGE, policy=Policy(extra_components=True))
    assert allowed.components[-1].match is Match.EXTRA
    assert allowed.failed() == ()


def test_a_revoked_component() -> None:
    known = Revoking(keys=KNOWN.keys, references=KNOWN.references)
    assert matches(compared(BOOT, CRYPTO, known=known)) == [("BL", "revoked"), ("PRoT", "matched")]


def test_pcrs_are_components_too() -> None:
    found = test_quote.judged(write_tpm_evidence(QUOTE)).findings()
    assert matches(found) == [(f"PCR {index}", "matched") for index in (0, 4, 7)]
    assert [one.version for one in found.components] == ["", "1.0", ""]


def test_what_refuses_a_device_is_said_before_what_is_to_be_looked_at() -> None:
    doubt, failure = Check("boot", False, "a doubt", warning=True), Check("component", False, "it was changed")
    good = Check("signature", True, "signed")
    assert Findings((good, doubt, failure)).why() == "it was changed"
    assert Findings((good, doubt)).why() == "a doubt"
    assert Findings((good,)).why() == ""


def test_findings_are_kept_as_text() -> None:
    found = compared(replace(BOOT, measurement=b"\x0b" * 32), STRANGE)
    assert Findings.from_json(found.to_json()) == found
    assert components_from_json(components_to_json(found.components)) == found.components
    for text in ("", "{}", "[]", '{"checks": [], "components": [{"name": "BL"}]}'):
        with pytest.raises(VerifierError, match="damaged"):
            Findings.from_json(text)
