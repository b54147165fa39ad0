"""What runs on a device, judged by reference values and the policy: versions, and what nobody has signed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeroot.evidence import SoftwareComponent
from edgeroot.verifier.corim import Endorsements, ReferenceValue, read_corim, write_corim
from edgeroot.verifier.findings import Match
from edgeroot.verifier.policy import Policy, UnsignedComponents
from edgeroot.verifier.trust import Status
from edgeroot.verifier.verdict import Appraisal
from edgeroot.verifier.version import Version, version_of
from tests.unit.verifier.test_appraisal import BOOT, CLAIMS, CRYPTO, IMPLEMENTATION, KNOWN, judged, token

NOBODY = bytes(32)
KERNEL = SoftwareComponent(measurement=b"\5" * 32, signer_id=NOBODY, measurement_type="kernel")
KNOWN_KERNEL = ReferenceValue(measurement=b"\5" * 32, signer_id=NOBODY, name="kernel", version="6.1")


def knowing(*further: ReferenceValue) -> Endorsements:
    return Endorsements(keys=KNOWN.keys, references={IMPLEMENTATION: {*KNOWN.references[IMPLEMENTATION], *further}})


def running(
    *components: SoftwareComponent, endorsements: Endorsements = KNOWN, policy: Policy | None = None
) -> Appraisal:
    return judged(token(replace(CLAIMS, software_components=components)), endorsements=endorsements, policy=policy)


def words(appraisal: Appraisal) -> list[str]:
    return [one.words for one in appraisal.checks if not one.passed]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1", (1, 0, 0, 0)),
        ("1.2", (1, 2, 0, 0)),
        ("1.2.3", (1, 2, 3, 0)),
        ("1.2.3+4", (1, 2, 3, 4)),
        ("4294967295.0.0", (4294967295, 0, 0, 0)),
        ("", None),
        ("v1", None),
        ("1.", None),
        ("1.2.3.4", None),
        ("1.2.3-rc1", None),
        ("1.2.3+", None),
        ("-1", None),
        (" 1", None),
        ("1\n", None),
        ("\u0661", None),
        ("1" * 11, None),
    ],
)
def test_versions(text: str, version: tuple[int, ...] | None) -> None:
    assert version_of(text) == version


def test_versions_compare_as_numbers() -> None:
    versions = [version_of(text) or Version(0) for text in ("0.9.9", "1", "1.9", "1.10.0", "1.10.0+1", "2.0.0")]
    assert versions == sorted(versions)
    assert [str(one) for one in versions[1:5]] == ["1.0.0", "1.9.0", "1.10.0", "1.10.0+1"]


@pytest.mark.parametrize(
    ("said", "endorsed", "found"),
    [
        ("1.2.0", None, None),
        ("1.10.0", None, None),
        (None, "1.2.0", None),
        ("1.2.0+1", "1.2.0", None),
        ("1.1.0", None, "PRoT 1.1.0 is older than 1.2.0, the least that the policy accepts"),
        ("1.3.0", "1.1.0", "PRoT 1.1.0 is older than 1.2.0, the least that the policy accepts"),
        ("1.1.9+7", "1.2.0", "PRoT 1.1.9+7 is older than 1.2.0, the least that the policy accepts"),
        (None, None, "PRoT says no version; 1.2.0 is the least that the policy accepts"),
        ("newest", "1.2.0", "PRoT has the version 'newest', which cannot be compared with 1.2.0, the least accepted"),
    ],
)
def test_a_floor_of_versions(said: str | None, endorsed: str | None, found: str | None) -> None:
    reference = ReferenceValue(measurement=b"\6" * 32, signer_id=b"\2" * 32, name="PRoT", version=endorsed)
    component = replace(CRYPTO, measurement=b"\6" * 32, version=said)
    policy = Policy(least_versions={"PRoT": Version(1, 2)})
    appraisal = running(BOOT, component, endorsements=knowing(reference), policy=policy)
    assert words(appraisal) == ([found] if found else [])
    assert appraisal.vector.executables == (96 if found else 3)
    assert running(BOOT, component, endorsements=knowing(reference)).status is Status.AFFIRMING


def test_a_floor_holds_for_what_nobody_knows_too() -> None:
    app = SoftwareComponent(measurement=b"\7" * 32, signer_id=b"\7" * 32, measurement_type="App", version="0.9")
    policy = Policy(extra_components=True, least_versions={"App": Version(1)})
    assert words(running(BOOT, CRYPTO, app, policy=policy)) == [
        "App 0.9 is older than 1.0.0, the least that the policy accepts"
    ]


def test_an_unsigned_component_that_is_known() -> None:
    for choice in UnsignedComponents:
        policy = Policy(unsigned_components=choice)
        appraisal = running(BOOT, CRYPTO, KERNEL, endorsements=knowing(KNOWN_KERNEL), policy=policy)
        assert appraisal.status is Status.AFFIRMING
        assert appraisal.components[-1].match is Match.MATCHED
    known = knowing(KNOWN_KERNEL)
    assert read_corim(write_corim("kernels", known)).references == known.references
    assert words(running(BOOT, CRYPTO, endorsements=known)) == ["kernel is missing"]


@pytest.mark.parametrize("choice", UnsignedComponents)
def test_an_unsigned_component_that_was_changed(choice: UnsignedComponents) -> None:
    changed = replace(KERNEL, measurement=b"\6" * 32)
    policy = Policy(unsigned_components=choice, extra_components=True)
    appraisal = running(BOOT, CRYPTO, changed, endorsements=knowing(KNOWN_KERNEL), policy=policy)
    assert (appraisal.status, appraisal.vector.executables) == (Status.CONTRAINDICATED, 96)
    assert words(appraisal) == ["kernel was changed, or is signed by another: " + "06" * 32]


@pytest.mark.parametrize("choice", UnsignedComponents)
def test_without_its_signer_a_signed_component_matches_nothing(choice: UnsignedComponents) -> None:
    policy = Policy(unsigned_components=choice, extra_components=True)
    for signer_id in (NOBODY, bytes(48), bytes(64)):
        appraisal = running(BOOT, replace(CRYPTO, signer_id=signer_id), policy=policy)
        assert words(appraisal) == ["PRoT was changed, or is signed by another: " + "03" * 32]
        unnamed = ReferenceValue(measurement=b"\3" * 32, signer_id=b"\2" * 32)
        anything = Endorsements(keys=KNOWN.keys, references={IMPLEMENTATION: {unnamed}})
        stripped = running(replace(CRYPTO, signer_id=signer_id), endorsements=anything, policy=policy)
        assert stripped.status is Status.CONTRAINDICATED


def test_a_signer_does_not_make_an_unsigned_reference_match() -> None:
    appraisal = running(BOOT, CRYPTO, replace(KERNEL, signer_id=b"\2" * 32), endorsements=knowing(KNOWN_KERNEL))
    assert words(appraisal) == ["kernel was changed, or is signed by another: " + "05" * 32]


@pytest.mark.parametrize(
    ("choice", "status", "vector"),
    [
        (UnsignedComponents.MATCH, Status.CONTRAINDICATED, (2, 96)),
        (UnsignedComponents.WARN, Status.WARNING, (36, 3)),
        (UnsignedComponents.IGNORE, Status.AFFIRMING, (2, 3)),
    ],
)
def test_an_unsigned_component_that_nobody_knows(
    choice: UnsignedComponents, status: Status, vector: tuple[int, int]
) -> None:
    for extra in (False, True):
        policy = Policy(unsigned_components=choice, extra_components=extra)
        appraisal = running(BOOT, CRYPTO, KERNEL, policy=policy)
        assert appraisal.status is status
        assert (appraisal.vector.configuration, appraisal.vector.executables) == vector
        said = [one for one in appraisal.checks if "kernel is measured but not signed" in one.words]
        assert [(one.passed, one.warning) for one in said] == [(status is Status.AFFIRMING, status is Status.WARNING)]
        assert appraisal.components[-1].match is Match.EXTRA


def test_a_warning_does_not_hide_what_is_worse() -> None:
    policy = Policy(client_ids=frozenset({7}))
    appraisal = running(BOOT, CRYPTO, KERNEL, policy=policy)
    assert (appraisal.status, appraisal.vector.configuration) == (Status.CONTRAINDICATED, 96)
