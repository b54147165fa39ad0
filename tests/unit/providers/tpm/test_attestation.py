"""Quotes and certificates from a TPM that does what no real one does when it is asked to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeroot import engine
from edgeroot.evidence import read_tpm_evidence
from edgeroot.evidence.tpm_attest import Attest, Certified
from edgeroot.providers.api import Function, LoadedKey
from edgeroot.providers.tpm import TpmProvider
from edgeroot.providers.tpm.errors import BAD_AUTH
from edgeroot.providers.tpm.templates import ATTESTATION_ECC
from edgeroot.psa import Algorithm, EccFamily, Hash, KeyAttributes, KeyType, PsaStatus, Secret, UsageFlags
from tests.unit.providers.tpm.scripted import ScriptedLock, ScriptedTpm
from tests.vectors.keys import refused

PAIR = KeyType.ecc_key_pair(EccFamily.SECP_R1)
P256 = KeyAttributes(PAIR, 256, UsageFlags(sum(UsageFlags)), Algorithm.ecdsa(Hash.SHA_256))
CHALLENGE = bytes(range(32))


@pytest.fixture
def tpm() -> ScriptedTpm:
    tpm = ScriptedTpm()
    tpm.commands = {0x148, 0x158}
    return tpm


def started(tpm: ScriptedTpm) -> TpmProvider:
    provider = TpmProvider(tpm.connect)
    provider.start(None)
    return provider


def loaded(provider: TpmProvider, attributes: KeyAttributes = P256) -> LoadedKey:
    """A key from outside, as the keys that this TPM makes are none."""
    pair = engine.generate(P256)
    material = engine.export(P256, pair)
    if attributes.key_type.is_public_key:
        material = Secret(engine.load(P256, pair).export_public())
    return provider.load(provider.create(None, attributes, material).reference, attributes)


def test_a_quote_has_the_values_that_were_quoted(tpm: ScriptedTpm) -> None:
    tpm.certificate, tpm.extends_at_quote = b"certificate", 4
    evidence = read_tpm_evidence(started(tpm).attestation_token(CHALLENGE))
    assert evidence.pcrs == tuple(tpm.pcrs.values())
    assert evidence.endorsement_certificate == b"certificate"
    assert evidence.attestation_key == bytes(ATTESTATION_ECC)
    assert Attest.from_bytes(evidence.attest).extra_data == CHALLENGE
    assert tpm.count("quote") == 5


def test_values_that_never_stand_still_are_not_quoted(tpm: ScriptedTpm) -> None:
    tpm.extends_at_quote = 5
    with refused(PsaStatus.COMMUNICATION_FAILURE):
        started(tpm).attestation_token(CHALLENGE)


def test_a_malformed_quote_is_the_tpms_fault(tpm: ScriptedTpm) -> None:
    tpm.malformed_quote = True
    with refused(PsaStatus.COMMUNICATION_FAILURE):
        started(tpm).attestation_token(CHALLENGE)


def test_what_is_no_quote_is_the_tpms_fault(tpm: ScriptedTpm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.providers.tpm.scripted.Quoted", lambda *_: Certified(b"name", b"qualified"))
    with refused(PsaStatus.COMMUNICATION_FAILURE):
        started(tpm).attestation_token(CHALLENGE)


def test_a_certificate_that_cannot_be_read_is_left_out(tpm: ScriptedTpm) -> None:
    provider = TpmProvider(tpm.connect, lock=ScriptedLock())
    provider.start(None)
    tpm.certificate, tpm.fails = b"certificate", {"nv_content": [0x148]}
    assert not read_tpm_evidence(provider.attestation_token(CHALLENGE)).endorsement_certificate
    tpm.fails = {"nv_content": [0xA000A]}  # the way to the TPM broke: all is done again
    assert read_tpm_evidence(provider.attestation_token(CHALLENGE)).endorsement_certificate == b"certificate"


def test_challenges_of_other_sizes_are_refused(tpm: ScriptedTpm) -> None:
    provider = started(tpm)
    key = loaded(provider)
    for size_bytes in (0, 31, 33, 65):
        with refused(PsaStatus.INVALID_ARGUMENT):
            provider.attestation_token(bytes(size_bytes))
        with refused(PsaStatus.INVALID_ARGUMENT):
            provider.key_statement(key, bytes(size_bytes))


def test_a_certified_key_comes_with_its_public_area(tpm: ScriptedTpm) -> None:
    provider = started(tpm)
    key = loaded(provider)
    for _ in range(2):
        evidence = read_tpm_evidence(provider.key_statement(key, CHALLENGE))
        assert evidence.public in key.reference
        assert evidence.public
        assert isinstance(Attest.from_bytes(evidence.attest).attested, Certified)
    assert (
        tpm.count("create_primary") == 3
    )  # the storage key's at the start and at the first use, and the attesting one


def test_a_public_key_is_not_certified(tpm: ScriptedTpm) -> None:
    provider = started(tpm)
    with refused(PsaStatus.INVALID_ARGUMENT):
        provider.key_statement(loaded(provider, replace(P256, key_type=PAIR.public_of_pair)), CHALLENGE)


def test_a_hierarchys_wrong_authorisation_is_not_blamed_on_the_key(tpm: ScriptedTpm) -> None:
    provider = started(tpm)
    key = loaded(provider)
    tpm.fails = {"create_primary": [BAD_AUTH | 0x900]}
    with refused(PsaStatus.HARDWARE_FAILURE):
        provider.key_statement(key, CHALLENGE)
    tpm.fails = {"certify": [BAD_AUTH | 0x900]}
    with refused(PsaStatus.DATA_CORRUPT):
        provider.key_statement(key, CHALLENGE)


def test_a_tpm_without_what_it_takes_does_not_offer_it(tpm: ScriptedTpm) -> None:
    both = {Function.INITIAL_ATTEST_GET_TOKEN, Function.KEY_STATEMENT}
    assert both <= started(tpm).capabilities().offered
    tpm.pcrs = {}
    assert started(tpm).capabilities().offered & both == {Function.KEY_STATEMENT}
    tpm.commands = {0x158}
    assert not started(tpm).capabilities().offered & both
