"""A genuine quote with the log of what was measured, and logs that were changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeroot.evidence import DigestAlgorithm, Event, read_tpm_evidence, write_event_log, write_tpm_evidence
from edgeroot.evidence.event_log import EV_NO_ACTION
from edgeroot.verifier.corim import Endorsements, ReferenceValue, event_name, read_corim, write_corim
from edgeroot.verifier.desk import revoke
from edgeroot.verifier.errors import VerifierError
from edgeroot.verifier.findings import Match
from edgeroot.verifier.policy import Policy
from edgeroot.verifier.ports import Revoked
from edgeroot.verifier.quote import appraise_quote
from edgeroot.verifier.store import open_store
from edgeroot.verifier.trust import Status
from edgeroot.verifier.verdict import Appraisal
from tests.unit.evidence.test_tpm_evidence import MEASURED, NAME, PCR_4, QUALIFYING, QUOTE, ZEROS
from tests.unit.verifier.test_corim import IMPLEMENTATION, corim, environment
from tests.unit.verifier.test_quote import DEVICE, KIND, failed, judged, pcr

EVENTS = tuple(Event(4, 0x80000003, ((DigestAlgorithm.SHA256, digest),), b"loaded") for digest in MEASURED)
NOTHING = Event(4, EV_NO_ACTION, ((DigestAlgorithm.SHA256, ZEROS),), b"a remark")


def event(index: int, digest: bytes, version: str | None = None) -> ReferenceValue:
    return ReferenceValue(measurement=digest, signer_id=b"", name=event_name(index), version=version)


REFERENCES = {event(4, MEASURED[0], "1.0"), event(4, MEASURED[1]), event(4, b"\7" * 32), pcr(7, ZEROS), pcr(0, ZEROS)}
KNOWN = Endorsements(keys={NAME: DEVICE}, references={KIND: REFERENCES})


def log(events: Sequence[Event] = EVENTS) -> bytes:
    return write_event_log(events, algorithms=(DigestAlgorithm.SHA256,))


def with_log(
    data: bytes, endorsements: Endorsements = KNOWN, references: set[ReferenceValue] | None = None
) -> Appraisal:
    if references is not None:
        endorsements = replace(KNOWN, references={KIND: references})
    return judged(write_tpm_evidence(replace(QUOTE, event_log=data)), endorsements=endorsements)


def test_a_log_travels_with_the_quote() -> None:
    data = write_tpm_evidence(replace(QUOTE, event_log=log()))
    assert read_tpm_evidence(data).event_log == log()
    assert "event_log" not in cbor2.loads(write_tpm_evidence(QUOTE))


def test_a_good_log() -> None:
    appraisal = with_log(log((EVENTS[0], NOTHING, EVENTS[1])))
    assert failed(appraisal) == []
    assert appraisal.status is Status.AFFIRMING
    assert [one.words for one in appraisal.checks][-3:] == [
        "the event log gives PCR 4 its value",
        "event 1 of PCR 4 is known (version 1.0)",
        "event 2 of PCR 4 is known",
    ]
    assert [(one.name, one.match, one.version) for one in appraisal.components[-2:]] == [
        ("event of PCR 4", Match.MATCHED, "1.0"),
        ("event of PCR 4", Match.MATCHED, ""),
    ]


OTHER = replace(EVENTS[0], digests=((DigestAlgorithm.SHA256, b"\7" * 32),))
CHANGED = "the event log does not give PCR 4 its value: it was changed or cut off, or is another boot's"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "PCR 4 has known events, but no event log came along"),
        (log(EVENTS[:1]), CHANGED),
        (log(EVENTS[1:]), CHANGED),
        (log(EVENTS[::-1]), CHANGED),
        (log((OTHER, EVENTS[1])), CHANGED),
        (log((*EVENTS, OTHER)), CHANGED),
        (log(()), "the event log says nothing of PCR 4"),
        (log([replace(one, pcr_index=5) for one in EVENTS]), "the event log says nothing of PCR 4"),
        (log()[:-1], "the event log cannot be read: the event log is cut off: 6 bytes wanted, 5 left"),
        (b"no log", "the event log cannot be read: the event log is cut off: 32 bytes wanted, 6 left"),
    ],
)
def test_a_log_that_is_not_that_of_this_boot(data: bytes, words: str) -> None:
    appraisal = with_log(data)
    assert failed(appraisal) == [("event-log", words)]
    assert (appraisal.status, appraisal.vector.executables) == (Status.CONTRAINDICATED, 96)
    assert appraisal.vector.instance_identity == 2


def test_a_log_without_digests_of_the_quotes_bank() -> None:
    events = [replace(one, digests=((DigestAlgorithm.SHA384, bytes(48)),)) for one in EVENTS]
    data = write_event_log(events, algorithms=(DigestAlgorithm.SHA384,))
    assert "no digest by sha256" in failed(with_log(data))[0][1]


def test_an_event_that_nobody_knows() -> None:
    references = REFERENCES - {event(4, MEASURED[1])}
    appraisal = with_log(log(), references=references)
    assert failed(appraisal) == [("component", f"event 2 of PCR 4 is not known: {MEASURED[1].hex()}")]
    assert appraisal.status is Status.CONTRAINDICATED
    assert appraisal.components[-1].match is Match.NOT_MATCHED


def test_an_events_digest_is_no_pcrs_value_nor_the_other_way_round() -> None:
    """Who extends a PCR chooses the digest: that it is a good PCR's value says nothing."""
    values = {pcr(4, MEASURED[0]), pcr(4, MEASURED[1]), pcr(7, ZEROS)}
    assert [name for name, _words in failed(with_log(log(), references=values))] == ["component"]
    events = {event(4, PCR_4), event(4, MEASURED[0]), pcr(7, ZEROS)}
    assert [name for name, _words in failed(with_log(log(), references=events))] == ["component"]
    both = {pcr(4, PCR_4), event(4, MEASURED[0]), event(4, MEASURED[1]), pcr(7, ZEROS)}
    assert with_log(log(), references=both).status is Status.AFFIRMING


def test_what_is_not_said_is_not_affirmed_by_a_log() -> None:
    appraisal = with_log(log(), references={pcr(7, ZEROS)})
    assert (appraisal.status, appraisal.vector.executables) == (Status.NONE, 0)
    assert with_log(log(EVENTS[:1]), references={pcr(7, ZEROS)}).status is Status.CONTRAINDICATED
    elsewhere = [replace(EVENTS[0], pcr_index=12)]
    assert with_log(log([*EVENTS, *elsewhere])).status is Status.AFFIRMING, "PCR 12 was not quoted"
    assert failed(with_log(log([*EVENTS, *elsewhere]), references={*REFERENCES, event(12, MEASURED[0])})) == [
        ("event-log", "PCR 12 was not quoted")
    ]


def test_a_corim_and_a_store_hold_them(tmp_path: Path) -> None:
    data = write_corim("gateways", KNOWN)
    assert read_corim(data) == KNOWN
    with open_store(tmp_path / "fleet.db", create=True) as storage:
        with storage.transaction():
            storage.add_endorsements(KNOWN)
        evidence = write_tpm_evidence(replace(QUOTE, event_log=log()))
        verdict = appraise_quote(evidence, nonce=QUALIFYING, endorsements=storage, policy=Policy())
        assert verdict.status is Status.AFFIRMING
        revoke(storage, Revoked.MEASUREMENT, MEASURED[1].hex(), "reads past its buffer", now_s=5)
        verdict = appraise_quote(evidence, nonce=QUALIFYING, endorsements=storage, policy=Policy())
        assert failed(verdict) == [("component", "event 2 of PCR 4 was revoked: reads past its buffer")]


@pytest.mark.parametrize(
    "key", ["tpm.pcr.32.event", "tpm.pcr.-1.event", "tpm.pcr.4.event ", "tpm.pcr.4", "tpm.pcr.\u0664.event"]
)
def test_keys_that_name_no_event(key: str) -> None:
    def keyed(mkey: str) -> bytes:
        return corim({0: [[environment(), [{0: mkey, 1: {2: [[1, MEASURED[0]]]}}]]]})

    assert read_corim(keyed("tpm.pcr.31.event")).references == {IMPLEMENTATION: {event(31, MEASURED[0])}}
    with pytest.raises(VerifierError):
        read_corim(keyed(key))


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_changed_byte_is_never_a_lie_that_is_believed(at: int, difference: int) -> None:
    """Of the log only what is said beside the digests may change: nobody believes that."""
    data = bytearray(log())
    data[at % len(data)] ^= difference
    appraisal = with_log(bytes(data))
    if appraisal.status is Status.AFFIRMING:
        digests = [one.measurement for one in appraisal.components if one.name == event_name(4)]
        assert digests == MEASURED


@given(st.binary(max_size=300))
def test_any_log_gets_a_verdict(data: bytes) -> None:
    assert with_log(data).status is Status.CONTRAINDICATED
