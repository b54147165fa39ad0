"""A genuine quote (tpm2-tools on swtpm), and forgeries, judged as tokens are."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.evidence import write_tpm_evidence
from edgeroot.psa import bound_challenge
from edgeroot.verifier.corim import Endorsements, ReferenceValue, VerificationKey, read_corim, write_corim
from edgeroot.verifier.desk import Desk, revoke
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.ports import Revoked
from edgeroot.verifier.quote import appraise_quote
from edgeroot.verifier.store import open_store
from edgeroot.verifier.trust import Status
from edgeroot.verifier.verdict import Appraisal
from tests.unit.evidence.test_tpm_evidence import CERTIFIED, NAME, PCR_4, QUALIFYING, QUOTE, ZEROS, forged
from tests.unit.verifier.test_desk import CORIM, Surroundings

KIND = b"gateway, revision 2"
DEVICE = VerificationKey(
    implementation_id=KIND, instance_id=NAME, key=ec.generate_private_key(ec.SECP256R1()).public_key()
)


def pcr(index: int, value: bytes, version: str | None = None) -> ReferenceValue:
    return ReferenceValue(measurement=value, signer_id=b"", name=f"PCR {index}", version=version)


KNOWN = Endorsements(
    keys={NAME: DEVICE}, references={KIND: {pcr(0, ZEROS), pcr(4, PCR_4, "1.0"), pcr(4, b"\7" * 32), pcr(7, ZEROS)}}
)


def judged(
    data: bytes, *, nonce: bytes = QUALIFYING, endorsements: Endorsements = KNOWN, policy: Policy | None = None
) -> Appraisal:
    return appraise_quote(data, nonce=nonce, endorsements=endorsements, policy=policy or Policy())


def failed(appraisal: Appraisal) -> list[tuple[str, str]]:
    return [(one.name, one.words) for one in appraisal.checks if not one.passed]


def test_a_good_quote() -> None:
    appraisal = judged(write_tpm_evidence(QUOTE))
    assert failed(appraisal) == []
    assert appraisal.status is Status.AFFIRMING
    assert appraisal.vector.claims() == {"instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2}
    assert appraisal.device == NAME
    assert "PCR 4 is known (version 1.0)" in [one.words for one in appraisal.checks]


@pytest.mark.parametrize(
    ("data", "check", "identity"),
    [
        (b"no quote", "format", 99),
        (write_tpm_evidence(forged(QUOTE, QUOTE.attest)), "instance", 97),
        (write_tpm_evidence(replace(QUOTE, signature=CERTIFIED.signature)), "signature", 99),
        (write_tpm_evidence(replace(QUOTE, pcrs=(ZEROS, ZEROS, ZEROS, ZEROS))), "quote", 99),
        (write_tpm_evidence(replace(QUOTE, attestation_key=QUOTE.attestation_key[:-1])), "format", 99),
    ],
)
def test_what_is_not_authentic(data: bytes, check: str, identity: int) -> None:
    appraisal = judged(data)
    assert [name for name, _words in failed(appraisal)] == [check]
    assert (appraisal.status, appraisal.vector.instance_identity) == (Status.CONTRAINDICATED, identity)
    assert appraisal.device == b""


def test_a_certified_key_is_no_quote() -> None:
    appraisal = judged(write_tpm_evidence(CERTIFIED), nonce=bytes.fromhex("00ff55aa"))
    assert failed(appraisal) == [("quote", "the evidence is not a quote")]


def test_another_challenge_or_somebody_elses() -> None:
    data = write_tpm_evidence(QUOTE)
    assert [name for name, _words in failed(judged(data, nonce=bytes(32)))] == ["nonce"]
    bound = Policy(tpm_application="1000")
    assert [name for name, _words in failed(judged(data, policy=bound))] == ["nonce"]
    assert bound_challenge(QUALIFYING, authenticator=3, application="1000") != QUALIFYING


@pytest.mark.parametrize(
    ("references", "words", "vector"),
    [
        ({pcr(4, b"\7" * 32), pcr(7, ZEROS)}, "PCR 4 has another value", (2, 96)),
        ({pcr(4, PCR_4), pcr(7, b"\7" * 32)}, "PCR 7 has another value", (96, 3)),
        ({pcr(4, PCR_4), pcr(5, ZEROS)}, "PCR 5 was not quoted", (96, 3)),
    ],
)
def test_pcrs(references: set[ReferenceValue], words: str, vector: tuple[int, int]) -> None:
    appraisal = judged(write_tpm_evidence(QUOTE), endorsements=replace(KNOWN, references={KIND: references}))
    assert appraisal.status is Status.CONTRAINDICATED
    assert [one[1][: len(words)] for one in failed(appraisal)] == [words]
    assert (appraisal.vector.configuration, appraisal.vector.executables) == vector


def test_what_nobody_says_anything_of_is_not_affirmed() -> None:
    data = write_tpm_evidence(QUOTE)
    assert judged(data, endorsements=replace(KNOWN, references={KIND: {pcr(4, PCR_4)}})).status is Status.NONE
    nothing = judged(data, endorsements=replace(KNOWN, references={}))
    assert (nothing.status, nothing.vector.hardware) == (Status.CONTRAINDICATED, 97)


@given(st.integers(0, 600), st.integers(1, 255))
def test_no_changed_byte_is_affirmed(at: int, difference: int) -> None:
    data = bytearray(write_tpm_evidence(QUOTE))
    data[at % len(data)] ^= difference
    assert judged(bytes(data)).status is Status.CONTRAINDICATED


@given(st.binary(max_size=300))
def test_anything_gets_a_verdict(data: bytes) -> None:
    assert judged(data).status is Status.CONTRAINDICATED
    assert judged(write_tpm_evidence(replace(QUOTE, attestation_key=data))).status is Status.CONTRAINDICATED
    assert judged(write_tpm_evidence(replace(QUOTE, attest=data))).status is Status.CONTRAINDICATED


def test_a_corim_holds_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    data = write_corim("gateways", KNOWN)
    assert read_corim(data) == KNOWN
    around = Surroundings()
    with open_store(tmp_path_factory.mktemp("store") / "fleet.db", create=True) as storage:
        desk = Desk(
            storage=storage,
            policy=Policy(),
            policy_id="strictest",
            sign=json.dumps,
            now_s=around.time,
            random=around.random,
        )
        desk.provision(CORIM, data, who="factory")
        media_type = "application/vnd.edgeroot.tpm-evidence+cbor"
        session = desk.new_session(nonce=QUALIFYING)
        done, appraisal = desk.submit(session.session_id, media_type, write_tpm_evidence(QUOTE))
        assert appraisal.status is Status.AFFIRMING
        assert json.loads(done.result)["submods"]["TPM"]["ear.status"] == "affirming"
        assert storage.results(NAME) == [(1_000, 2)]
        revoke(storage, Revoked.VERSION, "PCR 4=1.0", "old", now_s=5)
        revoke(storage, Revoked.DEVICE, NAME.hex(), "stolen", now_s=5)
        verdict = appraise_quote(write_tpm_evidence(QUOTE), nonce=QUALIFYING, endorsements=storage, policy=Policy())
        assert [name for name, _words in failed(verdict)] == ["revocation", "component"]
